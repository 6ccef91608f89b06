//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"context"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// pluginVariable makes this binary a plugin.
const pluginVariable = "FAULT_PLUGIN"

// servePlugin brings the load balancer "even".
func servePlugin() error {
	cat := spi.NewCatalog()
	open := func(_ context.Context, env spi.Env, _ struct{}) (spi.LoadBalancer, error) {
		return spi.FromPlanner(even{}, env), nil
	}
	if err := spi.Register(cat.LoadBalancers, "even", "Spreads calls evenly.", struct{}{}, open); err != nil {
		return err
	}
	return plugins.Serve(cat)
}

// even plans the same share for all.
type even struct{}

func (even) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	weights := make([]int, len(stats.Endpoints))
	for i := range weights {
		weights[i] = 1
	}
	return spi.Plan{Weights: weights}, nil
}
