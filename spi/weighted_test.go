package spi_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// TestWeightedPickerShares counts many picks against the weights.
//
// The sum X of (got-want)²/want over k endpoints with picks is close to chi-squared with
// d = k-1 degrees of freedom. Laurent and Massart (2000), lemma 1: for every x > 0,
// P(X ≥ d + 2√(dx) + 2x) ≤ exp(-x). With x = 40 a sound picker fails one of these
// cases about once in 10^17 runs; want is at least 500 everywhere, where counts are
// as good as normal. A picker that is wrong by a tenth in one share of
// a half is off by 0.01·picks/2 = 500, far beyond the bound.
func TestWeightedPickerShares(t *testing.T) {
	const picks = 100_000
	half := set(6, 0, 2, 4)
	for _, tt := range []struct {
		name    string
		weights []int
		usable  spi.Bitmap
		share   []float64 // in parts of their sum
	}{
		{"one", []int{7}, nil, []float64{1}},
		{"equal", []int{1, 1, 1, 1}, nil, []float64{1, 1, 1, 1}},
		{"one to three", []int{1, 3}, nil, []float64{1, 3}},
		{"steep", []int{1, 10, 100}, nil, []float64{1, 10, 100}},
		{"many", []int{5, 1, 4, 2, 3, 9, 7, 8, 6, 10}, nil, []float64{5, 1, 4, 2, 3, 9, 7, 8, 6, 10}},
		{"with zeros", []int{0, 1, 0, 2, 0}, nil, []float64{0, 1, 0, 2, 0}},
		{"large", []int{math.MaxInt / 2, math.MaxInt, math.MaxInt / 2}, nil, []float64{1, 2, 1}},
		{"some usable", []int{1, 100, 2, 100, 3, 100}, half, []float64{1, 0, 2, 0, 3, 0}},
		{"few usable", slices.Concat(slices.Repeat([]int{100}, 62), []int{1, 3}), set(64, 62, 63), append(make([]float64, 62), 1, 3)},
		{"few usable, large", []int{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt / 2, math.MaxInt},
			set(8, 6, 7), []float64{0, 0, 0, 0, 0, 0, 1, 2}},
		{"zero usable among others", []int{0, 5, 5}, set(3, 0, 1), []float64{0, 1, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := spi.NewWeightedPicker(tt.weights)
			if err != nil {
				t.Fatal(err)
			}
			sum := 0.0
			for _, s := range tt.share {
				sum += s
			}
			counts := make([]float64, len(tt.weights))
			info := &spi.CallInfo{Usable: tt.usable}
			for range picks {
				i, err := p.Pick(info)
				if err != nil {
					t.Fatal(err)
				}
				counts[i]++
			}
			distance, degrees := 0.0, -1.0
			for i, got := range counts {
				want := tt.share[i] / sum * picks
				if want == 0 {
					if got != 0 {
						t.Errorf("endpoint %d of weight %d: got %v picks, want none", i, tt.weights[i], got)
					}
					continue
				}
				if want < 500 {
					t.Fatalf("endpoint %d: got %v expected picks, want 500 for the bound to hold", i, want)
				}
				distance += (got - want) * (got - want) / want
				degrees++
			}
			const x = 40
			if bound := degrees + 2*math.Sqrt(degrees*x) + 2*x; distance > bound {
				t.Errorf("weights %v: got counts %v, chi-squared %.1f, want at most %.1f", tt.weights, counts, distance, bound)
			}
		})
	}
}

