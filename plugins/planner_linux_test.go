package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

func endpoints(addresses ...string) []spi.Endpoint {
	out := make([]spi.Endpoint, len(addresses))
	for i, a := range addresses {
		out[i] = spi.Endpoint{Address: a, Weight: 1, Load: new(spi.Load)}
	}
	return out
}

func TestLoadBalancerOfAPlugin(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	p, err := Open(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	cat := spi.NewCatalog()
	if err := p.Register(cat); err != nil {
		t.Fatal(err)
	}
	if _, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "first", With: spi.Raw{JSON: []byte(`{"shar":1}`)}}); err == nil || !strings.Contains(err.Error(), `did you mean "share"?`) {
		t.Errorf("Open with a misspelt key: got %v, want the nearest one", err)
	}
	lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "first"})
	if err != nil {
		t.Fatal(err)
	}
	defer lb.(io.Closer).Close()
	picker, err := lb.Build(endpoints("a", "b", "c"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, picker spi.Picker) {
		t.Helper()
		for range 100 {
			if i, err := picker.Pick(&spi.CallInfo{}); i != 0 || err != nil {
				t.Fatalf("Pick %s: got %d, %v, want 0 by the plan", when, i, err)
			}
		}
	}
	check("by a plan", picker)
	if picker, err = lb.Build(endpoints("a", "b")); err != nil { // for which there is no plan
		t.Fatal(err)
	}
	check("by the last good plan", picker)
	info := new(spi.CallInfo)
	if allocs := testing.AllocsPerRun(100, func() { _, _ = picker.Pick(info) }); allocs != 0 {
		t.Errorf("Pick: got %v allocations, want 0", allocs)
	}
	g := p.ready.Load()
	if err := syscall.Kill(g.process.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.exited()
	if picker, err = lb.Build(endpoints("a", "c")); err != nil {
		t.Fatal(err)
	}
	check("with the plugin killed", picker)
}

func TestWeigh(t *testing.T) {
	share := func(address string, weight float64) *pluginv1.Share {
		return &pluginv1.Share{Address: address, Weight: weight}
	}
	tests := []struct {
		name   string
		shares []*pluginv1.Share
		want   []int
		err    string
	}{
		{"in any order", []*pluginv1.Share{share("b", 2), share("a", 1)}, []int{largestWeight / 2, largestWeight}, ""},
		{"tiny and huge", []*pluginv1.Share{share("a", math.MaxFloat64), share("b", math.SmallestNonzeroFloat64)}, []int{largestWeight, 1}, ""},
		{"one of none", []*pluginv1.Share{share("a", 0), share("b", 5)}, []int{0, largestWeight}, ""},
		{"no number", []*pluginv1.Share{share("a", math.NaN()), share("b", 1)}, nil, "weight NaN"},
		{"infinite", []*pluginv1.Share{share("a", math.Inf(1)), share("b", 1)}, nil, "weight +Inf"},
		{"negative", []*pluginv1.Share{share("a", -1), share("b", 1)}, nil, "weight -1"},
		{"all none", []*pluginv1.Share{share("a", 0), share("b", 0)}, nil, "none of its 2 weights is positive"},
		{"empty", nil, nil, `leaves out endpoint "a"`},
		{"one left out", []*pluginv1.Share{share("a", 1)}, nil, `leaves out endpoint "b"`},
		{"one twice", []*pluginv1.Share{share("a", 1), share("a", 1)}, nil, `names endpoint "a" twice`},
		{"one more, twice", []*pluginv1.Share{share("a", 1), share("b", 1), share("b", 1)}, nil, "3 shares for 2 endpoints"},
		{"one unknown", []*pluginv1.Share{share("a", 1), share("b", 1), share("c", 1)}, nil, "unknown ones"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := weigh(tt.shares, []spi.EndpointStats{{Address: "a"}, {Address: "b"}})
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || len(got) != len(tt.want) || err == nil && (got[0] != tt.want[0] || got[1] != tt.want[1]) {
				t.Errorf("weigh: got %v, %v, want %v, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

// TestWeighOfFarTooManyShares: they are not even looked at.
func TestWeighOfFarTooManyShares(t *testing.T) {
	shares := make([]*pluginv1.Share, 1<<20)
	for i := range shares {
		shares[i] = new(pluginv1.Share)
	}
	if allocs := testing.AllocsPerRun(10, func() { _, _ = weigh(shares, []spi.EndpointStats{{Address: "a"}}) }); allocs > 50 {
		t.Errorf("weigh: got %v allocations for a plan that is refused, want those of its error", allocs)
	}
}

// TestPlansForMoreEndpoints: a set may grow beyond what the stream was opened for.
func TestPlansForMoreEndpoints(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	p, _ := opened(t, cfg)
	cat := spi.NewCatalog()
	if err := p.Register(cat); err != nil {
		t.Fatal(err)
	}
	lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{Log: quiet()}, spi.Ref{Use: "first"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, lb)
	for _, n := range []int{3, 10_000, 3} {
		stats := spi.Stats{Endpoints: make([]spi.EndpointStats, n)}
		for i := range stats.Endpoints {
			stats.Endpoints[i].Address = fmt.Sprintf("provider-%d.example.org:7070", i)
		}
		if plan, err := lb.(*balancer).remote.Plan(t.Context(), stats); err != nil || len(plan.Weights) != n {
			t.Errorf("Plan for %d endpoints: got %d weights, %v, want one for each", n, len(plan.Weights), err)
		}
	}
}

// unconnected returns a process to which gRPC is still connecting.
func unconnected(t *testing.T) *generation {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///nowhere", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &generation{number: 1, conn: conn}
}

// TestOpeningOfAStreamEndsWithItsContext: also while there is no connection.
func TestOpeningOfAStreamEndsWithItsContext(t *testing.T) {
	tests := []struct {
		name string
		ask  func(context.Context, *generation) error
	}{
		{"plans", func(ctx context.Context, g *generation) error {
			_, err := new(planner).ask(ctx, g, spi.Stats{})
			return err
		}},
		{"transcoding", func(ctx context.Context, g *generation) error {
			_, err := new(streams).exchange(ctx, g, pluginv1.Blob_ENCODE, nil)
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithDeadline(t.Context(), time.Now())
			defer cancel()
			if err := tt.ask(ctx, unconnected(t)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
		})
	}
}
