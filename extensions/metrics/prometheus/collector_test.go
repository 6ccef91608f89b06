package prometheus_test

import (
	"context"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/extensions/metrics/prometheus"
	"github.com/bhrpc/bhrpc/spi"
	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns the samples that a scrape of read shows, sorted.
func scrape(t *testing.T, read func() []core.Metrics) []string {
	t.Helper()
	return scraped(t, prometheus.NewCollector(read))
}

// scraped returns the samples that a scrape of a collector shows, sorted.
func scraped(t *testing.T, collector client.Collector) []string {
	t.Helper()
	registry := client.NewPedanticRegistry() // complains about what was not described
	registry.MustRegister(collector)
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if answer.Code != 200 {
		t.Fatalf("got %d: %s", answer.Code, answer.Body)
	}
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(answer.Body.String()), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "#")
	})
	slices.Sort(lines)
	return lines
}

func TestCollector(t *testing.T) {
	second := func(count uint64) core.Histogram {
		return core.Histogram{Bounds: []time.Duration{time.Second, 2 * time.Second}, Counts: []uint64{count, 0, 1}, Count: count + 1, Sum: time.Duration(count) * time.Second}
	}
	one := core.Metrics{
		Role: spi.RoleProvider, RTT: second(1), Pings: 5, Strikes: map[int]uint64{1: 3, 2: 1}, Conns: map[core.ConnState]int{core.ConnUp: 7, core.ConnSuspect: 1},
		Disconnected: map[string]uint64{spi.ReasonHeartbeatTimeout: 2}, Failed: map[spi.Sent]uint64{spi.SentMaybe: 4}, Late: 6,
	}
	two := core.Metrics{Role: spi.RoleProvider, RTT: second(3), Pings: 10, Strikes: map[int]uint64{1: 10}, Conns: map[core.ConnState]int{core.ConnUp: 3}}
	got := scrape(t, func() []core.Metrics { return []core.Metrics{one, {Role: spi.RoleConsumer, Pings: 1}, two} })
	for _, want := range []string{
		`bhrpc_hb_pings_total{role="consumer"} 1`,
		`bhrpc_hb_pings_total{role="provider"} 15`,
		`bhrpc_hb_strikes_total{n="1",role="provider"} 13`,
		`bhrpc_hb_strikes_total{n="2",role="provider"} 1`,
		`bhrpc_hb_rtt_seconds_bucket{role="provider",le="1"} 4`,
		`bhrpc_hb_rtt_seconds_bucket{role="provider",le="2"} 4`,
		`bhrpc_hb_rtt_seconds_bucket{role="provider",le="+Inf"} 6`,
		`bhrpc_hb_rtt_seconds_sum{role="provider"} 4`,
		`bhrpc_hb_rtt_seconds_count{role="provider"} 6`,
		`bhrpc_conn_state{role="provider",state="up"} 10`,
		`bhrpc_conn_state{role="provider",state="suspect"} 1`,
		`bhrpc_conn_state{role="provider",state="draining"} 0`,
		`bhrpc_conn_down_total{cause="heartbeat_timeout",role="provider"} 2`,
		`bhrpc_pending_failed_total{role="provider",sent="maybe"} 4`,
		`bhrpc_late_responses_total{role="provider"} 6`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("got no line %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if got := scrape(t, func() []core.Metrics { return nil }); !slices.Equal(got, []string{""}) {
		t.Errorf("nothing to show: got %q", got)
	}
}

// TestDocumented: docs/metrics.md lists what there is, and nothing else.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(bhrpc_[a-z_]+)").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	descs := make(chan *client.Desc, 100)
	prometheus.NewCollector(nil).Describe(descs)
	prometheus.NewPluginCollector(nil).Describe(descs)
	close(descs)
	var shown []string
	for desc := range descs {
		shown = append(shown, regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(desc.String())[1])
	}
	if !slices.Equal(documented, shown) {
		t.Errorf("got  %q in docs/metrics.md\nwant %q", documented, shown)
	}
}

type hello struct{}

func (hello) Say(name string) (string, error) { return "hello, " + name, nil }

// TestApp shows what an App counts, as docs/metrics.md says how.
func TestApp(t *testing.T) {
	t.Setenv("BHRPC_CONTROL", "off")
	cfg, err := bhrpc.Load("")
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]any{"provider.listen": "127.0.0.1:0", "log.level": "error"} {
		if err := cfg.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	provider, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer provider.Close()
	p, err := provider.Provide(t.Context(), bhrpc.Service{Name: "Hello", Impl: hello{}})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := bhrpc.Dial(p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	if _, err := bhrpc.Call[string](context.Background(), consumer, "Hello.Say", "world"); err != nil {
		t.Fatal(err)
	}
	got := scrape(t, func() []core.Metrics { return slices.Concat(provider.Metrics(), consumer.Metrics()) })
	for _, want := range []string{`bhrpc_conn_up_total{role="consumer"} 1`, `bhrpc_conn_state{role="provider",state="up"} 1`} {
		if !slices.Contains(got, want) {
			t.Errorf("got no line %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
}

func TestPluginCollector(t *testing.T) {
	got := scraped(t, prometheus.NewPluginCollector(func() []spi.PluginStatus {
		return []spi.PluginStatus{
			{Name: "acme", State: "ready", Generation: 3, Calls: 7, Errors: 2, P50: spi.Duration(time.Millisecond), P99: spi.Duration(2 * time.Millisecond), RSS: 1024, Files: 9,
				Extensions: []spi.PluginExtension{{Kind: "loadbalancer", Name: "zoned", Fallbacks: 4, PlanAge: spi.Duration(time.Second)}}},
			{Name: "other", State: "backoff", Generation: 1, Dropped: 5, Extensions: []spi.PluginExtension{{Kind: "proxy", Name: "audit"}}},
		}
	}))
	want := []string{
		`bhrpc_plugin_call_errors_total{plugin="acme"} 2`,
		`bhrpc_plugin_call_errors_total{plugin="other"} 0`,
		`bhrpc_plugin_call_seconds{plugin="acme",quantile="0.5"} 0.001`,
		`bhrpc_plugin_call_seconds{plugin="acme",quantile="0.99"} 0.002`,
		`bhrpc_plugin_calls_total{plugin="acme"} 7`,
		`bhrpc_plugin_calls_total{plugin="other"} 0`,
		`bhrpc_plugin_fallback_total{kind="loadbalancer",name="zoned",plugin="acme"} 4`,
		`bhrpc_plugin_fallback_total{kind="proxy",name="audit",plugin="other"} 0`,
		`bhrpc_plugin_lines_dropped_total{plugin="acme"} 0`,
		`bhrpc_plugin_lines_dropped_total{plugin="other"} 5`,
		`bhrpc_plugin_open_files{plugin="acme"} 9`,
		`bhrpc_plugin_open_files{plugin="other"} 0`,
		`bhrpc_plugin_plan_age_seconds{kind="loadbalancer",name="zoned",plugin="acme"} 1`,
		`bhrpc_plugin_resident_bytes{plugin="acme"} 1024`,
		`bhrpc_plugin_resident_bytes{plugin="other"} 0`,
		`bhrpc_plugin_starts_total{plugin="acme"} 3`,
		`bhrpc_plugin_starts_total{plugin="other"} 1`,
		`bhrpc_plugin_up{plugin="acme"} 1`,
		`bhrpc_plugin_up{plugin="other"} 0`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
