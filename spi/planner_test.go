package spi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// plans is a Planner made of a func.
type plans func(ctx context.Context, stats spi.Stats) (spi.Plan, error)

func (p plans) Plan(ctx context.Context, stats spi.Stats) (spi.Plan, error) { return p(ctx, stats) }

// endpoints returns n endpoints with addresses a:1, b:1, …
func endpoints(n int) []spi.Endpoint {
	list := make([]spi.Endpoint, n)
	for i := range list {
		list[i] = spi.Endpoint{Address: string(rune('a'+i)) + ":1", Weight: i + 1, Load: new(spi.Load)}
	}
	return list
}

// only is a plan by which endpoint i of n gets everything.
func only(i, n int) spi.Plan {
	weights := make([]int, n)
	weights[i] = 1
	return spi.Plan{Weights: weights}
}

func pick(t *testing.T, p spi.Picker, now time.Duration) int {
	t.Helper()
	i, err := p.Pick(&spi.CallInfo{Now: now})
	if err != nil {
		t.Errorf("Pick at %v: %v", now, err)
	}
	return i
}

// build builds a picker for n endpoints, and closes the balancer at the end.
func build(t *testing.T, planner spi.Planner, n int) spi.Picker {
	t.Helper()
	lb := spi.FromPlanner(planner, spi.Env{})
	t.Cleanup(func() {
		if err := lb.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := lb.Build(endpoints(n))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPlannerStats: a planner sees what the consumer has seen.
func TestPlannerStats(t *testing.T) {
	list := endpoints(2)
	list[0].Labels = map[string]string{"zone": "eu1"}
	list[0].Load.Begin()
	list[0].Load.Begin()
	list[0].Load.End(time.Second, 20*time.Millisecond, true)
	var got spi.Stats
	lb := spi.FromPlanner(plans(func(_ context.Context, stats spi.Stats) (spi.Plan, error) {
		got = stats
		return only(1, 2), nil
	}), spi.Env{})
	defer lb.(io.Closer).Close()
	if _, err := lb.Build(list); err != nil {
		t.Fatal(err)
	}
	want := spi.Stats{Endpoints: []spi.EndpointStats{
		{Address: "a:1", Weight: 1, Labels: map[string]string{"zone": "eu1"}, InFlight: 1, Latency: spi.Duration(1020 * time.Millisecond), Failures: 1},
		{Address: "b:1", Weight: 2},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestPlannerRenewal: one plan at Build; then, while there are calls, one a second at
// most, on the clock of the calls.
func TestPlannerRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked int
		p := build(t, plans(func(context.Context, spi.Stats) (spi.Plan, error) {
			asked++
			return only((asked-1)%2, 2), nil
		}), 2)
		const either = -1 // this pick starts a renewal and does not wait for it
		for _, tt := range []struct {
			now         time.Duration
			pick, asked int // the endpoint that this pick gives, plans asked for after it
		}{
			{10 * time.Second, 0, 1},
			{10*time.Second + 999*time.Millisecond, 0, 1},
			{11 * time.Second, either, 2},
			{11 * time.Second, 1, 2},
			{11*time.Second + 500*time.Millisecond, 1, 2},
			{11 * time.Second, 1, 2}, // out of order
			{12*time.Second - 1, 1, 2},
			{12 * time.Second, either, 3},
			{12*time.Second + 1, 0, 3},
			{time.Hour, either, 4}, // no plans while nobody calls
			{time.Hour + 1, 1, 4},
			{time.Hour + time.Second, either, 5},
		} {
			got := pick(t, p, tt.now)
			synctest.Wait()
			if tt.pick != either && got != tt.pick || asked != tt.asked {
				t.Errorf("at %v: got endpoint %d and %d plans, want %d and %d", tt.now, got, asked, tt.pick, tt.asked)
			}
		}
	})
}

// TestPlannerRenewalOnce: of many calls at one moment one renews.
func TestPlannerRenewalOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		p := build(t, plans(func(context.Context, spi.Stats) (spi.Plan, error) {
			asked.Add(1)
			return only(0, 2), nil
		}), 2)
		pick(t, p, 0)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for range 100 {
					pick(t, p, time.Second)
				}
			})
		}
		group.Wait()
		synctest.Wait()
		if got := asked.Load(); got != 2 {
			t.Errorf("got %d plans, want one at Build and one a second later", got)
		}
	})
}

