package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// planner asks a plugin for plans, one at a time, over a stream that is opened when
// it is needed and given up at the first fault.
type planner struct {
	plugin *Plugin
	use    *usage
	open   *pluginv1.PlanOpen

	mu     sync.Mutex // held while a plan is asked for, which its context bounds
	stream grpc.BidiStreamingClient[pluginv1.PlanRequest, pluginv1.PlanReply]
	cancel context.CancelFunc // of stream; nil without one
	from   uint64             // generation of the stream
	number uint64             // of the last request

	largest int // plan that the stream lets in, in bytes
}

// Plan implements spi.Planner.
func (p *planner) Plan(ctx context.Context, stats spi.Stats) (spi.Plan, error) {
	weights, err := p.plan(ctx, stats)
	switch {
	case err == nil:
		p.use.planned.Store(time.Now().UnixNano())
		p.use.works()
	case !errors.Is(ctx.Err(), context.Canceled): // else the load balancer is being closed
		p.use.fails(err)
	}
	return spi.Plan{Weights: weights}, err
}

func (p *planner) plan(ctx context.Context, stats spi.Stats) ([]int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reply, err := exchange(ctx, p.plugin, func(ctx context.Context, g *generation) (*pluginv1.PlanReply, error) {
		return p.ask(ctx, g, stats)
	})
	if err != nil {
		p.hangUp()
		return nil, err
	}
	if reply.GetError() != "" {
		return nil, fmt.Errorf("plugin %q has no plan: %s", p.plugin.cfg.Name, reply.GetError())
	}
	weights, err := weigh(reply.GetShares(), stats.Endpoints)
	if err != nil {
		return nil, fmt.Errorf("plan of plugin %q refused: %w", p.plugin.cfg.Name, err)
	}
	return weights, nil
}

// ask makes one request. mu is held.
func (p *planner) ask(ctx context.Context, g *generation, stats spi.Stats) (*pluginv1.PlanReply, error) {
	size := planSize(stats.Endpoints)
	if g.number != p.from || size > p.largest {
		p.hangUp()
	}
	if p.cancel == nil {
		if err := p.call(ctx, g, 2*size); err != nil { // the next sets may be somewhat larger
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, p.cancel)
	p.number++
	request := &pluginv1.PlanRequest{Generation: g.number, Number: p.number, Endpoints: sentStats(stats.Endpoints)}
	err := p.stream.Send(request)
	var reply *pluginv1.PlanReply
	if err == nil || errors.Is(err, io.EOF) { // Recv knows why
		reply, err = p.stream.Recv()
	}
	switch {
	case !stop() || ctx.Err() != nil: // the stream was given up, perhaps after the answer
		return nil, ctx.Err()
	case err == nil && (reply.GetGeneration() != g.number || reply.GetNumber() != p.number):
		err = fmt.Errorf("answer %d of generation %d to request %d of generation %d", reply.GetNumber(), reply.GetGeneration(), p.number, g.number)
	}
	return reply, err
}

// call opens the stream, for plans of at most largest bytes. The stream outlives ctx,
// which bounds the opening: gRPC may have to connect again.
func (p *planner) call(ctx context.Context, g *generation, largest int) error {
	streamed, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	largest = min(largest, maxMessage)
	stream, err := pluginv1.NewLoadBalancerClient(g.conn).Plan(streamed, grpc.MaxCallRecvMsgSize(largest))
	if err == nil {
		err = stream.Send(&pluginv1.PlanRequest{Generation: g.number, Open: p.open})
	}
	switch {
	case !stop():
		err = ctx.Err()
	case err == nil || errors.Is(err, io.EOF): // io.EOF: Recv knows why
		p.stream, p.cancel, p.from, p.number, p.largest = stream, cancel, g.number, 0, largest
		return nil
	}
	cancel()
	return err
}

// planSize is more than a plan for endpoints has, in bytes. Without a bound a plugin
// could have the host unpack millions of empty shares, which are far larger than what
// arrives.
func planSize(endpoints []spi.EndpointStats) int {
	size := 64 << 10 // an error, or what later versions say
	for i := range endpoints {
		size += len(endpoints[i].Address) + 64
	}
	return min(size, maxMessage)
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
		out[i] = &pluginv1.EndpointStats{Address: e.Address, Weight: int64(e.Weight), Labels: texts(e.Labels),
			InFlight: int64(e.InFlight), LatencyNanos: int64(e.Latency), Failures: e.Failures}
	}
	return out
}

// largestWeight is what the largest weight of a plan becomes.
const largestWeight = 1 << 30

// weigh checks the shares of a plan and returns weights in the order of endpoints.
// A share above 0 never becomes 0.
func weigh(shares []*pluginv1.Share, endpoints []spi.EndpointStats) ([]int, error) {
	if len(shares) > len(endpoints) {
		return nil, fmt.Errorf("it has %d shares for %d endpoints, so it names some twice or unknown ones", len(shares), len(endpoints))
	}
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
	if largest == 0 {
		return nil, fmt.Errorf("none of its %d weights is positive", len(shares))
	}
	return weights, nil
}
