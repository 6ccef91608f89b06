package spitest

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Registry tests that reg keeps the contract of [spi.Registry], under services that
// nobody else has. A registry that takes no announcements, as one that is kept by
// hand, may say so by an error. reg stays the caller's to close.
func Registry(t *testing.T, reg spi.Registry) {
	t.Helper()
	run(t, registryRules, reg)
}

var registryRules = []rule[spi.Registry]{
	{"watch-first", "Watch calls update as soon as it knows, with an empty set for a service that nobody provides.", checkWatchFirst},
	{"watch-ends", "Watch returns nil when its context ends, and calls update no more.", checkWatchEnds},
	{"announce-found", "What is announced is found, with its address, weight and labels, once up(nil) was called.", checkAnnounceFound},
	{"announce-ends", "Announce returns nil when its context ends, and the registration is gone.", checkAnnounceEnds},
	{"full-set", "Every update has the full set of the service, and nothing of another.", checkFullSet},
	{"set-is-callees", "The set belongs to the callee: what it does to one is not seen in the next.", checkSetIsCallees},
	{"updates-in-turn", "Calls to update do not overlap.", checkUpdatesInTurn},
}

// patience is how long a check waits for what must happen.
const patience = 10 * time.Second

// inTime calls f and reports that it does not return. f then goes on.
func (r *report) inTime(what string, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.guard(f)
	}()
	select {
	case <-done:
		return true
	case <-time.After(patience):
		r.faultf("%s: got no end within %v, want one", what, patience)
		return false
	}
}

// registration returns one under a service of its own.
func registration(number int) spi.Registration {
	return spi.Registration{Service: "spitest." + rand.Text(), Address: fmt.Sprintf("10.0.0.%d:7070", number), Instance: fmt.Sprintf("00000000-0000-4000-8000-%012d", number),
		Weight: number, Labels: map[string]string{"zone": fmt.Sprint("z", number)}}
}

// announcement is a registration that is kept in place.
type announcement struct {
	r     *report
	reg   spi.Registration
	stop  context.CancelFunc
	up    chan error // what up was told, the latest ones dropped
	ended chan error // the result of Announce, once
}

// announce reports what keeps reg from being in place. A registry that takes none
// is noted: ok is false then, too.
func announce(r *report, registry spi.Registry, reg spi.Registration) (a *announcement, ok bool) {
	ctx, stop := context.WithCancel(context.Background())
	a = &announcement{r, reg, stop, make(chan error, 100), make(chan error, 1)}
	go r.guard(func() {
		a.ended <- registry.Announce(ctx, reg, func(err error) {
			select {
			case a.up <- err:
			default:
			}
		})
	})
	late := time.After(patience)
	for {
		select {
		case err := <-a.up:
			if err == nil {
				return a, true
			}
		case err := <-a.ended:
			stop()
			if err == nil {
				r.faultf("Announce: returned nil before its context ended")
			} else {
				r.notef("it takes no announcements: %v", err)
			}
			return nil, false
		case <-late:
			stop()
			r.faultf("Announce: up(nil) was not called within %v", patience)
			return nil, false
		}
	}
}

// end ends the announcement and waits for it.
func (a *announcement) end() {
	a.stop()
	a.r.inTime("Announce after its context ended", func() {
		if err := <-a.ended; err != nil {
			a.r.faultf("Announce after its context ended: got error %v, want none", err)
		}
	})
}

// observation is a Watch under way.
type observation struct {
	r       *report
	stop    context.CancelFunc
	ended   chan struct{}
	sets    chan []spi.Endpoint
	updates atomic.Int64 // calls to update
	within  atomic.Int64 // of them, those under way
}

// observe watches a service.
func observe(r *report, registry spi.Registry, service string) *observation {
	ctx, stop := context.WithCancel(context.Background())
	o := &observation{r: r, stop: stop, ended: make(chan struct{}), sets: make(chan []spi.Endpoint, 1000)}
	go func() {
		defer close(o.ended)
		r.guard(func() {
			if err := registry.Watch(ctx, service, o.update); err != nil {
				r.faultf("Watch: got error %v, want none", err)
			} else if ctx.Err() == nil {
				r.faultf("Watch: returned before its context ended")
			}
		})
	}()
	return o
}