// badPlans are answers that no picker can be made of.
var badPlans = []struct {
	name string
	plan spi.Plan
	err  error
	want string
}{
	{"error", spi.Plan{}, errors.New("out of ideas"), "plan for 2 endpoints: out of ideas"},
	{"error beside a plan", only(1, 2), errors.New("out of ideas"), "plan for 2 endpoints: out of ideas"},
	{"nothing", spi.Plan{}, nil, "plan has 0 weights for 2 endpoints"},
	{"too short", only(0, 1), nil, "plan has 1 weights for 2 endpoints"},
	{"too long", only(2, 3), nil, "plan has 3 weights for 2 endpoints"},
	{"negative", spi.Plan{Weights: []int{2, -1}}, nil, "weight -1 of endpoint 1 is negative"},
	{"all zero", spi.Plan{Weights: []int{0, 0}}, nil, "none of 2 weights is positive"},
}

// TestPlannerBadPlanAtBuild: a planner that fails is no reason to fail a call. Picks
// go by what the last good plan said of an endpoint, or by the endpoint's weight, and
// the log tells when it began and when it was over.
func TestPlannerBadPlanAtBuild(t *testing.T) {
	for _, tt := range badPlans {
		t.Run(tt.name, func(t *testing.T) {
			log, hook := logtest.NewNullLogger()
			answer, err := tt.plan, tt.err
			lb := spi.FromPlanner(plans(func(context.Context, spi.Stats) (spi.Plan, error) { return answer, err }), spi.Env{Log: log})
			defer lb.(io.Closer).Close()
			list := endpoints(2)
			list[0].Weight, list[1].Weight = 3, 1
			share := func() float64 {
				p, err := lb.Build(list)
				if err != nil {
					t.Fatal(err)
				}
				first := 0
				for range 10_000 {
					if pick(t, p, 0) == 0 {
						first++
					}
				}
				return float64(first) / 10_000
			}
			if got := share(); got < 0.7 || got > 0.8 { // 0.75 expected, standard deviation 0.004
				t.Errorf("without any plan: got a share of %v, want 0.75 by weight", got)
			}
			answer, err = only(1, 2), nil
			if got := share(); got != 0 {
				t.Errorf("with a plan: got a share of %v, want 0", got)
			}
			answer, err = tt.plan, tt.err
			if got := share(); got != 0 {
				t.Errorf("after the plan: got a share of %v, want 0 as it said", got)
			}
			told := len(hook.AllEntries())
			list = list[:1] // the one that the plan wanted is gone
			if got := share(); got != 1 {
				t.Errorf("the last endpoint: got a share of %v, want 1", got)
			}
			var lines []string
			for _, e := range hook.AllEntries()[:told] {
				lines = append(lines, fmt.Sprint(e.Level, " ", e.Message, " ", e.Data["error"]))
			}
			failed := "warning no plan; the last good one stays in use "
			want := []string{failed + tt.want, "info plans come again <nil>", failed + tt.want}
			if !slices.Equal(lines, want) {
				t.Errorf("log\ngot  %q\nwant %q", lines, want)
			}
		})
	}
}

