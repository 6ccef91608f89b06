package prometheus_test

import (
	"fmt"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/extensions/metrics/prometheus"
	"github.com/bhrpc/bhrpc/spi"
	client "github.com/prometheus/client_golang/prometheus"
)

func ExampleNewCollector() {
	read := func() []core.Metrics { // of a program: app.Metrics
		return []core.Metrics{{Role: spi.RoleConsumer, Pings: 42}}
	}
	registry := client.NewRegistry()
	registry.MustRegister(prometheus.NewCollector(read))
	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range families {
		if f.GetName() == "bhrpc_hb_pings_total" {
			fmt.Println(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	// Output: 42
}