func (o *observation) update(set []spi.Endpoint) {
	if o.within.Add(1) > 1 {
		o.r.faultf("update: called while another call was under way")
	}
	defer o.within.Add(-1)
	o.updates.Add(1)
	time.Sleep(time.Millisecond) // within which a call that overlaps is seen
	select {
	case o.sets <- slices.Clone(set):
	default: // more than any check looks at
	}
	for i := range set { // the set is ours
		set[i] = spi.Endpoint{Address: "overwritten"}
	}
}

// until waits for the set of exactly these registrations.
func (o *observation) until(what string, want ...spi.Registration) bool {
	late := time.After(patience)
	var last []spi.Endpoint
	for {
		select {
		case last = <-o.sets:
			if holds(last, want) {
				return true
			}
		case <-o.ended:
			o.r.faultf("%s: Watch ended, the last set was %.300v", what, last)
			return false
		case <-late:
			o.r.faultf("%s: got %.300v after %v, want %.300v", what, last, patience, want)
			return false
		}
	}
}

// holds reports whether a set is that of these registrations, in any order.
func holds(set []spi.Endpoint, want []spi.Registration) bool {
	return len(set) == len(want) && !slices.ContainsFunc(want, func(reg spi.Registration) bool {
		return !slices.ContainsFunc(set, func(e spi.Endpoint) bool {
			return e.Address == reg.Address && max(e.Weight, 1) == max(reg.Weight, 1) && maps.Equal(e.Labels, reg.Labels)
		})
	})
}

// end ends the watch and waits for it.
func (o *observation) end() {
	o.stop()
	o.r.inTime("Watch after its context ended", func() { <-o.ended })
}

func checkWatchFirst(r *report, registry spi.Registry) {
	o := observe(r, registry, registration(1).Service)
	o.until("the first set of a service that nobody provides")
	o.end()
}

func checkWatchEnds(r *report, registry spi.Registry) {
	reg := registration(1)
	o := observe(r, registry, reg.Service)
	o.until("the first set")
	o.end()
	before := o.updates.Load()
	if a, ok := announce(r, registry, reg); ok {
		a.end()
	}
	if n := o.updates.Load() - before; n > 0 {
		r.faultf("update: got %d calls after Watch returned, want none", n)
	}
}

func checkAnnounceFound(r *report, registry spi.Registry) {
	for _, reg := range []spi.Registration{registration(1), registration(7), {Service: registration(0).Service, Address: "[::1]:7070"}} {
		a, ok := announce(r, registry, reg)
		if !ok {
			return
		}
		o := observe(r, registry, reg.Service)
		o.until("what was announced", reg)
		o.end()
		a.end()
	}
}

func checkAnnounceEnds(r *report, registry spi.Registry) {
	reg := registration(1)
	o := observe(r, registry, reg.Service)
	defer o.end()
	for range 3 {
		a, ok := announce(r, registry, reg)
		if !ok {
			return
		}
		there := o.until("what was announced", reg)
		a.end()
		if !there || !o.until("after the announcement ended") {
			return
		}
	}
}

func checkFullSet(r *report, registry spi.Registry) {
	first, second, other := registration(1), registration(2), registration(3)
	second.Service = first.Service
	o := observe(r, registry, first.Service)
	defer o.end()
	var held []*announcement
	defer func() {
		for _, a := range held {
			a.end()
		}
	}()
	for _, reg := range []spi.Registration{first, other, second} {
		a, ok := announce(r, registry, reg)
		if !ok {
			return
		}
		held = append(held, a)
	}
	if o.until("two of one service and one of another", first, second) {
		held[0].end()
		held = held[1:]
		o.until("after one of two ended", second)
	}
}

func checkSetIsCallees(r *report, registry spi.Registry) {
	reg := registration(1)
	a, ok := announce(r, registry, reg)
	if !ok {
		return
	}
	defer a.end()
	for range 2 { // update overwrites what it is given
		o := observe(r, registry, reg.Service)
		o.until("a set after the one before was overwritten", reg)
		o.end()
	}
}

func checkUpdatesInTurn(r *report, registry spi.Registry) {
	service := registration(1).Service
	o := observe(r, registry, service)
	defer o.end()
	r.concurrently(8, func(g int) {
		reg := registration(1 + g)
		reg.Service = service
		for range 3 {
			if a, ok := announce(r, registry, reg); ok {
				a.end()
			}
		}
	})
	o.until("after all announcements ended")
}
