package spitest

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// pickFunc is a picker; buildFunc a load balancer.
type (
	pickFunc  func(info *spi.CallInfo) (int, error)
	buildFunc func(endpoints []spi.Endpoint) (spi.Picker, error)
)

func (f pickFunc) Pick(info *spi.CallInfo) (int, error)                { return f(info) }
func (f buildFunc) Build(endpoints []spi.Endpoint) (spi.Picker, error) { return f(endpoints) }
func picking(f func(n int, info *spi.CallInfo) (int, error)) spi.LoadBalancer {
	return buildFunc(func(endpoints []spi.Endpoint) (spi.Picker, error) {
		n := len(endpoints)
		return pickFunc(func(info *spi.CallInfo) (int, error) { return f(n, info) }), nil
	})
}

func first(n int, info *spi.CallInfo) (int, error) { return info.Usable.Next(0, n), nil }

func TestLoadBalancer(t *testing.T) {
	if os.Getenv(inChild) != "" {
		LoadBalancer(t, picking(func(n int, _ *spi.CallInfo) (int, error) { return n, nil }))
		return
	}
	LoadBalancer(t, picking(first))
	failsInChild(t, "FAIL: TestLoadBalancer/index-in-range", "got index 1, want one from 0 to 0", "the rule: Pick returns an index")
}

func TestLoadBalancerFindsFaults(t *testing.T) {
	var latest atomic.Int64
	var busy atomic.Bool
	testBroken(t, loadBalancerRules, []broken[spi.LoadBalancer]{
		{"builds nothing", buildFunc(func([]spi.Endpoint) (spi.Picker, error) { return nil, nil }), []string{"index-in-range"}},
		{"cannot build for one", buildFunc(func(endpoints []spi.Endpoint) (spi.Picker, error) {
			if len(endpoints) == 1 {
				return nil, errors.New("no choice")
			}
			return pickFunc(func(info *spi.CallInfo) (int, error) { return first(len(endpoints), info) }), nil
		}), []string{"index-in-range", "nil-usable", "only-usable"}},
		{"picks one beyond the end", picking(func(n int, info *spi.CallInfo) (int, error) {
			if n == 10_000 {
				return n, nil
			}
			return first(n, info)
		}), []string{"index-in-range", "nil-usable"}},
		{"fails without a set", picking(func(n int, info *spi.CallInfo) (int, error) {
			if info.Usable == nil {
				return 0, errors.New("none usable")
			}
			return first(n, info)
		}), []string{"nil-usable"}},
		{"ignores the set", picking(func(n int, _ *spi.CallInfo) (int, error) { return rand.IntN(n), nil }), []string{"only-usable"}},
		{"reads one word of the set", picking(func(n int, info *spi.CallInfo) (int, error) {
			if info.Usable == nil {
				return 0, nil
			}
			return info.Usable[:1].Next(0, n), nil
		}), []string{"only-usable"}},
		{"gives up soon", picking(func(n int, info *spi.CallInfo) (int, error) {
			i := 0
			for range 3 {
				if i = rand.IntN(n); info.Usable.Has(i) {
					break
				}
			}
			return i, nil
		}), []string{"only-usable"}},
		{"misses the last", picking(func(n int, info *spi.CallInfo) (int, error) {
			for i := range n - 1 {
				if info.Usable.Has(i) {
					return i, nil
				}
			}
			return 0, nil
		}), []string{"only-usable"}},
		{"sorts the endpoints", buildFunc(func(endpoints []spi.Endpoint) (spi.Picker, error) {
			n := len(endpoints)
			endpoints[0], endpoints[n-1] = endpoints[n-1], endpoints[0]
			return pickFunc(func(info *spi.CallInfo) (int, error) { return first(n, info) }), nil
		}), []string{"endpoints-unmodified"}},
		{"marks labels", buildFunc(func(endpoints []spi.Endpoint) (spi.Picker, error) {
			endpoints[0].Labels["seen"] = "yes"
			return pickFunc(func(info *spi.CallInfo) (int, error) { return first(len(endpoints), info) }), nil
		}), []string{"endpoints-unmodified"}},
		{"crosses off", picking(func(n int, info *spi.CallInfo) (int, error) {
			i, err := first(n, info)
			if info.Usable != nil {
				info.Usable.Clear(i)
			}
			return i, err
		}), []string{"usable-unmodified"}},
		{"changes the call", picking(func(n int, info *spi.CallInfo) (int, error) {
			info.Call.Timeout = 1
			return first(n, info)
		}), []string{"usable-unmodified"}},
		{"keeps one set for all pickers", buildFunc(func(endpoints []spi.Endpoint) (spi.Picker, error) {
			latest.Store(int64(len(endpoints)))
			return pickFunc(func(info *spi.CallInfo) (int, error) { return first(int(latest.Load()), info) }), nil
		}), []string{"older-pickers"}},
		{"picks one at a time", picking(func(n int, info *spi.CallInfo) (int, error) {
			if !busy.CompareAndSwap(false, true) {
				return 0, errors.New("busy")
			}
			defer busy.Store(false)
			runtime.Gosched()
			return first(n, info)
		}), []string{"concurrent"}},
		{"panics", picking(func(int, *spi.CallInfo) (int, error) { panic("no") }), []string{"index-in-range", "concurrent"}},
	}, "allocations")
}

var kept []int

func TestAllocationsAreOnlyNoted(t *testing.T) {
	wasteful := picking(func(n int, info *spi.CallInfo) (int, error) {
		kept = make([]int, 3)
		return first(n, info)
	})
	for _, c := range loadBalancerRules {
		if c.name != "allocations" {
			continue
		}
		if r := apply(c, wasteful); len(r.faults) > 0 || len(r.notes) != 1 {
			t.Errorf("wasteful picker: got faults %q and notes %q, want one note", r.faults, r.notes)
		}
		if r := apply(c, picking(first)); len(r.faults) > 0 || len(r.notes) != 0 {
			t.Errorf("frugal picker: got faults %q and notes %q, want none", r.faults, r.notes)
		}
	}
}
