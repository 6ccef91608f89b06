package primary

import (
	"context"
	"errors"
	"slices"

	"github.com/bhrpc/bhrpc/spi"
)

// Config is what stands under `with:`.
type Config struct {
	Order []string `json:"order" doc:"addresses, the preferred one first; endpoints that are not listed come last"`
}

// Validate refuses an empty order.
func (c *Config) Validate() error {
	if len(c.Order) == 0 {
		return errors.New("order lists no address")
	}
	return nil
}

// Register adds the load balancer "primary" to a catalog.
func Register(cat *spi.Catalog) error {
	return spi.Register(cat.LoadBalancers, "primary", "Takes the first endpoint of a list that can be used.", Config{}, open)
}

func open(_ context.Context, _ spi.Env, cfg Config) (spi.LoadBalancer, error) {
	return balancer{cfg.Order}, nil
}

type balancer struct{ order []string }

// Build implements [spi.LoadBalancer]: it turns addresses into indices, once.
func (b balancer) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	var first, rest []int
	for _, address := range b.order {
		if i := slices.IndexFunc(endpoints, func(e spi.Endpoint) bool { return e.Address == address }); i >= 0 {
			first = append(first, i)
		}
	}
	for i, e := range endpoints {
		if !slices.Contains(b.order, e.Address) {
			rest = append(rest, i)
		}
	}
	return picker{append(first, rest...)}, nil
}

type picker struct{ order []int }

// Pick implements [spi.Picker].
func (p picker) Pick(info *spi.CallInfo) (int, error) {
	for _, i := range p.order {
		if info.Usable.Has(i) {
			return i, nil
		}
	}
	return p.order[0], nil // Usable is never empty, so this is not reached
}
