package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// WeightedRandomConfig configures weighted-random.
type WeightedRandomConfig struct {
	Weights map[string]int `json:"weights" doc:"weight by address, for endpoints whose own weight is not to count; 0: only while nothing else is usable"`
}

// maxWeight bounds weights, so that their sum is far from overflowing.
const maxWeight = 1_000_000

// Validate lists all weights that are not between 0 and 1,000,000.
func (c WeightedRandomConfig) Validate() error {
	var faults []error
	for _, address := range slices.Sorted(maps.Keys(c.Weights)) {
		if w := c.Weights[address]; w < 0 || w > maxWeight {
			faults = append(faults, fmt.Errorf("weights: %d for %q is not between 0 and %d", w, address, maxWeight))
		}
	}
	return errors.Join(faults...)
}

func openWeightedRandom(_ context.Context, env spi.Env, cfg WeightedRandomConfig) (spi.LoadBalancer, error) {
	return &weightedRandom{weights: cfg.Weights, log: env.Log, settled: map[string]bool{}}, nil
}

type weightedRandom struct {
	weights map[string]int
	log     logrus.FieldLogger

	mu      sync.Mutex
	settled map[string]bool // addresses in weights that were an endpoint once, or were complained about
}

func (b *weightedRandom) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	weights := make([]int, len(endpoints))
	sum := 0
	for i, e := range endpoints {
		w, given := b.weights[e.Address]
		if !given {
			w = min(max(e.Weight, 1), maxWeight)
		}
		weights[i] = w
		sum += w
	}
	if sum == 0 { // nothing but endpoints of weight 0: there is no choice
		for i := range weights {
			weights[i] = 1
		}
	}
	b.complain(endpoints)
	return spi.NewWeightedPicker(weights)
}

// complain logs each address in the configuration that is no endpoint, once.
func (b *weightedRandom) complain(endpoints []spi.Endpoint) {
	if len(b.weights) == 0 {
		return
	}
	b.mu.Lock()
	for _, e := range endpoints {
		b.settled[e.Address] = true
	}
	var unknown []string
	for address := range b.weights {
		if !b.settled[address] {
			b.settled[address] = true
			unknown = append(unknown, address)
		}
	}
	b.mu.Unlock()
	slices.Sort(unknown)
	for _, address := range unknown {
		b.log.WithField("address", address).Warn("weights name an address that is no endpoint now; addresses are compared as text, port included")
	}
}
