package plugins

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// TestAnnounceBeforeThePlugin: that there is no process yet is said, and waited out.
func TestAnnounceBeforeThePlugin(t *testing.T) {
	r := &registry{plugin: &Plugin{cfg: spi.PluginConfig{Name: "acme"}}, log: unheard()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ups, done := make(chan error, 1), make(chan error, 1)
	go func() { done <- r.Announce(ctx, spi.Registration{}, func(err error) { ups <- err }) }()
	if err := <-ups; !errors.Is(err, errNotReady) {
		t.Errorf("up: got %v, want %v", err, errNotReady)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Announce: got %v, want nothing", err)
	}
}

// notRunning returns a plugin that brings an extension and has no process.
func notRunning(info spi.Info) *Plugin {
	return &Plugin{cfg: spi.PluginConfig{Name: "acme", CallTimeout: spi.Duration(time.Minute)}, turns: make(chan struct{}, 1), log: unheard(), extensions: []spi.Info{info}}
}

// TestRegistryNamesItsPlugin: in all that it logs, from its opening on.
func TestRegistryNamesItsPlugin(t *testing.T) {
	cat := spi.NewCatalog()
	if err := notRunning(spi.Info{Kind: "registry", Name: "dialled"}).Register(cat); err != nil {
		t.Fatal(err)
	}
	log, logged := logtest.NewNullLogger()
	r, err := cat.Registries.Open(t.Context(), spi.Env{Log: log}, spi.Ref{Use: "dialled"})
	if err != nil {
		t.Fatal(err)
	}
	r.(*registry).use.fails(errNotReady)
	entries := logged.AllEntries()
	if len(entries) != 2 {
		t.Errorf("log: got %d lines, want one about the opening and one about the use", len(entries))
	}
	for _, e := range entries {
		if e.Data["plugin"] != "acme" {
			t.Errorf("log %q: got the fields %v, want plugin=acme", e.Message, e.Data)
		}
	}
}

func TestReceivedSet(t *testing.T) {
	at := func(address string, weight int64) *pluginv1.RegisteredEndpoint {
		return &pluginv1.RegisteredEndpoint{Address: address, Weight: weight}
	}
	tests := []struct {
		name      string
		endpoints []*pluginv1.RegisteredEndpoint
		want      []int // weights
		err       string
	}{
		{"empty", nil, []int{}, ""},
		{"weights", []*pluginv1.RegisteredEndpoint{at("a", 0), at("b", 5), at("c", largestShare)}, []int{1, 5, largestShare}, ""},
		{"no address", []*pluginv1.RegisteredEndpoint{at("a", 0), at("", 5)}, nil, "endpoint 2 of 2 has no address"},
		{"nothing at all", []*pluginv1.RegisteredEndpoint{nil}, nil, "endpoint 1 of 1 has no address"},
		{"twice", []*pluginv1.RegisteredEndpoint{at("a", 0), at("a", 5)}, nil, `names endpoint "a" twice`},
		{"negative", []*pluginv1.RegisteredEndpoint{at("a", -1)}, nil, `weight -1 of endpoint "a"`},
		{"huge", []*pluginv1.RegisteredEndpoint{at("a", math.MaxInt64)}, nil, "want 0 to"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := receivedSet(tt.endpoints)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || (got == nil) != (tt.want == nil) || len(got) != len(tt.want) {
				t.Fatalf("receivedSet: got %+v, %v, want weights %v, %q", got, err, tt.want, tt.err)
			}
			for i, e := range got {
				if e.Weight != tt.want[i] {
					t.Errorf("endpoint %d: got weight %d, want %d", i, e.Weight, tt.want[i])
				}
			}
		})
	}
	set := []spi.Endpoint{{Address: "a", Weight: 1, Labels: map[string]string{"x": "1"}}}
	for _, other := range []spi.Endpoint{{Address: "b", Weight: 1, Labels: set[0].Labels}, {Address: "a", Weight: 2, Labels: set[0].Labels}, {Address: "a", Weight: 1}} {
		if sameEndpoint(set[0], other) {
			t.Errorf("sameEndpoint: got %+v and %+v the same", set[0], other)
		}
	}
}
