package primary_test

import (
	"context"
	"testing"

	"github.com/bhrpc/bhrpc/examples/custom/primary"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

// One line tells whether a load balancer keeps the contract.
func TestContract(t *testing.T) {
	cat := spi.NewCatalog()
	if err := primary.Register(cat); err != nil {
		t.Fatal(err)
	}
	lb, err := cat.LoadBalancers.Open(context.Background(), spi.Env{}, spi.Ref{Use: "primary", With: spi.Raw{JSON: []byte(`{"order": ["b:1", "a:1"]}`)}})
	if err != nil {
		t.Fatal(err)
	}
	spitest.LoadBalancer(t, lb)
}
