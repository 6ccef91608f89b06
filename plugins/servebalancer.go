package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// balancers lets a host use the load balancers of a catalog.
type balancers struct {
	pluginv1.UnimplementedLoadBalancerServer
	shelf *shelf[spi.LoadBalancer]
}

// planner opens a load balancer, once, and returns what plans.
func (b *balancers) planner(ctx context.Context, name string, with []byte) (spi.Planner, error) {
	balancer, err := b.shelf.open(ctx, name, with, "")
	if err != nil {
		return nil, err
	}
	planner, err := plannerOf(name, balancer)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return planner, nil
}

// plannerOf returns what plans within a load balancer.
func plannerOf(name string, lb spi.LoadBalancer) (spi.Planner, error) {
	inner, ok := lb.(interface{ Planner() spi.Planner })
	if !ok {
		return nil, fmt.Errorf("loadbalancer %q does not plan, so it cannot live in a plugin: its open must return what spi.FromPlanner makes", name)
	}
	return inner.Planner(), nil
}

// Plan plans until the host ends the stream.
func (b *balancers) Plan(stream grpc.BidiStreamingServer[pluginv1.PlanRequest, pluginv1.PlanReply]) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	planner, err := b.planner(stream.Context(), request.GetOpen().GetName(), request.GetOpen().GetWith())
	if err != nil {
		return err
	}
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		stats := receivedStats(request.GetEndpoints())
		reply := &pluginv1.PlanReply{Generation: request.GetGeneration(), Number: request.GetNumber()}
		plan, err := planner.Plan(stream.Context(), stats)
		switch {
		case err != nil:
			reply.Error = text(err.Error())
		case len(plan.Weights) != len(stats.Endpoints):
			reply.Error = "the planner did not answer with one weight per endpoint"
		default:
			for i, e := range stats.Endpoints {
				reply.Shares = append(reply.Shares, &pluginv1.Share{Address: e.Address, Weight: float64(plan.Weights[i])})
			}
		}
		if err := stream.Send(reply); err != nil {
			return err
		}
	}
}

func receivedStats(endpoints []*pluginv1.EndpointStats) spi.Stats {
	stats := spi.Stats{Endpoints: make([]spi.EndpointStats, len(endpoints))}
	for i, e := range endpoints {
		stats.Endpoints[i] = spi.EndpointStats{Address: e.GetAddress(), Weight: int(e.GetWeight()), Labels: e.GetLabels(),
			InFlight: int(e.GetInFlight()), Latency: spi.Duration(e.GetLatencyNanos()), Failures: e.GetFailures()}
	}
	return stats
}
