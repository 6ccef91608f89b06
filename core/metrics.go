package core

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Metrics is what a Consumer or Provider has counted since it was made, and the
// states of its connections now: plain data, and the caller's own.
type Metrics struct {
	Role spi.Role // of this side

	RTT         Histogram      // from PING to PONG
	Pings       uint64         // queued
	PingDelay   Histogram      // from queueing a PING to the kernel having taken it
	Strikes     map[int]uint64 // by how many in a row; a peer that dies counts once under each
	Recovered   uint64         // signs of life after strikes
	LocalPauses uint64         // heartbeats not counted, because this side was late

	Conns        map[ConnState]int   // now; endpoints without a connection included
	Connected    uint64              // connections whose HELLOs were exchanged
	Disconnected map[string]uint64   // of those, that ended, by reason
	Superseded   uint64              // of those, at a provider
	Failed       map[spi.Sent]uint64 // calls that failed with their connection, at a consumer
	Cancelled    uint64              // requests that were cancelled with it, at a provider
	Late         uint64              // answers that nobody waited for any more, at a consumer
	WriteStall   Histogram           // how long writes waited for the kernel to take bytes, where that was 1 ms or longer

	Reconnected       uint64    // connections after the first of an endpoint
	ReconnectAttempts uint64    // that were begun or wait
	ReconnectDelay    Histogram // how long they waited, or will
	Down              Histogram // how long endpoints had no connection

	EventsLost uint64 // events that observers were too slow for; they are counted above all the same
}

// counts is Metrics that are written.
type counts struct {
	rtt, delay, down histogram
	writes           writeFigures
	pings, late      atomic.Uint64

	mu sync.Mutex
	m  Metrics // what events say, but for the histograms
}

// note counts an event: one of those that an [Observer] takes. It does not wait for
// observers, so slow ones lose nothing here.
func (c *counts) note(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch event := event.(type) {
	case Connected:
		c.m.Connected++
	case Strike:
		addTo(&c.m.Strikes, event.N, 1)
	case Recovered:
		c.m.Recovered++
	case LocalPause:
		c.m.LocalPauses++
	case Disconnected:
		addTo(&c.m.Disconnected, event.Reason, 1)
		for sent, n := range event.Failed {
			addTo(&c.m.Failed, sent, uint64(n))
		}
		c.m.Cancelled += uint64(event.Cancelled)
	case ReconnectAttempt:
		c.delay.add(event.Delay)
		c.m.ReconnectAttempts++
	case Reconnected:
		c.down.add(event.Down)
		c.m.Reconnected++
	case Superseded:
		c.m.Superseded++
	}
}

// addTo adds to a map that may be nil.
func addTo[K comparable](m *map[K]uint64, key K, n uint64) {
	if *m == nil {
		*m = make(map[K]uint64)
	}
	(*m)[key] += n
}

// metrics reads everything; conns are those that there are.
func (p *pulse) metrics(conns []ConnInfo) Metrics {
	c := &p.counts
	c.mu.Lock()
	m := c.m
	m.Strikes, m.Disconnected, m.Failed = maps.Clone(m.Strikes), maps.Clone(m.Disconnected), maps.Clone(m.Failed)
	c.mu.Unlock()
	m.Role, m.RTT, m.Pings, m.Late = p.role, c.rtt.read(), c.pings.Load(), c.late.Load()
	m.PingDelay, m.WriteStall = c.writes.ping.read(), c.writes.stall.read()
	m.ReconnectDelay, m.Down = c.delay.read(), c.down.read()
	m.Conns = make(map[ConnState]int)
	for _, i := range conns {
		m.Conns[i.State]++
	}
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	m.EventsLost = p.events.lost
	return m
}

// Metrics returns what the Consumer has counted. It looks at every connection, as
// [Consumer.Conns] does: ask every few seconds, not in a loop.
func (c *Consumer) Metrics() Metrics { return c.pulse.metrics(c.Conns()) }

// Metrics returns what the Provider has counted. It looks at every connection, as
// [Provider.Conns] does: ask every few seconds, not in a loop.
func (p *Provider) Metrics() Metrics { return p.pulse.metrics(p.Conns()) }

// writeFigures measures the writes of all connections of one side.
type writeFigures struct {
	ping, stall histogram
}

// shortestStall divides writes that waited for the kernel from those that were only
// written in a goroutine of their own.
const shortestStall = time.Millisecond

// pinged notes how long a PING took from the queue to the kernel.
func (f *writeFigures) pinged(d time.Duration) {
	if f != nil {
		f.ping.add(d)
	}
}

// waited notes how long a write took, which may have waited for the kernel.
func (f *writeFigures) waited(d time.Duration) {
	if f != nil && d >= shortestStall {
		f.stall.add(d)
	}
}

// pingTimes is when the PINGs of an outbox were queued: the one that waits, and the
// one that is being written. Guarded by its mu.
type pingTimes struct {
	queued, writing time.Time
}
