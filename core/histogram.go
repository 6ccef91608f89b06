package core

import (
	"math"
	"sync/atomic"
	"time"
)

// buckets are the upper bounds of a [Histogram]: from 50 µs, doubling, to 26 s.
const (
	buckets    = 20
	bucketBase = 50 * time.Microsecond
)

// Histogram is a distribution of durations: plain data, and the caller's own.
type Histogram struct {
	Bounds []time.Duration // upper bounds of the buckets but the last, ascending
	Counts []uint64        // one more than Bounds; not cumulative
	Count  uint64          // of all
	Sum    time.Duration   // of all
}

// Mean returns the average, 0 if there is nothing.
func (h Histogram) Mean() time.Duration {
	if h.Count == 0 {
		return 0
	}
	return h.Sum / time.Duration(h.Count)
}

// Quantile returns a bound that the share q (0 to 1) of all does not exceed, exact to
// a bucket, that is a factor of two; 0 if there is nothing. What lies beyond the last
// bound counts as that.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.Count))), 1)
	var seen uint64
	for i, n := range h.Counts[:len(h.Bounds)] {
		if seen += n; seen >= rank {
			return h.Bounds[i]
		}
	}
	return h.Bounds[len(h.Bounds)-1]
}

// histogram is a Histogram that is written: without a lock, from anywhere.
type histogram struct {
	counts [buckets + 1]atomic.Uint64
	sum    atomic.Int64
}

func (h *histogram) add(d time.Duration) {
	i := 0
	for bound := bucketBase; i < buckets && d > bound; bound *= 2 {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) read() Histogram {
	out := Histogram{Sum: time.Duration(h.sum.Load())}
	for i := range h.counts {
		n := h.counts[i].Load()
		out.Counts = append(out.Counts, n)
		out.Count += n
		if i < buckets {
			out.Bounds = append(out.Bounds, bucketBase<<i)
		}
	}
	return out
}
