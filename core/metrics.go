package core

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// buckets are the upper bounds of a [Histogram]: from 50 µs, doubling, to 26 s.
const buckets = 20

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

// Quantile returns an upper bound of the smallest q (0 to 1) of all, exact to a
// bucket, that is a factor of two; 0 if there is nothing. What lies beyond the last
// bound counts as that.
func (h Histogram) Quantile(q float64) time.Duration {
	rest := int64(q * float64(h.Count))
	for i, n := range h.Counts {
		if rest -= int64(n); rest <= 0 && n > 0 {
			return h.Bounds[min(i, len(h.Bounds)-1)]
		}
	}
	return 0
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

const bucketBase = 50 * time.Microsecond

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

// Metrics is what a Consumer or Provider has counted since it was made: plain data,
// and the caller's own.
type Metrics struct {
	Role spi.Role // of this side

	RTT         Histogram      // from PING to PONG
	Pings       uint64         // sent
	Strikes     map[int]uint64 // by how many in a row; a peer that dies counts once under each
	Recovered   uint64         // signs of life after strikes
	LocalPauses uint64         // heartbeats not counted, because this side was late

	Connected    uint64              // connections whose HELLOs were exchanged
	Disconnected map[string]uint64   // connections that ended, by reason
	Superseded   uint64              // of those, at a provider
	Failed       map[spi.Sent]uint64 // calls that failed with their connection, at a consumer
	Cancelled    uint64              // requests that were cancelled with it, at a provider

	Reconnected       uint64    // connections after the first of an endpoint
	ReconnectAttempts uint64    // that were begun or wait
	ReconnectDelay    Histogram // how long they waited
	Down              Histogram // how long endpoints had no connection

	EventsLost uint64 // events that observers were too slow for
}

// counts is Metrics that are written: from anywhere, what events say by an observer
// that is told before they are queued.
type counts struct {
	rtt, delay, down histogram
	pings            atomic.Uint64

	mu sync.Mutex
	m  Metrics
}

func (c *counts) observer() *Observer {
	locked := func(f func(m *Metrics)) {
		c.mu.Lock()
		defer c.mu.Unlock()
		f(&c.m)
	}
	return &Observer{
		Connected:  func(Connected) { locked(func(m *Metrics) { m.Connected++ }) },
		Strike:     func(s Strike) { locked(func(m *Metrics) { count1(&m.Strikes, s.N, 1) }) },
		Recovered:  func(Recovered) { locked(func(m *Metrics) { m.Recovered++ }) },
		LocalPause: func(LocalPause) { locked(func(m *Metrics) { m.LocalPauses++ }) },
		Disconnected: func(d Disconnected) {
			locked(func(m *Metrics) {
				count1(&m.Disconnected, d.Reason, 1)
				for sent, n := range d.Failed {
					count1(&m.Failed, sent, uint64(n))
				}
				m.Cancelled += uint64(d.Cancelled)
			})
		},
		ReconnectAttempt: func(a ReconnectAttempt) {
			c.delay.add(a.Delay)
			locked(func(m *Metrics) { m.ReconnectAttempts++ })
		},
		Reconnected: func(r Reconnected) {
			c.down.add(r.Down)
			locked(func(m *Metrics) { m.Reconnected++ })
		},
		Superseded: func(Superseded) { locked(func(m *Metrics) { m.Superseded++ }) },
	}
}

// count1 adds to a map that may be nil.
func count1[K comparable](m *map[K]uint64, key K, n uint64) {
	if *m == nil {
		*m = make(map[K]uint64)
	}
	(*m)[key] += n
}

// metrics reads everything.
func (p *pulse) metrics() Metrics {
	c := &p.counts
	c.mu.Lock()
	m := c.m
	m.Strikes, m.Disconnected, m.Failed = maps.Clone(m.Strikes), maps.Clone(m.Disconnected), maps.Clone(m.Failed)
	c.mu.Unlock()
	m.Role, m.RTT, m.Pings, m.ReconnectDelay, m.Down = p.role, c.rtt.read(), c.pings.Load(), c.delay.read(), c.down.read()
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	m.EventsLost = p.events.lost
	return m
}

// Metrics returns what the Consumer has counted.
func (c *Consumer) Metrics() Metrics { return c.pulse.metrics() }

// Metrics returns what the Provider has counted.
func (p *Provider) Metrics() Metrics { return p.pulse.metrics() }
