package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"google.golang.org/grpc"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// addBalancer adds a load balancer that picks by the plugin's plans.
func (p *Plugin) addBalancer(cat *spi.Catalog, info spi.Info) error {
	return cat.LoadBalancers.Add(info, func(ctx context.Context, env spi.Env, with []byte) (spi.LoadBalancer, error) {
		if _, err := p.Configure(ctx, info.Kind, info.Name, with); err != nil {
			return nil, err
		}
		remote := &planner{plugin: p, open: &pluginv1.PlanOpen{Name: info.Name, With: with}}
		return &balancer{spi.FromPlanner(remote, env), remote}, nil
	})
}

// balancer picks locally by the plans of a plugin.
type balancer struct {
	spi.LoadBalancer
	remote *planner
}

// Close ends the stream of plans. Pickers work on by their last plans.
func (b *balancer) Close() error {
	err := b.LoadBalancer.(io.Closer).Close() // spi.FromPlanner says so
	b.remote.mu.Lock()
	defer b.remote.mu.Unlock()
	b.remote.hangUp()
	return err
}

// planner asks a plugin for plans, one at a time, over a stream that is opened when
// it is needed and given up at the first fault.
type planner struct {
	plugin *Plugin
	open   *pluginv1.PlanOpen

	mu     sync.Mutex // held while a plan is asked for, which its context bounds
	stream grpc.BidiStreamingClient[pluginv1.PlanRequest, pluginv1.PlanReply]
	cancel context.CancelFunc // of stream; nil without one
	from   uint64             // generation of the stream
	number uint64             // of the last request
}

// Plan implements spi.Planner.
func (p *planner) Plan(ctx context.Context, stats spi.Stats) (spi.Plan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reply, err := p.ask(ctx, stats)
	if err != nil {
		p.hangUp()
		return spi.Plan{}, fmt.Errorf("ask plugin %q: %w", p.plugin.cfg.Name, err)
	}
	if reply.GetError() != "" {
		return spi.Plan{}, fmt.Errorf("plugin %q has no plan: %s", p.plugin.cfg.Name, reply.GetError())
	}
	weights, err := weigh(reply.GetShares(), stats.Endpoints)
	if err != nil {
		return spi.Plan{}, fmt.Errorf("plan of plugin %q refused: %w", p.plugin.cfg.Name, err)
	}
	return spi.Plan{Weights: weights}, nil
}

func (p *planner) ask(ctx context.Context, stats spi.Stats) (*pluginv1.PlanReply, error) {
	g, err := p.plugin.use()
	if err != nil {
		return nil, err
	}
	defer g.release()
	if g.number != p.from {
		p.hangUp()
	}
	if p.cancel == nil {
		if err := p.call(g); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, p.cancel)
	defer stop()
	p.number++
	request := &pluginv1.PlanRequest{Generation: g.number, Number: p.number, Endpoints: sentStats(stats.Endpoints)}
	if err := p.stream.Send(request); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	reply, err := p.stream.Recv()
	if err == nil && (reply.GetGeneration() != g.number || reply.GetNumber() != p.number) {
		err = fmt.Errorf("answer %d of generation %d to request %d of generation %d", reply.GetNumber(), reply.GetGeneration(), p.number, g.number)
	}
	return reply, err
}

// call opens the stream.
func (p *planner) call(g *generation) error {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := pluginv1.NewLoadBalancerClient(g.conn).Plan(ctx)
	if err != nil {
		cancel()
		return err
	}
	p.stream, p.cancel, p.from, p.number = stream, cancel, g.number, 0
	if err := stream.Send(&pluginv1.PlanRequest{Generation: g.number, Open: p.open}); err != nil && !errors.Is(err, io.EOF) {
		return err // io.EOF: Recv knows why
	}
	return nil
}

// hangUp ends the stream. mu is held.
func (p *planner) hangUp() {
	if p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
}

func sentStats(endpoints []spi.EndpointStats) []*pluginv1.EndpointStats {
	out := make([]*pluginv1.EndpointStats, len(endpoints))
	for i, e := range endpoints {
		out[i] = &pluginv1.EndpointStats{Address: e.Address, Weight: int64(e.Weight), Labels: e.Labels,
			InFlight: int64(e.InFlight), LatencyNanos: int64(e.Latency), Failures: e.Failures}
	}
	return out
}

// largestWeight is what the largest weight of a plan becomes.
const largestWeight = 1 << 30

// weigh checks the shares of a plan and returns weights in the order of endpoints.
// A share above 0 never becomes 0.
func weigh(shares []*pluginv1.Share, endpoints []spi.EndpointStats) ([]int, error) {
	given := make(map[string]float64, len(shares))
	largest := 0.0
	for _, s := range shares {
		w := s.GetWeight()
		if _, twice := given[s.GetAddress()]; twice {
			return nil, fmt.Errorf("it names endpoint %q twice", s.GetAddress())
		}
		if math.IsNaN(w) || math.IsInf(w, 0) || w < 0 {
			return nil, fmt.Errorf("weight %v of endpoint %q; want a finite number, 0 or more", w, s.GetAddress())
		}
		given[s.GetAddress()] = w
		largest = max(largest, w)
	}
	weights := make([]int, len(endpoints))
	for i, e := range endpoints {
		w, ok := given[e.Address]
		if !ok {
			return nil, fmt.Errorf("it leaves out endpoint %q", e.Address)
		}
		if w > 0 {
			weights[i] = max(1, int(w/largest*largestWeight))
		}
	}
	switch {
	case len(shares) != len(endpoints):
		return nil, fmt.Errorf("it has %d shares for %d endpoints, so it names unknown ones", len(shares), len(endpoints))
	case largest == 0:
		return nil, fmt.Errorf("none of its %d weights is positive", len(shares))
	}
	return weights, nil
}
