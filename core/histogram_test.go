package core

import (
	"slices"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	const µs, ms = time.Microsecond, time.Millisecond
	for _, tt := range []struct {
		name                   string
		all                    []time.Duration
		p0, p50, p90, p1, mean time.Duration
	}{
		{"nothing", nil, 0, 0, 0, 0, 0},
		{"none at all", []time.Duration{0}, 50 * µs, 50 * µs, 50 * µs, 50 * µs, 0},
		{"a bound itself", []time.Duration{100 * µs}, 100 * µs, 100 * µs, 100 * µs, 100 * µs, 100 * µs},
		{"beyond a bound", []time.Duration{100*µs + 1}, 200 * µs, 200 * µs, 200 * µs, 200 * µs, 100*µs + 1},
		{"one of four is slow", []time.Duration{ms, ms, ms, 5 * ms}, 1600 * µs, 1600 * µs, 6400 * µs, 6400 * µs, 2 * ms},
		{"beyond all", []time.Duration{time.Hour}, 50 * µs << 19, 50 * µs << 19, 50 * µs << 19, 50 * µs << 19, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h histogram
			for _, d := range tt.all {
				h.add(d)
			}
			got := h.read()
			if got.Count != uint64(len(tt.all)) || len(got.Counts) != len(got.Bounds)+1 || !slices.IsSorted(got.Bounds) {
				t.Errorf("got %+v, want %d counted, and a count more than bounds", got, len(tt.all))
			}
			for q, want := range map[float64]time.Duration{0: tt.p0, 0.5: tt.p50, 0.9: tt.p90, 1: tt.p1} {
				if got := got.Quantile(q); got != want {
					t.Errorf("quantile %v of %v: got %v, want %v", q, tt.all, got, want)
				}
			}
			if got := got.Mean(); got != tt.mean {
				t.Errorf("mean of %v: got %v, want %v", tt.all, got, tt.mean)
			}
		})
	}
}

func TestHistogramOfNobody(t *testing.T) {
	if h := (Histogram{}); h.Quantile(0.5) != 0 || h.Mean() != 0 {
		t.Error("got something of the zero Histogram, want nothing")
	}
}
