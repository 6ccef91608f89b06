package spi

import (
	"fmt"
	"math/rand/v2"
)

// WeightedPicker picks index i with a probability of weights[i] over their sum,
// in constant time, by the alias method (Walker 1977, in the form of Vose 1991).
// It is safe for concurrent use.
type WeightedPicker struct {
	columns []column
	weights []int
}

// column i is chosen uniformly; within it, i itself is taken while the lower half
// of the random number is below keep, and alias otherwise.
type column struct {
	keep  uint64 // of 1<<32
	alias uint32
}

// NewWeightedPicker returns a picker for weights, of which none is negative and at
// least one is positive. It keeps a copy.
func NewWeightedPicker(weights []int) (*WeightedPicker, error) {
	sum := 0.0
	for i, w := range weights {
		if w < 0 {
			return nil, fmt.Errorf("weight %d of endpoint %d is negative", w, i)
		}
		sum += float64(w)
	}
	if sum == 0 {
		return nil, fmt.Errorf("none of %d weights is positive", len(weights))
	}
	n := len(weights)
	p := &WeightedPicker{columns: make([]column, n), weights: append([]int(nil), weights...)}
	share := make([]float64, n) // of a column's height; 1 fills it
	var small, large []int
	for i, w := range weights {
		share[i] = float64(w) / sum * float64(n)
		if share[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		p.columns[s] = column{uint64(share[s] * (1 << 32)), uint32(l)}
		if share[l] -= 1 - share[s]; share[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) { // full, but for rounding
		p.columns[i] = column{1 << 32, uint32(i)}
	}
	return p, nil
}

// Pick implements [Picker]. Where only endpoints of weight 0 are usable it takes
// any of them.
func (p *WeightedPicker) Pick(info *CallInfo) (int, error) {
	for range 4 {
		r := rand.Uint64()
		i := int(r >> 32 * uint64(len(p.columns)) >> 32)
		if c := p.columns[i]; r&(1<<32-1) >= c.keep {
			i = int(c.alias)
		}
		if info.Usable.Has(i) {
			return i, nil
		}
	}
	return p.scan(info.Usable), nil
}

// scan picks among the usable endpoints only; it is for sets of which few are. The
// sum may be larger than an int.
func (p *WeightedPicker) scan(usable Bitmap) int {
	sum := 0.0
	for i, w := range p.weights {
		if usable.Has(i) {
			sum += float64(w)
		}
	}
	if sum == 0 {
		return usable.Next(rand.IntN(len(p.weights)), len(p.weights))
	}
	rest, last := rand.Float64()*sum, 0
	for i, w := range p.weights {
		if w > 0 && usable.Has(i) {
			if rest -= float64(w); rest < 0 {
				return i
			}
			last = i
		}
	}
	return last // by rounding nothing stopped before
}
