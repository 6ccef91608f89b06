package spi

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// Planner is a load balancer as plain data: it looks at statistics and answers
// with a plan, by which the host then picks locally. So it can run in another
// process without costing a call anything, and a plan outlives its planner.
// [FromPlanner] makes a [LoadBalancer] of it.
type Planner interface {
	// Plan answers how calls should be spread. It is safe for concurrent use.
	Plan(ctx context.Context, stats Stats) (Plan, error)
}

// Stats is what a Planner sees.
type Stats struct {
	Endpoints []EndpointStats `json:"endpoints"` // never empty
}

// EndpointStats is one endpoint at one moment.
type EndpointStats struct {
	Address  string            `json:"address"`
	Weight   int               `json:"weight"` // at least 1
	Labels   map[string]string `json:"labels,omitempty"`
	InFlight int               `json:"in_flight"` // calls without an answer yet
	Latency  Duration          `json:"latency"`   // moving average; 0 before the first answer
	Failures uint64            `json:"failures"`  // since the endpoint became known
}

// Plan says how calls are spread.
type Plan struct {
	// Weights holds the share of each endpoint relative to the others, in the order
	// of the Stats; none is negative, one at least is positive.
	Weights []int `json:"weights"`
}

const (
	planEvery   = time.Second     // a plan is renewed at most this often, only under traffic, and one at a time
	planTimeout = 2 * time.Second // a planner that takes longer has failed
)

// FromPlanner returns a LoadBalancer that picks by p's plans; its pickers implement
// [PlannedPicker]. It asks for a plan at every Build and, while calls are made, once
// per second, unless the last request is still under way. When p fails, the last good
// plan stays in use: of endpoints that it does not know the own weight counts. That p
// fails, and that it answers again, goes to env.Log. The result implements io.Closer;
// Close ends a request for a plan that is under way and waits for it; pickers work on
// by their last plans.
func FromPlanner(p Planner, env Env) LoadBalancer {
	b := &plannedBalancer{planner: p, log: env.Log}
	if b.log == nil {
		b.log = silent()
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Basis says what a [PlannedPicker] picks by. A greater one is better.
type Basis uint32

// What a PlannedPicker may pick by.
const (
	OwnWeights Basis = iota // the endpoints' own weights: there is no plan that knows any of them
	LastPlan                // the last good plan: the last request for one failed
	FreshPlan               // the answer to the last request
)

// PlannedPicker is what the load balancer of [FromPlanner] builds.
type PlannedPicker interface {
	Picker

	// Basis returns what Pick goes by now. It may change at any time.
	Basis() Basis
}

type plannedBalancer struct {
	planner Planner
	log     logrus.FieldLogger
	ctx     context.Context // ends with Close; bounds every Plan
	cancel  context.CancelFunc

	mu       sync.Mutex
	closed   bool
	failing  bool           // the last request failed
	planned  map[string]int // weights by address, of the last good plan
	renewals sync.WaitGroup // Add happens with mu held and closed false
}

// Planner returns the inner contract, which is what crosses a process boundary.
func (b *plannedBalancer) Planner() Planner { return b.planner }

func (b *plannedBalancer) Build(endpoints []Endpoint) (Picker, error) {
	p := &plannedPicker{balancer: b, endpoints: endpoints}
	basis := FreshPlan
	table, err := p.plan(0)
	if err != nil {
		var weights []int
		weights, basis = b.remembered(endpoints)
		if table, err = NewWeightedPicker(weights); err != nil {
			return nil, err
		}
	}
	p.table.Store(table)
	p.basis.Store(uint32(basis))
	return p, nil
}

// remembered returns weights for endpoints without asking the planner, and what they
// are.
func (b *plannedBalancer) remembered(endpoints []Endpoint) ([]int, Basis) {
	b.mu.Lock()
	defer b.mu.Unlock()
	weights, sum, basis := make([]int, len(endpoints)), 0, OwnWeights
	for i, e := range endpoints {
		w, known := b.planned[e.Address]
		if known {
			basis = LastPlan
		} else {
			w = max(e.Weight, 1)
		}
		weights[i] = w
		sum |= w
	}
	if sum == 0 { // those that the plan wanted to be used are gone
		for i := range weights {
			weights[i] = 1
		}
	}
	return weights, basis
}

// note remembers how a request ended and logs a change for the worse or better.
func (b *plannedBalancer) note(endpoints []Endpoint, weights []int, err error) {
	if b.ctx.Err() != nil {
		return // closed; that p was interrupted is no failure
	}
	b.mu.Lock()
	changed := b.failing != (err != nil)
	b.failing = err != nil
	if err == nil {
		b.planned = make(map[string]int, len(endpoints))
		for i, e := range endpoints {
			b.planned[e.Address] = weights[i]
		}
	}
	b.mu.Unlock()
	switch {
	case changed && err != nil:
		b.log.WithError(err).Warn("no plan; the last good one stays in use")
	case changed:
		b.log.Info("plans come again")
	}
}

// Close ends renewals and waits for them. It is safe to call twice.
func (b *plannedBalancer) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.renewals.Wait()
	return nil
}

type plannedPicker struct {
	balancer  *plannedBalancer
	endpoints []Endpoint
	table     atomic.Pointer[WeightedPicker] // the last good plan; never nil
	basis     atomic.Uint32                  // a Basis: what table is
	due       atomic.Int64                   // when the next renewal may start, on the clock of CallInfo; 0 before the first Pick
	renewing  atomic.Bool                    // a renewal is under way: a slow one must not overwrite the next
}

func (p *plannedPicker) Pick(info *CallInfo) (int, error) {
	if due := p.due.Load(); int64(info.Now) >= due && p.due.CompareAndSwap(due, int64(info.Now+planEvery)) && due != 0 {
		p.renew(info.Now)
	}
	return p.table.Load().Pick(info)
}

func (p *plannedPicker) renew(now time.Duration) {
	b := p.balancer
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	if !p.renewing.CompareAndSwap(false, true) {
		return
	}
	b.renewals.Go(func() {
		defer p.renewing.Store(false)
		table, err := p.plan(now)
		if err != nil {
			p.basis.CompareAndSwap(uint32(FreshPlan), uint32(LastPlan))
			return
		}
		p.table.Store(table)
		p.basis.Store(uint32(FreshPlan))
	})
}

// Basis implements [PlannedPicker].
func (p *plannedPicker) Basis() Basis { return Basis(p.basis.Load()) }

// plan asks the planner once and checks the answer.
func (p *plannedPicker) plan(now time.Duration) (*WeightedPicker, error) {
	ctx, cancel := context.WithTimeout(p.balancer.ctx, planTimeout)
	defer cancel()
	stats := Stats{Endpoints: make([]EndpointStats, len(p.endpoints))}
	for i, e := range p.endpoints {
		stats.Endpoints[i] = EndpointStats{Address: e.Address, Weight: e.Weight, Labels: e.Labels,
			InFlight: e.Load.InFlight(), Latency: Duration(e.Load.Latency(now)), Failures: e.Load.Failures()}
	}
	plan, err := p.balancer.planner.Plan(ctx, stats)
	var table *WeightedPicker
	switch {
	case err != nil:
		err = fmt.Errorf("plan for %d endpoints: %w", len(p.endpoints), err)
	case len(plan.Weights) != len(p.endpoints):
		err = fmt.Errorf("plan has %d weights for %d endpoints", len(plan.Weights), len(p.endpoints))
	default:
		table, err = NewWeightedPicker(plan.Weights)
	}
	p.balancer.note(p.endpoints, plan.Weights, err)
	return table, err
}
