package prometheus

import (
	"github.com/bhrpc/bhrpc/spi"
	client "github.com/prometheus/client_golang/prometheus"
)

// PluginCollector is a collector of the client library for plugin processes. It keeps
// nothing: every scrape reads anew.
type PluginCollector struct {
	read func() []spi.PluginStatus
}

// NewPluginCollector returns a PluginCollector of what read returns, which is asked at
// every scrape, by several goroutines perhaps. Names in it must differ. Register one
// per registry.
func NewPluginCollector(read func() []spi.PluginStatus) *PluginCollector {
	return &PluginCollector{read}
}

// pluginFamily is one name with the value of a plugin.
type pluginFamily struct {
	desc  *client.Desc
	kind  client.ValueType
	value func(spi.PluginStatus) float64
}

func ofPlugin(name, help string, kind client.ValueType, value func(spi.PluginStatus) float64) pluginFamily {
	return pluginFamily{client.NewDesc("bhrpc_plugin_"+name, help, []string{"plugin"}, nil), kind, value}
}

// pluginFamilies is what is shown of a plugin, in the order of docs/metrics.md.
var pluginFamilies = []pluginFamily{
	ofPlugin("up", "1 while a process is ready, else 0.", client.GaugeValue, func(s spi.PluginStatus) float64 {
		if s.State == "ready" {
			return 1
		}
		return 0
	}),
	ofPlugin("starts_total", "Processes that were started.", client.CounterValue, func(s spi.PluginStatus) float64 { return float64(s.Generation) }),
	ofPlugin("calls_total", "Exchanges.", client.CounterValue, func(s spi.PluginStatus) float64 { return float64(s.Calls) }),
	ofPlugin("call_errors_total", "Exchanges that failed.", client.CounterValue, func(s spi.PluginStatus) float64 { return float64(s.Errors) }),
	ofPlugin("lines_dropped_total", "Lines that were printed too fast to be logged.", client.CounterValue, func(s spi.PluginStatus) float64 { return float64(s.Dropped) }),
	ofPlugin("resident_bytes", "Resident memory of the process.", client.GaugeValue, func(s spi.PluginStatus) float64 { return float64(s.RSS) }),
	ofPlugin("open_files", "Files that the process has open.", client.GaugeValue, func(s spi.PluginStatus) float64 { return float64(s.Files) }),
}

var (
	fallbacks = client.NewDesc("bhrpc_plugin_fallback_total", "Uses of what stands in for an extension.", []string{"plugin", "kind", "name"}, nil)
	planAge   = client.NewDesc("bhrpc_plugin_plan_age_seconds", "Age of the last good plan, where there is one.", []string{"plugin", "kind", "name"}, nil)
	latency   = client.NewDesc("bhrpc_plugin_call_seconds", "Latest exchanges that were answered.", []string{"plugin", "quantile"}, nil)
)

// Describe implements the client library's Collector.
func (c *PluginCollector) Describe(out chan<- *client.Desc) {
	for _, f := range pluginFamilies {
		out <- f.desc
	}
	out <- fallbacks
	out <- planAge
	out <- latency
}

// Collect implements the client library's Collector.
func (c *PluginCollector) Collect(out chan<- client.Metric) {
	for _, s := range c.read() {
		for _, f := range pluginFamilies {
			out <- client.MustNewConstMetric(f.desc, f.kind, f.value(s), s.Name)
		}
		if s.P50 > 0 {
			out <- client.MustNewConstMetric(latency, client.GaugeValue, s.P50.D().Seconds(), s.Name, "0.5")
			out <- client.MustNewConstMetric(latency, client.GaugeValue, s.P99.D().Seconds(), s.Name, "0.99")
		}
		for _, e := range s.Extensions {
			out <- client.MustNewConstMetric(fallbacks, client.CounterValue, float64(e.Fallbacks), s.Name, e.Kind, e.Name)
			if e.PlanAge > 0 {
				out <- client.MustNewConstMetric(planAge, client.GaugeValue, e.PlanAge.D().Seconds(), s.Name, e.Kind, e.Name)
			}
		}
	}
}
