package plugins

import (
	"context"
	"errors"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// TestRegisterAllOrNothing: a name that is taken leaves nothing of the plugin in the
// catalog, and what had the name before in place.
func TestRegisterAllOrNothing(t *testing.T) {
	p := &Plugin{cfg: spi.PluginConfig{Name: "acme"}, log: unheard(), extensions: []spi.Info{
		{Kind: "loadbalancer", Name: "first", Source: "plugin acme"},
		{Kind: "heartbeat", Name: "second", Source: "plugin acme"},
		{Kind: "loadbalancer", Name: "taken", Source: "plugin acme"},
	}}
	cat := spi.NewCatalog()
	err := spi.Register(cat.LoadBalancers, "taken", "Was here before.", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.LoadBalancer, error) {
		return nil, errors.New("not opened here")
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Register(cat); !errors.Is(err, spi.ErrDuplicate) {
		t.Errorf("Register: got %v, want %v", err, spi.ErrDuplicate)
	}
	if all := cat.List(); len(all) != 1 || all[0].Name != "taken" || all[0].Source == "plugin acme" {
		t.Errorf("got %+v in the catalog, want only what was there before", all)
	}
}
