package loadbalancer

import (
	"errors"

	"github.com/bhrpc/bhrpc/spi"
)

// none is the configuration of an extension that takes none.
type none struct{}

// Register adds the built-in load balancers to the catalog. Their aliases are the
// Java framework's keys for what they do. The errors are those of [spi.Register].
func Register(cat *spi.Catalog) error {
	p := cat.LoadBalancers
	return errors.Join(
		spi.Register(p, "random", "Picks any usable endpoint, whatever its weight.", none{}, openRandom),
		spi.Register(p, "round-robin", "Picks the usable endpoints one after the other, whatever their weight, from a random one on.", none{}, openRoundRobin),
		p.Alias("round-robin", "robin"),
		spi.Register(p, "weighted-random", "Picks an endpoint at random, in proportion to its weight.", WeightedRandomConfig{}, openWeightedRandom),
		p.Alias("weighted-random", "randomweight", "enhanced_randomweight"),
		spi.Register(p, "p2c", "Picks the better of two random endpoints, by latency, calls in flight and weight. One that has not answered yet is preferred, so that it is tried.", none{}, openP2C),
	)
}