// TestWeightedPickerZero: an endpoint of weight 0 is taken when nothing else is
// usable, and never otherwise.
func TestWeightedPickerZero(t *testing.T) {
	p, err := spi.NewWeightedPicker([]int{0, 5, 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		usable spi.Bitmap
		want   []int
	}{
		{"alone", set(4, 2), []int{2}},
		{"two of them", set(4, 0, 3), []int{0, 3}},
		{"beside a weight", set(4, 0, 1, 2), []int{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := make(map[int]bool)
			for range 500 {
				i, err := p.Pick(&spi.CallInfo{Usable: tt.usable})
				if err != nil || !slices.Contains(tt.want, i) {
					t.Fatalf("got %d, %v, want one of %v", i, err, tt.want)
				}
				seen[i] = true
			}
			if len(seen) != len(tt.want) { // a miss of one of two in 500 picks has a chance below 2^-200
				t.Errorf("got %v, want all of %v", seen, tt.want)
			}
		})
	}
}

func TestNewWeightedPickerErrors(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights []int
		want    string
	}{
		{"nothing", nil, "none of 0 weights is positive"},
		{"zeros", []int{0, 0}, "none of 2 weights is positive"},
		{"negative", []int{3, -1}, "weight -1 of endpoint 1 is negative"},
		{"negative that cancels out", []int{1, -1}, "weight -1 of endpoint 1 is negative"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p, err := spi.NewWeightedPicker(tt.weights); fmt.Sprint(err) != tt.want || p != nil {
				t.Errorf("got %v, %v, want %s", p, err, tt.want)
			}
		})
	}
}

// TestWeightedPickerKeepsACopy, and allocates nothing whichever way it goes.
func TestWeightedPickerKeepsACopy(t *testing.T) {
	weights := []int{1, 0, 0, 0, 0, 0, 0, 0}
	p, err := spi.NewWeightedPicker(weights)
	if err != nil {
		t.Fatal(err)
	}
	for i := range weights {
		weights[i] = -1
	}
	for _, tt := range []struct {
		name string
		info *spi.CallInfo
		want int
	}{{"all usable", &spi.CallInfo{}, 0}, {"few usable", &spi.CallInfo{Usable: set(8, 0)}, 0}, {"none of weight", &spi.CallInfo{Usable: set(8, 5)}, 5}} {
		t.Run(tt.name, func(t *testing.T) {
			if i, err := p.Pick(tt.info); i != tt.want || err != nil {
				t.Errorf("got %d, %v, want %d", i, err, tt.want)
			}
			if allocs := testing.AllocsPerRun(200, func() { _, _ = p.Pick(tt.info) }); allocs != 0 {
				t.Errorf("got %v allocations, want 0", allocs)
			}
		})
	}
}

// FuzzWeightedPicker: whatever the weights, a pick is usable, and of weight 0 only if
// all usable ones are.
func FuzzWeightedPicker(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint64(7), false)
	f.Add([]byte{0, 0, 200, 0}, uint64(3), true)
	f.Add([]byte{255, 255, 255}, uint64(4), true)
	f.Fuzz(func(t *testing.T, data []byte, mask uint64, steep bool) {
		data = data[:min(len(data), 64)]
		weights := make([]int, len(data))
		usable, positive := spi.NewBitmap(len(data)), false
		held := false
		for i, d := range data {
			weights[i] = int(d)
			if steep {
				weights[i] = int(d) << (d % 56) // up to 2^63
			}
			weights[i] &= math.MaxInt
			if mask>>i&1 != 0 {
				usable.Set(i)
				held = true
				positive = positive || weights[i] > 0
			}
		}
		p, err := spi.NewWeightedPicker(weights)
		if (err == nil) != slices.ContainsFunc(weights, func(w int) bool { return w > 0 }) {
			t.Fatalf("weights %v: got %v", weights, err)
		}
		if err != nil || !held {
			return
		}
		for range 50 {
			i, err := p.Pick(&spi.CallInfo{Usable: usable})
			if err != nil || i < 0 || i >= len(weights) || !usable.Has(i) || positive && weights[i] == 0 {
				t.Fatalf("weights %v, usable %b: got %d, %v", weights, usable, i, err)
			}
			if i, err := p.Pick(&spi.CallInfo{}); err != nil || weights[i] == 0 {
				t.Fatalf("weights %v, all usable: got %d, %v", weights, i, err)
			}
		}
	})
}