// TestPlannerLastGoodPlan: whatever the planner answers later, picks go by the last
// good plan, and the next good one is taken.
func TestPlannerLastGoodPlan(t *testing.T) {
	for _, tt := range badPlans {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer, err := only(0, 2), error(nil)
				p := build(t, plans(func(context.Context, spi.Stats) (spi.Plan, error) { return answer, err }), 2)
				pick(t, p, 0)
				answer, err = tt.plan, tt.err
				for s := range 3 {
					pick(t, p, time.Duration(s+1)*time.Second)
					synctest.Wait()
					if got := pick(t, p, time.Duration(s+1)*time.Second); got != 0 {
						t.Fatalf("after bad plan %d: got endpoint %d, want 0 by the last good one", s+1, got)
					}
				}
				answer, err = only(1, 2), nil
				pick(t, p, 10*time.Second)
				synctest.Wait()
				if got := pick(t, p, 10*time.Second); got != 1 {
					t.Errorf("after a good plan: got endpoint %d, want 1", got)
				}
			})
		})
	}
}

// TestPlannerTooSlow: a planner has two seconds, and meanwhile is not asked again, so
// that no old answer can follow a newer one.
func TestPlannerTooSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		gaveUp := make(chan time.Duration, 8) // from the planner, which was cut off after so long; room for all, so that it never waits
		p := build(t, plans(func(ctx context.Context, _ spi.Stats) (spi.Plan, error) {
			if asked.Add(1) == 1 {
				return only(0, 2), nil
			}
			start := time.Now()
			<-ctx.Done()
			gaveUp <- time.Since(start)
			return only(1, 2), ctx.Err()
		}), 2)
		for _, tt := range []struct {
			now  time.Duration
			want int32 // plans asked for
			ends bool  // the planner is cut off after this pick
		}{
			{0, 1, false}, {time.Second, 2, false}, {2 * time.Second, 2, false}, {2900 * time.Millisecond, 2, true},
			{3 * time.Second, 3, false}, {4 * time.Second, 3, false}, {5 * time.Second, 3, true}, {6 * time.Second, 4, true},
		} {
			if got := pick(t, p, tt.now); got != 0 {
				t.Errorf("at %v: got endpoint %d, want 0", tt.now, got)
			}
			synctest.Wait()
			if got := asked.Load(); got != tt.want {
				t.Errorf("at %v: got %d plans, want %d", tt.now, got, tt.want)
			}
			if tt.ends {
				if got := <-gaveUp; got != 2*time.Second {
					t.Errorf("at %v: got a plan cut off after %v, want 2s", tt.now, got)
				}
				synctest.Wait()
			}
		}
	})
}

// TestPlannerClose: Close ends a plan that is under way and waits for it, as often
// as it is called; picks go on by the last good plan and renew nothing.
func TestPlannerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked int
		var ended error
		release := make(chan struct{}) // closed by the test: the planner may return
		lb := spi.FromPlanner(plans(func(ctx context.Context, _ spi.Stats) (spi.Plan, error) {
			if asked++; asked == 1 {
				return only(0, 2), nil
			}
			<-ctx.Done()
			ended = ctx.Err()
			<-release
			return only(1, 2), nil
		}), spi.Env{})
		p, err := lb.Build(endpoints(2))
		if err != nil {
			t.Fatal(err)
		}
		pick(t, p, 0)
		pick(t, p, time.Second)
		synctest.Wait()
		if asked != 2 || ended != nil {
			t.Fatalf("got %d plans, the second ended with %v, want it under way", asked, ended)
		}
		var closed atomic.Int32
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				if err := lb.(io.Closer).Close(); err != nil {
					t.Error(err)
				}
				closed.Add(1)
			})
		}
		synctest.Wait()
		if !errors.Is(ended, context.Canceled) || closed.Load() != 0 {
			t.Errorf("got a plan that ended with %v and %d Closes that did not wait for it, want canceled and 0", ended, closed.Load())
		}
		close(release)
		group.Wait()
		if err := lb.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
		for s := range 3 {
			pick(t, p, time.Duration(s+5)*time.Second)
			synctest.Wait()
		}
		if asked != 2 {
			t.Errorf("got %d plans after Close, want 2 as before", asked)
		}
	})
}

