package loadbalancer

import (
	"context"
	"math/rand/v2"
	"sync/atomic"

	"github.com/bhrpc/bhrpc/spi"
)

func openRoundRobin(context.Context, spi.Env, none) (spi.LoadBalancer, error) {
	return roundRobin{}, nil
}

type roundRobin struct{}

func (roundRobin) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	n := uint64(len(endpoints))
	p := &roundRobinPicker{n: n}
	// Consumers that start together must not all begin with the first endpoint.
	p.last.Store(rand.Uint64N(n))
	return p, nil
}

type roundRobinPicker struct {
	n    uint64
	last atomic.Uint64 // modulo n it is the index picked last
}

func (p *roundRobinPicker) Pick(info *spi.CallInfo) (int, error) {
	i := int(p.last.Add(1) % p.n)
	if info.Usable.Has(i) {
		return i, nil
	}
	// Move on to the next usable one, past those that are not. Taking it without
	// moving would give it the turns of all endpoints before it that are not usable.
	for {
		last := p.last.Load()
		from := int((last + 1) % p.n)
		next := info.Usable.Next(from, int(p.n))
		passed := uint64(next-from+int(p.n)) % p.n
		if p.last.CompareAndSwap(last, last+1+passed) {
			return next, nil
		}
	}
}
