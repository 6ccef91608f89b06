package spi

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
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

// FromPlanner returns a LoadBalancer that picks by p's plans. It asks for a plan
// at every Build and, while calls are made, once per second, unless the last
// request is still under way; when p fails, the last good plan stays in use. A Build
// fails if p does. The result implements io.Closer; Close ends a request for a plan
// that is under way and waits for it; pickers work on by their last plans.
func FromPlanner(p Planner) LoadBalancer {
	b := &plannedBalancer{planner: p}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

type plannedBalancer struct {
	planner Planner
	ctx     context.Context // ends with Close; bounds every Plan
	cancel  context.CancelFunc

	mu       sync.Mutex
	closed   bool
	renewals sync.WaitGroup // Add happens with mu held and closed false
}

// Planner returns the inner contract, which is what crosses a process boundary.
func (b *plannedBalancer) Planner() Planner { return b.planner }

func (b *plannedBalancer) Build(endpoints []Endpoint) (Picker, error) {
	p := &plannedPicker{balancer: b, endpoints: endpoints}
	table, err := p.plan(0)
	if err != nil {
		return nil, err
	}
	p.table.Store(table)
	return p, nil
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
		if table, err := p.plan(now); err == nil {
			p.table.Store(table)
		}
	})
}

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
	if err != nil {
		return nil, fmt.Errorf("plan for %d endpoints: %w", len(p.endpoints), err)
	}
	if len(plan.Weights) != len(p.endpoints) {
		return nil, fmt.Errorf("plan has %d weights for %d endpoints", len(plan.Weights), len(p.endpoints))
	}
	return NewWeightedPicker(plan.Weights)
}
