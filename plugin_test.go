package bhrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// pluginRole is the variable that makes the test binary a plugin, which brings a load
// balancer of the name that it holds, and the serializer marked.
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

// marked is JSON behind a mark.
type marked struct{}

const mark = "marked:"

func (marked) Append(dst []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(append(dst, mark...), data...), err
}

func (marked) Decode(data []byte, v any) error {
	text, ok := bytes.CutPrefix(data, []byte(mark))
	if !ok {
		return fmt.Errorf("%.20q has no mark", data)
	}
	return json.Unmarshal(text, v)
}

// playPlugin serves a plugin and ends the process.
func playPlugin(name string) {
	cat := spi.NewCatalog()
	err := spi.Register(cat.LoadBalancers, name, "Prefers endpoints in one zone.", nearestConfig{}, func(_ context.Context, env spi.Env, _ nearestConfig) (spi.LoadBalancer, error) {
		return spi.FromPlanner(firstOnly{}, env), nil
	})
	err = errors.Join(err, spi.Register(cat.Serializers, "marked", "JSON behind a mark.", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.Serializer, error) {
		return marked{}, nil
	}))
	if err = errors.Join(err, plugins.Serve(cat)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
