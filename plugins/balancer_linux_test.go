package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/spi"
)

// firstOrNothing plans that all goes to the first endpoint, while it is well.
type firstOrNothing struct{ well atomic.Bool }

func (p *firstOrNothing) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	if !p.well.Load() {
		return spi.Plan{}, errors.New("not well")
	}
	weights := make([]int, len(stats.Endpoints))
	weights[0] = 1
	return spi.Plan{Weights: weights}, nil
}

// onlyIndex is a load balancer that picks one index.
type onlyIndex int

func (a onlyIndex) Build([]spi.Endpoint) (spi.Picker, error) { return a, nil }
func (a onlyIndex) Pick(*spi.CallInfo) (int, error)          { return int(a), nil }

// balancerOf returns a load balancer whose plans are those of planner, of a plugin
// that runs, and in whose place another picks the last of three endpoints.
func balancerOf(plans spi.Planner, onFailure string) *balancer {
	p := new(Plugin)
	p.ready.Store(new(generation))
	use := p.usages.add(wanted{kind: "loadbalancer", name: "first"}, onFailure, quiet())
	b := &balancer{planned: spi.FromPlanner(plans, spi.Env{}), remote: &planner{plugin: p, use: use}, onFailure: onFailure}
	if onFailure != spi.Fail {
		b.standIn = onlyIndex(2)
	}
	return b
}

// TestWhatStandsIn: what picks by every setting, in every state of the plugin.
func TestWhatStandsIn(t *testing.T) {
	const fails = -1
	tests := []struct {
		onFailure                                       string
		before, planned, failed, gone, again, fallbacks int
	}{
		{spi.LastGood, 2, 0, 0, 0, 0, 1},
		{"last", 2, 0, 2, 2, 0, 3},
		{spi.Fail, fails, 0, fails, fails, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.onFailure, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				planner := new(firstOrNothing)
				b := balancerOf(planner, tt.onFailure)
				defer b.Close()
				built, err := b.Build(endpoints("a", "b", "c"))
				if err != nil {
					t.Fatal(err)
				}
				now := time.Second
				renew := func() { // asks for a plan, and waits for it
					for range 2 {
						_, _ = built.(*picker).planned.Pick(&spi.CallInfo{Now: now})
						now += time.Second
						synctest.Wait()
					}
				}
				check := func(when string, want int) {
					t.Helper()
					i, err := built.Pick(&spi.CallInfo{Now: now - time.Second})
					if want == fails {
						if spi.CodeOf(err) != spi.Unavailable {
							t.Errorf("Pick %s: got %d, %v, want UNAVAILABLE", when, i, err)
						}
						return
					}
					if i != want || err != nil {
						t.Errorf("Pick %s: got %d, %v, want %d", when, i, err, want)
					}
				}
				renew()
				check("before the first plan", tt.before)
				planner.well.Store(true)
				renew()
				check("by a plan", tt.planned)
				planner.well.Store(false)
				renew()
				check("after a plan that failed", tt.failed)
				planner.well.Store(true)
				renew()
				ready := b.remote.plugin.ready.Swap(nil)
				check("without a process", tt.gone)
				b.remote.plugin.ready.Store(ready)
				check("with another process", tt.again)
				if got := b.remote.use.fallbacks.Load(); got != uint64(tt.fallbacks) {
					t.Errorf("fallbacks: got %d, want %d", got, tt.fallbacks)
				}
			})
		})
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	planner := new(firstOrNothing)
	planner.well.Store(true)
	b := balancerOf(planner, "last")
	defer b.Close()
	picker, err := b.Build(endpoints("a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	info := new(spi.CallInfo)
	pick := func() { _, _ = picker.Pick(info) }
	if got := testing.AllocsPerRun(100, pick); got != 0 {
		t.Errorf("by a plan: got %v allocations, want 0", got)
	}
	b.remote.plugin.ready.Store(nil)
	if got := testing.AllocsPerRun(100, pick); got != 0 {
		t.Errorf("without a process: got %v allocations, want 0", got)
	}
}

func TestOpenStandIn(t *testing.T) {
	cat := spi.NewCatalog()
	if err := extensions.Register(cat); err != nil {
		t.Fatal(err)
	}
	if err := cat.LoadBalancers.Add(spi.Info{Name: "zoned", Source: "plugin other"}, func(context.Context, spi.Env, []byte) (spi.LoadBalancer, error) { return onlyIndex(0), nil }); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, onFailure string
		cat             *spi.Catalog
		want            string // type, or part of the error
	}{
		{"last-good", spi.LastGood, cat, "loadbalancer.p2c"},
		{"last-good without built-ins", spi.LastGood, spi.NewCatalog(), "<nil>"},
		{"fail", spi.Fail, cat, "<nil>"},
		{"a built-in", "round-robin", cat, "loadbalancer.roundRobin"},
		{"misspelt", "round-robbin", cat, `on_failure.loadbalancer of plugin "acme": no loadbalancer named "round-robbin"; did you mean "round-robin"?`},
		{"of a plugin", "zoned", cat, `"zoned" is in a plugin too; name a built-in`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Plugin{cfg: spi.PluginConfig{Name: "acme"}}
			lb, err := p.openStandIn(t.Context(), tt.cat, spi.Env{}, tt.onFailure)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			if got := fmt.Sprintf("%T", lb); got != tt.want {
				t.Errorf("got a %s, want a %s", got, tt.want)
			}
		})
	}
}

