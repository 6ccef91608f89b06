package spitest

import (
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Result is how an extension fares with one rule of its contract, for programs that
// check extensions outside of go test.
type Result struct {
	Rule   string   // name, as that of the subtest
	Asks   string   // what the rule asks for
	Faults []string // violations, a few of many; none: the rule is kept
	Notes  []string // worth knowing, but no violation
	Took   time.Duration
}

// CheckLoadBalancer applies the rules of [LoadBalancer].
func CheckLoadBalancer(lb spi.LoadBalancer) []Result { return check(loadBalancerRules, lb) }

// CheckHeartbeat applies the rules of [Heartbeat].
func CheckHeartbeat(hb spi.Heartbeat) []Result { return check(heartbeatRules, hb) }

// CheckSerializer applies the rules of [Serializer].
func CheckSerializer(s spi.Serializer) []Result { return check(serializerRules, s) }

// CheckProxy applies the rules of [Proxy].
func CheckProxy(p spi.Proxy) []Result { return check(proxyRules(p), p) }

// CheckRegistry applies the rules of [Registry].
func CheckRegistry(reg spi.Registry) []Result { return check(registryRules, reg) }

func check[T any](rules []rule[T], value T) []Result {
	results := make([]Result, len(rules))
	for i, c := range rules {
		start := time.Now()
		r := apply(c, value)
		results[i] = Result{c.name, c.explanation, r.faults[:min(len(r.faults), enough)], r.notes, time.Since(start)}
	}
	return results
}
