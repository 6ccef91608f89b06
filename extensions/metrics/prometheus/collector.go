package prometheus

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
	client "github.com/prometheus/client_golang/prometheus"
)

// Collector is a collector of the client library. It keeps nothing: every scrape
// reads anew.
type Collector struct {
	read func() []core.Metrics
}

// NewCollector returns a Collector of what read returns, which is asked at every
// scrape, by several goroutines perhaps. What has the same role is shown as one: a
// process with two providers shows their sum, which falls when one of them stops, as a
// counter of a restarted process does. Register one Collector per registry.
func NewCollector(read func() []core.Metrics) *Collector { return &Collector{read} }

// family is one name with its values.
type family struct {
	desc    *client.Desc
	kind    client.ValueType
	value   func(core.Metrics) uint64             // set: there is no label but the role
	values  func(core.Metrics) map[string]float64 // set: by the value of a second label
	buckets func(core.Metrics) core.Histogram     // set: it is a histogram
}

func describe(name, help string, label ...string) *client.Desc {
	return client.NewDesc("bhrpc_"+name, help, append([]string{"role"}, label...), nil)
}

func counter(name, help string, value func(core.Metrics) uint64) family {
	return family{desc: describe(name, help), kind: client.CounterValue, value: value}
}

func counters(name, help, label string, values func(core.Metrics) map[string]float64) family {
	return family{desc: describe(name, help, label), kind: client.CounterValue, values: values}
}

func histogram(name, help string, buckets func(core.Metrics) core.Histogram) family {
	return family{desc: describe(name, help), buckets: buckets}
}

// families is everything that is shown, in the order of docs/metrics.md.
var families = []family{
	histogram("hb_rtt_seconds", "Time from a heartbeat's PING to its PONG.", func(m core.Metrics) core.Histogram { return m.RTT }),
	histogram("ctl_queue_delay_seconds", "Time from queueing a PING to the kernel having taken it.", func(m core.Metrics) core.Histogram { return m.PingDelay }),
	counter("hb_pings_total", "PINGs of this side.", func(m core.Metrics) uint64 { return m.Pings }),
	counters("hb_strikes_total", "Unanswered heartbeats, by how many in a row.", "n", func(m core.Metrics) map[string]float64 {
		return texts(m.Strikes, strconv.Itoa)
	}),
	counter("hb_recovered_total", "Signs of life after strikes.", func(m core.Metrics) uint64 { return m.Recovered }),
	counter("hb_local_pause_total", "Heartbeats not counted because this process was late itself.", func(m core.Metrics) uint64 { return m.LocalPauses }),
	{desc: describe("conn_state", "Connections, and endpoints without one, by state.", "state"), kind: client.GaugeValue, values: states},
	counter("conn_up_total", "Connections whose HELLOs were exchanged.", func(m core.Metrics) uint64 { return m.Connected }),
	counters("conn_down_total", "Connections that ended, by cause.", "cause", func(m core.Metrics) map[string]float64 {
		return texts(m.Disconnected, func(reason string) string { return reason })
	}),
	counter("conn_superseded_total", "Connections that their consumer gave up for dead and replaced.", func(m core.Metrics) uint64 { return m.Superseded }),
	counters("pending_failed_total", "Calls that failed with their connection, by whether they were sent.", "sent", func(m core.Metrics) map[string]float64 {
		return texts(m.Failed, func(sent spi.Sent) string { return string(sent) })
	}),
	counter("requests_cancelled_total", "Requests that were cancelled with their connection.", func(m core.Metrics) uint64 { return m.Cancelled }),
	counter("late_responses_total", "Answers that nobody waited for any more.", func(m core.Metrics) uint64 { return m.Late }),
	histogram("write_stall_seconds", "Time that writes waited for the kernel, where it was 1 ms or longer.", func(m core.Metrics) core.Histogram { return m.WriteStall }),
	counter("reconnect_attempts_total", "Attempts to connect again that were begun or wait.", func(m core.Metrics) uint64 { return m.ReconnectAttempts }),
	counter("reconnect_total", "Connections after the first of an endpoint.", func(m core.Metrics) uint64 { return m.Reconnected }),
	histogram("reconnect_delay_seconds", "Time that attempts to connect again wait.", func(m core.Metrics) core.Histogram { return m.ReconnectDelay }),
	histogram("endpoint_down_seconds", "Time that endpoints had no connection, until they had.", func(m core.Metrics) core.Histogram { return m.Down }),
	counter("events_lost_total", "Events that observers were too slow for.", func(m core.Metrics) uint64 { return m.EventsLost }),
}

// states shows every state, so that one without connections is 0 and not absent.
func states(m core.Metrics) map[string]float64 {
	all := make(map[string]float64)
	for _, s := range []core.ConnState{core.ConnConnecting, core.ConnUp, core.ConnSuspect, core.ConnDraining, core.ConnBackoff} {
		all[string(s)] = float64(m.Conns[s])
	}
	return all
}

// texts returns counts with their keys as texts.
func texts[K comparable](counts map[K]uint64, text func(K) string) map[string]float64 {
	all := make(map[string]float64, len(counts))
	for key, n := range counts {
		all[text(key)] += float64(n)
	}
	return all
}

// Describe implements the client library's Collector.
func (c *Collector) Describe(out chan<- *client.Desc) {
	for _, f := range families {
		out <- f.desc
	}
}

// Collect implements the client library's Collector.
func (c *Collector) Collect(out chan<- client.Metric) {
	byRole := make(map[spi.Role][]core.Metrics)
	for _, m := range c.read() {
		byRole[m.Role] = append(byRole[m.Role], m)
	}
	for _, role := range slices.Sorted(maps.Keys(byRole)) {
		for _, f := range families {
			f.collect(out, string(role), byRole[role])
		}
	}
}

// collect shows the sum of what has one role.
func (f family) collect(out chan<- client.Metric, role string, all []core.Metrics) {
	switch {
	case f.buckets != nil:
		f.collectHistogram(out, role, all)
	case f.value != nil:
		var sum uint64
		for _, m := range all {
			sum += f.value(m)
		}
		out <- client.MustNewConstMetric(f.desc, f.kind, float64(sum), role)
	default:
		sums := make(map[string]float64)
		for _, m := range all {
			for label, value := range f.values(m) {
				sums[label] += value
			}
		}
		for label, sum := range sums {
			out <- client.MustNewConstMetric(f.desc, f.kind, sum, role, label)
		}
	}
}

func (f family) collectHistogram(out chan<- client.Metric, role string, all []core.Metrics) {
	var count uint64
	var sum time.Duration
	buckets := make(map[float64]uint64) // cumulative
	for _, m := range all {
		h := f.buckets(m)
		count, sum = count+h.Count, sum+h.Sum
		var below uint64
		for i, bound := range h.Bounds {
			below += h.Counts[i]
			buckets[bound.Seconds()] += below
		}
	}
	out <- client.MustNewConstHistogram(f.desc, count, sum.Seconds(), buckets, role)
}
