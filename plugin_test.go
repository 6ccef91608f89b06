package bhrpc_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// pluginRole is the variable that makes the test binary a plugin, which brings a load
// balancer of the name that it holds.
const pluginRole = "BHRPC_TEST_PLUGIN"

type nearestConfig struct {
	Zone string `json:"zone" doc:"endpoints in this zone are preferred"`
}

// firstOnly plans everything to the first endpoint.
type firstOnly struct{}

func (firstOnly) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	weights := make([]int, len(stats.Endpoints))
	weights[0] = 1
	return spi.Plan{Weights: weights}, nil
}

// playPlugin serves a plugin and ends the process.
func playPlugin(name string) {
	cat := spi.NewCatalog()
	err := spi.Register(cat.LoadBalancers, name, "Prefers endpoints in one zone.", nearestConfig{}, func(_ context.Context, env spi.Env, _ nearestConfig) (spi.LoadBalancer, error) {
		return spi.FromPlanner(firstOnly{}, env), nil
	})
	if err = errors.Join(err, plugins.Serve(cat)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
