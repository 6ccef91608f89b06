package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// endpointSet is the endpoints of one service, or of all services where the
// addresses are fixed. Calls read the snapshot; everything else happens under
// Consumer.mu.
type endpointSet struct {
	service string // service key; "" for all services

	current atomic.Pointer[snapshot]
	known   chan struct{} // closed when the first snapshot is there, or failed is set
	failed  error         // why there will never be one

	// Guarded by Consumer.mu.
	up, suspected, connecting                spi.Bitmap // indices into the snapshot's endpoints
	upCount, suspectedCount, connectingCount int
}

// listing is one list of endpoints, sorted by address, with its picker. It is
// immutable once published.
type listing struct {
	endpoints []*endpoint
	listed    []spi.Endpoint // the same, as pickers see them
	picker    spi.Picker     // nil: there are no endpoints
}

// snapshot is what a call sees: immutable, replaced as a whole.
type snapshot struct {
	*listing
	usable spi.Bitmap // see docs/connections.md §3
}

func newEndpointSet(service string) *endpointSet {
	return &endpointSet{service: service, known: make(chan struct{})}
}

// snapshot returns the current endpoints, waiting for the first if need be. Errors
// are *spi.Error.
func (s *endpointSet) snapshot(ctx context.Context, deadline time.Time) (*snapshot, error) {
	if now := s.current.Load(); now != nil {
		return now, nil
	}
	ctx, cancel := within(ctx, deadline)
	defer cancel()
	select {
	case <-s.known:
	case <-ctx.Done():
		failure := contextError(ctx.Err(), spi.PhaseResolve, spi.SentNo)
		failure.Message += " before the registry listed the endpoints of " + s.service
		return nil, failure
	}
	if now := s.current.Load(); now != nil {
		return now, nil
	}
	if errors.Is(s.failed, errClosed) {
		failure := lost(s.failed, spi.SentNo)
		failure.Phase = spi.PhaseResolve
		return nil, failure
	}
	return nil, &spi.Error{Code: spi.Unavailable, Phase: spi.PhaseResolve, Sent: spi.SentNo, Message: "the registry cannot be watched: " + s.failed.Error(), Cause: s.failed}
}

// update replaces the endpoints of a set. Endpoints that stay keep their
// connections and their load. Updates of one set do not overlap. The error is that
// of the load balancer; calls then fail with it.
func (c *Consumer) update(s *endpointSet, listed []spi.Endpoint) error {
	next := &listing{listed: normalize(listed)}
	if !c.enlist(s, next) {
		return nil
	}
	var err error
	if len(next.listed) > 0 {
		if next.picker, err = c.cfg.LoadBalancer.Build(next.listed); err != nil {
			err = fmt.Errorf("build the load balancer for %d endpoints: %w", len(next.listed), err)
			next.picker = failingPicker{err}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := s.current.Load()
	s.recount(next)
	s.publish(next)
	if old != nil { // after publish: a call whose endpoint is gone finds the others
		for _, e := range old.endpoints {
			if next.index(e.address) < 0 {
				c.delist(s, e)
			}
		}
	}
	return err
}

// enlist finds or starts the endpoints that next lists. It returns false if the
// Consumer is closed.
func (c *Consumer) enlist(s *endpointSet, next *listing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	next.endpoints = make([]*endpoint, len(next.listed))
	for i := range next.listed {
		listed := &next.listed[i]
		e := c.endpoints[listed.Address]
		if e == nil {
			e = newEndpoint(c, listed.Address)
			c.endpoints[e.address] = e
			c.running.Go(e.run)
		}
		if !slices.Contains(e.sets, s) {
			e.sets = append(e.sets, s)
		}
		next.endpoints[i], listed.Load = e, &e.load
	}
	return true
}

// delist takes an endpoint out of a set, and closes it when it was the last one.
// Consumer.mu is held.
func (c *Consumer) delist(s *endpointSet, e *endpoint) {
	e.sets = slices.DeleteFunc(e.sets, func(other *endpointSet) bool { return other == s })
	if len(e.sets) == 0 {
		delete(c.endpoints, e.address)
		e.cancel()
	}
}

// index finds an endpoint by address; -1 if it is not listed.
func (l *listing) index(address string) int {
	i, found := slices.BinarySearchFunc(l.listed, address, func(e spi.Endpoint, address string) int { return strings.Compare(e.Address, address) })
	if !found {
		return -1
	}
	return i
}

// normalize sorts endpoints by address, drops repeated ones and gives every one a
// weight, so that a set means the same however a registry orders it. It returns a
// copy.
func normalize(listed []spi.Endpoint) []spi.Endpoint {
	listed = slices.Clone(listed)
	slices.SortStableFunc(listed, func(a, b spi.Endpoint) int { return strings.Compare(a.Address, b.Address) })
	listed = slices.CompactFunc(listed, func(a, b spi.Endpoint) bool { return a.Address == b.Address })
	for i := range listed {
		listed[i].Weight = max(listed[i].Weight, 1)
	}
	return listed
}

// stateChanged makes the sets of an endpoint see its state.
func (c *Consumer) stateChanged(e *endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range e.sets {
		old := s.current.Load()
		if old == nil {
			continue // its first update is under way and will look
		}
		if i := old.index(e.address); i >= 0 && s.place(i, e.currentState()) {
			s.publish(old.listing)
		}
	}
}

func (e *endpoint) currentState() endpointState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// recount reads the state of every endpoint of a new listing.
func (s *endpointSet) recount(next *listing) {
	n := len(next.endpoints)
	s.up, s.suspected, s.connecting = spi.NewBitmap(n), spi.NewBitmap(n), spi.NewBitmap(n)
	s.upCount, s.suspectedCount, s.connectingCount = 0, 0, 0
	for i, e := range next.endpoints {
		s.place(i, e.currentState())
	}
}

// place notes the state of endpoint i and reports whether that changed anything.
func (s *endpointSet) place(i int, state endpointState) bool {
	a := toggle(s.up, &s.upCount, i, state == up)
	b := toggle(s.suspected, &s.suspectedCount, i, state == suspected)
	c := toggle(s.connecting, &s.connectingCount, i, state == connecting)
	return a || b || c
}

func toggle(b spi.Bitmap, count *int, i int, on bool) bool {
	if b.Has(i) == on {
		return false
	}
	if on {
		b.Set(i)
		*count++
	} else {
		b.Clear(i)
		*count--
	}
	return true
}

// publish makes l what calls see, with the endpoints that are up as usable, or else
// those that are suspected, or else those that are connecting, or else all.
func (s *endpointSet) publish(l *listing) {
	next := &snapshot{listing: l}
	switch {
	case s.upCount == len(l.endpoints):
	case s.upCount > 0:
		next.usable = slices.Clone(s.up)
	case s.suspectedCount > 0:
		next.usable = slices.Clone(s.suspected)
	case s.connectingCount > 0:
		next.usable = slices.Clone(s.connecting)
	}
	if s.current.Swap(next) == nil {
		close(s.known)
	}
}

// failingPicker stands in for a picker that could not be built.
type failingPicker struct{ err error }

func (p failingPicker) Pick(*spi.CallInfo) (int, error) { return 0, p.err }
