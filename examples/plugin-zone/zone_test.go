package zone_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	zone "github.com/bhrpc/bhrpc/examples/plugin-zone"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

// open opens the load balancer as a program does that has it linked in.
func open(t *testing.T, with string) (spi.LoadBalancer, error) {
	t.Helper()
	cat := spi.NewCatalog()
	if err := zone.Register(cat); err != nil {
		t.Fatal(err)
	}
	lb, err := cat.LoadBalancers.Open(context.Background(), spi.Env{}, spi.Ref{Use: "zone-aware", With: spi.Raw{JSON: []byte(with)}})
	if closer, ok := lb.(io.Closer); ok {
		t.Cleanup(func() { _ = closer.Close() })
	}
	return lb, err
}

func TestContract(t *testing.T) {
	for _, with := range []string{`{"zone": "z0"}`, `{"zone": "nowhere"}`, `{"zone": "z2", "spill_over": 0}`} {
		t.Run(with, func(t *testing.T) {
			lb, err := open(t, with)
			if err != nil {
				t.Fatal(err)
			}
			spitest.LoadBalancer(t, lb)
		})
	}
}

func endpoint(zone string, weight, inFlight int, latency time.Duration) spi.EndpointStats {
	return spi.EndpointStats{Address: "a:1", Weight: weight, Labels: map[string]string{"zone": zone}, InFlight: inFlight, Latency: spi.Duration(latency)}
}

func TestPlan(t *testing.T) {
	const with = `{"zone": "eu1", "max_in_flight": 10, "max_latency": "100ms", "spill_over": 0.8}`
	tests := []struct {
		name      string
		endpoints []spi.EndpointStats
		want      []float64 // parts of the calls
	}{
		{"the zone is well", []spi.EndpointStats{endpoint("eu1", 1, 10, 0), endpoint("eu1", 3, 0, 100*time.Millisecond), endpoint("us1", 9, 0, 0)}, []float64{.25, .75, 0}},
		{"one is at twice its limit", []spi.EndpointStats{endpoint("eu1", 1, 20, 0), endpoint("eu1", 1, 0, 0), endpoint("us1", 1, 0, 0)}, []float64{.25, .5, .25}},
		{"one fails", []spi.EndpointStats{endpoint("eu1", 1, 0, time.Second), endpoint("eu1", 1, 0, 0), endpoint("us1", 1, 0, 0)}, []float64{.05, .5, .45}},
		{"all fail, and others too", []spi.EndpointStats{endpoint("eu1", 1, 0, time.Second), endpoint("us1", 1, 0, time.Second), endpoint("us2", 1, 0, 0)}, []float64{.2, .8 / 11, 8. / 11}},
		{"the others are by weight", []spi.EndpointStats{endpoint("eu1", 1, 20, 0), endpoint("us1", 1, 0, 0), endpoint("us1", 4, 0, 0)}, []float64{.5, .1, .4}},
		{"none in the zone", []spi.EndpointStats{endpoint("us1", 1, 0, 0), endpoint("us2", 3, 0, 0)}, []float64{.25, .75}},
		{"all in the zone, overloaded", []spi.EndpointStats{endpoint("eu1", 1, 40, 0), endpoint("eu1", 1, 10, 0)}, []float64{.2, .8}},
		{"no labels", []spi.EndpointStats{{Weight: 1}, {Weight: 1}}, []float64{.5, .5}},
	}
	lb, err := open(t, with)
	if err != nil {
		t.Fatal(err)
	}
	planner := lb.(interface{ Planner() spi.Planner }).Planner()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plan, err := planner.Plan(t.Context(), spi.Stats{Endpoints: tt.endpoints})
			if err != nil || len(plan.Weights) != len(tt.want) {
				t.Fatalf("Plan: got %v, %v, want %v", plan, err, tt.want)
			}
			sum := 0
			for _, w := range plan.Weights {
				sum += w
			}
			for i, w := range plan.Weights {
				if got := float64(w) / float64(sum); got < tt.want[i]-1e-4 || got > tt.want[i]+1e-4 || (w == 0) != (tt.want[i] == 0) {
					t.Errorf("Plan: got %v, so %.4f of the calls for endpoint %d, want %.4f", plan.Weights, got, i, tt.want[i])
				}
			}
		})
	}
}

// The zone is left at once when nothing in it can be used: the host needs no plan
// for that.
func TestZoneIsGone(t *testing.T) {
	lb, err := open(t, `{"zone": "eu1", "spill_over": 0}`)
	if err != nil {
		t.Fatal(err)
	}
	picker, err := lb.Build([]spi.Endpoint{
		{Address: "a:1", Weight: 1, Labels: map[string]string{"zone": "eu1"}, Load: new(spi.Load)},
		{Address: "b:1", Weight: 1, Labels: map[string]string{"zone": "us1"}, Load: new(spi.Load)},
	})
	if err != nil {
		t.Fatal(err)
	}
	others := spi.NewBitmap(2)
	others.Set(1)
	for _, tt := range []struct {
		usable spi.Bitmap
		want   int
	}{{nil, 0}, {others, 1}} {
		for range 100 {
			if got, err := picker.Pick(&spi.CallInfo{Usable: tt.usable}); got != tt.want || err != nil {
				t.Fatalf("Pick with %v usable: got %d, %v, want %d", tt.usable, got, err, tt.want)
			}
		}
	}
}

func TestConfig(t *testing.T) {
	tests := []struct{ name, with, want string }{
		{"no zone", `{}`, "zone: is missing"},
		{"no label", `{"zone": "a", "label": ""}`, "label: is empty"},
		{"no calls", `{"zone": "a", "max_in_flight": 0}`, "max_in_flight: 0"},
		{"no time", `{"zone": "a", "max_latency": "1us"}`, "max_latency: 1µs"},
		{"too large a part", `{"zone": "a", "spill_over": 1.5}`, "spill_over: 1.5"},
		{"misspelt", `{"zone": "a", "spillover": 1}`, `did you mean "spill_over"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := open(t, tt.with); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open with %s: got %v, want %q", tt.with, err, tt.want)
			}
		})
	}
}