// TestStandInIsCalled: by its whole name, whatever that begins with.
func TestStandInIsCalled(t *testing.T) {
	for onFailure, want := range map[string]string{spi.Fail: "", spi.LastGood: spi.LastGood, "failover": "failover"} {
		t.Run(onFailure, func(t *testing.T) {
			cat := spi.NewCatalog()
			if err := errors.Join(extensions.Register(cat), cat.LoadBalancers.Alias("p2c", "failover")); err != nil {
				t.Fatal(err)
			}
			p := notRunning(spi.Info{Kind: "loadbalancer", Name: "zoned"})
			p.cfg.OnFailure = map[string]string{"loadbalancer": onFailure}
			if err := p.Register(cat); err != nil {
				t.Fatal(err)
			}
			lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "zoned"})
			if err != nil {
				t.Fatal(err)
			}
			defer closeIt(t, lb)
			if got := lb.(*balancer).remote.use.standIn; got != want {
				t.Errorf("what stands in: got %q, want %q", got, want)
			}
		})
	}
}

// BenchmarkPick compares a pick of the built-in weighted load balancer with one by the
// plan of a plugin, among 100 endpoints.
func BenchmarkPick(b *testing.B) {
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("host-%d:1", i))
	}
	list := endpoints(addresses...)
	for i := range list {
		list[i].Weight = 1 + i%10
	}
	cat := spi.NewCatalog()
	if err := extensions.Register(cat); err != nil {
		b.Fatal(err)
	}
	builtIn, err := cat.LoadBalancers.Open(b.Context(), spi.Env{}, spi.Ref{Use: "weighted-random"})
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name     string
		balancer spi.LoadBalancer
	}{{"weighted-random", builtIn}, {"plan", balancerOf(byWeight{}, spi.LastGood)}, {"plan, with a built-in to stand in", balancerOf(byWeight{}, "p2c")}} {
		b.Run(bb.name, func(b *testing.B) {
			if closer, ok := bb.balancer.(io.Closer); ok {
				defer closer.Close()
			}
			picker, err := bb.balancer.Build(list)
			if err != nil {
				b.Fatal(err)
			}
			info := &spi.CallInfo{Now: math.MaxInt64 / 2}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := picker.Pick(info); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// byWeight plans by the endpoints' own weights.
type byWeight struct{}

func (byWeight) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	weights := make([]int, len(stats.Endpoints))
	for i, e := range stats.Endpoints {
		weights[i] = e.Weight
	}
	return spi.Plan{Weights: weights}, nil
}

// TestKilledPlannerIsReplaced: a built-in picks in the place of a plugin that was
// killed, and is counted.
func TestKilledPlannerIsReplaced(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.OnFailure = map[string]string{"loadbalancer": "round-robin"}
	p, err := Open(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	cat := spi.NewCatalog()
	if err := errors.Join(extensions.Register(cat), p.Register(cat)); err != nil {
		t.Fatal(err)
	}
	lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "first"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, lb)
	end(t, p)
	picker, err := lb.Build(endpoints("a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	var picked [3]int
	for range 300 {
		i, err := picker.Pick(new(spi.CallInfo))
		if err != nil {
			t.Fatal(err)
		}
		picked[i]++
	}
	if want := [3]int{100, 100, 100}; picked != want {
		t.Errorf("picks: got %v, want %v", picked, want)
	}
	if e := p.usages.describe(p.Extensions(), time.Now())[0]; e.Opened != 1 || !e.Fallback || e.Fallbacks != 300 || e.PlanAge != 0 {
		t.Errorf("usage: got %+v, want 300 fallbacks and no plan", e)
	}
}
