package bhrpc_test

import (
	"maps"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// An App counts for its consumer and for each of its providers, as long as they run.
func TestAppMetrics(t *testing.T) {
	cfg, _ := load(t, map[string]any{"provider.listen": "127.0.0.1:0"})
	provider, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := provider.Metrics(); len(got) != 0 {
		t.Errorf("before there is anything: got %+v, want nothing", got)
	}
	p, err := provider.Provide(t.Context(), Hello{})
	if err != nil {
		t.Fatal(err)
	}
	consumer := dial(t, nil, p.Addr().String())
	if _, err := bhrpc.Call[string](t.Context(), consumer, "Hello.Say", "world"); err != nil {
		t.Fatal(err)
	}
	want := map[core.ConnState]int{core.ConnUp: 1}
	for _, tt := range []struct {
		role spi.Role
		app  *bhrpc.App
	}{{spi.RoleConsumer, consumer}, {spi.RoleProvider, provider}} {
		if got := tt.app.Metrics(); len(got) != 1 || got[0].Role != tt.role || got[0].Connected != 1 || !maps.Equal(got[0].Conns, want) {
			t.Errorf("%s: got %+v, want one connection that is up", tt.role, got)
		}
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if got := provider.Metrics(); len(got) != 0 {
		t.Errorf("stopped: got %+v, want nothing", got)
	}
	if err := provider.Close(); err != nil {
		t.Error(err)
	}
}
