package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

// contracts holds every extension that can be opened against its contract and times exchanges with it.
func (r *runner) contracts(ctx context.Context) {
	for _, e := range r.report.Extensions {
		if r.refused[e.Kind+" "+e.Name] {
			continue
		}
		with := r.cfg.With[e.Name]
		var exchange func() error
		switch e.Kind {
		case r.cat.LoadBalancers.Kind():
			exchange = r.loadBalancer(ctx, e.Name, with)
		case r.cat.Serializers.Kind():
			exchange = contract(ctx, r, r.cat.Serializers, e.Name, with, func(s spi.Serializer) []spitest.Result {
				r.largely(e.Name, s)
				return spitest.CheckSerializer(s)
			}, encoded)
		case r.cat.Proxies.Kind():
			exchange = contract(ctx, r, r.cat.Proxies, e.Name, with, spitest.CheckProxy, func(p spi.Proxy) error {
				return intercepted(ctx, p)
			})
		case r.cat.Heartbeats.Kind():
			exchange = r.heartbeat(ctx, e.Name, with)
		case r.cat.Registries.Kind():
			exchange = contract(ctx, r, r.cat.Registries, e.Name, with, spitest.CheckRegistry, nil)
		}
		if exchange != nil && (e.Kind == r.cat.Serializers.Kind() || e.Kind == r.cat.Proxies.Kind()) {
			r.concurrently(e.Kind, e.Name, exchange)
		}
		if exchange != nil {
			r.check(latency+e.Kind+" "+e.Name, 0, func(f found) { r.time(f, exchange) })
		}
	}
}

// contract opens an extension as a host does, applies the rules of its contract and
// returns the exchange to time; both may be nil. It does not close it before the run is over.
func contract[T any](ctx context.Context, r *runner, point *spi.Point[T], name string, with []byte, rules func(T) []spitest.Result, exchange func(T) error) func() error {
	value, err := point.Open(ctx, spi.Env{Log: r.log}, spi.Ref{Use: name, With: spi.Raw{JSON: with}})
	if err != nil {
		r.check("contract "+point.Kind()+" "+name, 0, func(f found) { f.faultf("%v", err) })
		return nil
	}
	if closer, ok := any(value).(io.Closer); ok {
		r.closers = append(r.closers, closer)
	}
	if rules != nil {
		r.results(point.Kind(), name, rules(value))
	}
	if exchange == nil {
		return nil
	}
	return func() error { return exchange(value) }
}

// intercepted makes a call that goes nowhere through a proxy.
func intercepted(ctx context.Context, p spi.Proxy) error {
	w, ok := p.(spi.Wrapper)
	if !ok {
		return errors.New("it is no wrapper, so it sees no calls")
	}
	call := &spi.Call{Method: &spi.Method{Service: "Greeter", Name: "Say"}, Reply: new(string)}
	err := w.Intercept(func(context.Context, *spi.Call) error { return nil })(ctx, call)
	if spi.CodeOf(err) == spi.Unavailable { // others are what its hooks decide
		return err
	}
	return nil
}

// results adds what the rules of a contract found.
func (r *runner) results(kind, name string, results []spitest.Result) {
	for _, result := range results {
		if result.Rule == "allocations" {
			continue // that of the host
		}
		r.check(strings.Join([]string{"contract", kind, name, result.Rule}, " "), 1, func(f found) {
			for _, fault := range result.Faults {
				f.faultf("%s", fault)
			}
			if len(result.Faults) > 0 {
				f.faultf("the rule: %s", result.Asks)
			}
			f.check.Notes, f.check.Took = result.Notes, spi.Duration(result.Took)
		})
	}
}

// exchanges is how many exchanges are timed.
const exchanges = 500

// time times exchanges. The slowest extension is what the report shows.
func (r *runner) time(f found, exchange func() error) {
	took := make([]time.Duration, exchanges)
	for i := range took {
		start := time.Now()
		if err := exchange(); err != nil {
			f.faultf("exchange %d of %d: %v", i+1, exchanges, err)
			return
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	p50, p99 := spi.Duration(took[exchanges/2]), spi.Duration(took[exchanges*99/100])
	if p50 > r.report.P50 {
		r.report.P50, r.report.P99 = p50, p99
	}
	f.notef("p50 %v, p99 %v", p50, p99)
	if most := spi.DefaultPluginConfig().CallTimeout; p99 > most {
		f.notef("hosts wait for an exchange for %v, unless call_timeout says more", most)
	}
}

// loadBalancer applies the rules of plans, which see what the plugin answers, and
// those of a balancer that picks by them.
func (r *runner) loadBalancer(ctx context.Context, name string, with []byte) func() error {
	process, ok := r.plugin.Process()
	if !ok {
		r.check("contract loadbalancer "+name, 0, func(f found) { f.faultf("its process has ended%s", r.last.text()) })
		return nil
	}
	asked := plans{process: process, name: name, with: with}
	for _, rule := range planRules {
		r.check("contract loadbalancer "+name+" "+rule.name, 1, func(f found) {
			bounded, cancel := context.WithTimeout(ctx, ruleLimit)
			defer cancel()
			rule.check(bounded, f, asked)
			if len(f.check.Faults) > 0 {
				f.faultf("the rule: %s", rule.asks)
			}
		})
	}
	contract(ctx, r, r.cat.LoadBalancers, name, with, spitest.CheckLoadBalancer, nil)
	return asked.exchange(ctx)
}

// ruleLimit bounds the exchanges of a rule.
const ruleLimit = 30 * time.Second

// show renders the beginning of a long list.
func show(v any) string {
	text := fmt.Sprint(v)
	if len(text) > 200 {
		return text[:200] + "…"
	}
	return text
}
