package loadbalancer

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

func openP2C(context.Context, spi.Env, none) (spi.LoadBalancer, error) { return p2c{}, nil }

// p2c is the power of two choices (Mitzenmacher 2001): nearly as even as always
// taking the best endpoint, without all consumers running to the same one.
type p2c struct{}

func (p2c) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	p := &p2cPicker{candidates: make([]candidate, len(endpoints))}
	for i, e := range endpoints {
		p.candidates[i] = candidate{e.Load, float64(max(e.Weight, 1))}
	}
	return p, nil
}

type p2cPicker struct{ candidates []candidate }

type candidate struct {
	load   *spi.Load
	weight float64
}

// noise is how many times higher a latency must be to count as higher. Averages of
// equal endpoints differ by some tenths; without it a single caller would send all
// calls to whichever happens to lead.
const noise = 1.5

// latency is that of an endpoint; one that has not answered yet counts as 1 µs,
// which prefers it until as many calls wait for it as others are slower.
func (c candidate) latency(now time.Duration) float64 {
	return float64(c.load.Latency(now) + time.Microsecond)
}

// Pick compares what a call is expected to wait: latency times calls in flight,
// divided by weight.
func (p *p2cPicker) Pick(info *spi.CallInfo) (int, error) {
	i, j := twoUsable(info.Usable, len(p.candidates)) // in random order: i wins a tie
	if i == j {
		return i, nil
	}
	a, b := p.candidates[i], p.candidates[j]
	latencyA, latencyB := a.latency(info.Now), b.latency(info.Now)
	if latencyA < noise*latencyB && latencyB < noise*latencyA {
		latencyA = latencyB
	}
	if latencyA*float64(a.load.InFlight()+1)*b.weight <= latencyB*float64(b.load.InFlight()+1)*a.weight {
		return i, nil
	}
	return j, nil
}

// twoUsable returns two different random indices of the set among n, each pair in
// each order with the same probability; the same index twice if there is only one.
func twoUsable(usable spi.Bitmap, n int) (int, int) {
	if n > 1 {
		for range tries {
			if i, j := two(n); usable.Has(i) && usable.Has(j) {
				return i, j
			}
		}
	}
	switch c := count(usable, n); c {
	case 0, 1:
		i := nth(usable, n, 0)
		return i, i
	default:
		i, j := two(c)
		return nth(usable, n, i), nth(usable, n, j)
	}
}

// two returns two different random numbers below n, which is at least 2.
func two(n int) (int, int) {
	r := rand.Uint64()
	i, j := below(uint32(r>>32), n), below(uint32(r), n-1)
	if j >= i {
		j++
	}
	return i, j
}
