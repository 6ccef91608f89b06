package core

import (
	"context"
	"testing"
	"time"
)

// SlotsInUse returns how many calls hold a slot on the connections that are up.
func (c *Consumer) SlotsInUse() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, e := range c.endpoints {
		e.mu.Lock()
		if e.conn != nil {
			n += e.conn.calls.inUse()
		}
		e.mu.Unlock()
	}
	return n
}

// Requests returns how many requests are queued or running.
func (p *Provider) Requests() int { return int(p.admitted.Load()) }

// ConnCount returns how many connections are not cleaned up.
func (p *Provider) ConnCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// TokensKnown returns of how many connections the names are known.
func (p *Provider) TokensKnown() int {
	p.names.mu.Lock()
	defer p.names.mu.Unlock()
	return len(p.names.conns)
}

// KeptWorkers is how many goroutines a Provider keeps for requests to come.
const KeptWorkers = keptWorkers

// inUse returns the number of slots that are taken.
func (t *waiters) inUse() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int(t.next) - len(t.free[0]) - len(t.free[1])
}

// RetryWait is how long a call waits before retry k, counted from 1.
func RetryWait(b RetryBackoff, k int) time.Duration { return b.wait(k) }

// roundTrip makes a call on a connection and leaves the answer in s.
func (c *consumerConn) roundTrip(ctx context.Context, s *callState) error {
	if err := c.start(ctx, s); err != nil {
		return err
	}
	defer c.finish(1)
	return c.await(ctx, s)
}

// TraceBuffers begins to watch every buffer; settle fails the test for one that was
// not given back.
func TraceBuffers(t testing.TB) (settle func()) { return openLedger(t).settle }

// InFlight returns how many calls the load of the endpoints still counts.
func (c *Consumer) InFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, e := range c.endpoints {
		n += e.load.InFlight()
	}
	return n
}