// TestPlannerPickersLiveOn: pickers of earlier sets keep their plans and renew them.
func TestPlannerPickersLiveOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(map[int]int) // by the number of endpoints
		lb := spi.FromPlanner(plans(func(_ context.Context, stats spi.Stats) (spi.Plan, error) {
			n := len(stats.Endpoints)
			asked[n]++
			return only(n-1, n), nil
		}), spi.Env{})
		defer lb.(io.Closer).Close()
		var pickers []spi.Picker
		for n := 1; n <= 3; n++ {
			p, err := lb.Build(endpoints(n))
			if err != nil {
				t.Fatal(err)
			}
			pickers = append(pickers, p)
		}
		for _, now := range []time.Duration{0, time.Second, math.MaxInt32} {
			for i, p := range pickers {
				if got := pick(t, p, now); got != i {
					t.Errorf("of %d endpoints at %v: got %d, want %d", i+1, now, got, i)
				}
				synctest.Wait()
			}
		}
		if want := map[int]int{1: 3, 2: 3, 3: 3}; !reflect.DeepEqual(asked, want) {
			t.Errorf("plans by number of endpoints: got %v, want %v", asked, want)
		}
	})
}

func TestPlannerInside(t *testing.T) {
	inner := &planner{}
	lb := spi.FromPlanner(inner, spi.Env{})
	defer lb.(io.Closer).Close()
	has, ok := lb.(interface{ Planner() spi.Planner })
	if !ok || has.Planner() != spi.Planner(inner) {
		t.Errorf("got %v, want a method Planner that returns the planner", lb)
	}
	p, err := lb.Build(endpoints(2))
	if err != nil {
		t.Fatal(err)
	}
	info := &spi.CallInfo{Usable: set(2, 1)}
	if i, err := p.Pick(info); i != 1 || err != nil {
		t.Errorf("Pick of one usable: got %d, %v, want 1", i, err)
	}
	if allocs := testing.AllocsPerRun(100, func() { _, _ = p.Pick(info) }); allocs != 0 {
		t.Errorf("Pick: got %v allocations, want 0", allocs)
	}
}

// planner gives every endpoint the same.
type planner struct{ _ int }

func (*planner) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	weights := make([]int, len(stats.Endpoints))
	for i := range weights {
		weights[i] = 1
	}
	return spi.Plan{Weights: weights}, nil
}

// TestPlannedPickerBasis: a picker says what it goes by.
func TestPlannedPickerBasis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail bool
		lb := spi.FromPlanner(plans(func(_ context.Context, stats spi.Stats) (spi.Plan, error) {
			if fail {
				return spi.Plan{}, errors.New("no idea")
			}
			return only(0, len(stats.Endpoints)), nil
		}), spi.Env{})
		defer lb.(io.Closer).Close()
		list := endpoints(3)
		build := func(endpoints []spi.Endpoint) spi.PlannedPicker {
			p, err := lb.Build(endpoints)
			if err != nil {
				t.Fatal(err)
			}
			return p.(spi.PlannedPicker)
		}
		now := time.Second
		renew := func(p spi.Picker) {
			for range 2 {
				pick(t, p, now)
				now += time.Second
				synctest.Wait()
			}
		}
		check := func(when string, p spi.PlannedPicker, want spi.Basis) {
			t.Helper()
			if got := p.Basis(); got != want {
				t.Errorf("%s: got %d, want %d", when, got, want)
			}
		}
		fail = true
		p := build(list[:2])
		check("before the first plan", p, spi.OwnWeights)
		renew(p)
		check("after another failure", p, spi.OwnWeights)
		fail = false
		renew(p)
		check("with a plan", p, spi.FreshPlan)
		check("built with a plan", build(list[:2]), spi.FreshPlan)
		fail = true
		renew(p)
		check("after a failure", p, spi.LastPlan)
		check("built after a failure, one endpoint known", build(list[1:]), spi.LastPlan)
		check("built after a failure, none known", build(list[2:]), spi.OwnWeights)
		fail = false
		renew(p)
		check("with a plan again", p, spi.FreshPlan)
	})
}
