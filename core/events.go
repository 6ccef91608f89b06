package core

import (
	"sync"
)

// waitingEvents bounds the events that observers have not been told yet, but for the
// ends of connections.
const waitingEvents = 4096

// eventQueue tells the observers of a Consumer or Provider what happens, in order, in a
// goroutine of its own that lives as long as there is something to tell. So whoever
// reports may hold a lock, and never waits for a logger. The zero eventQueue tells
// nobody.
type eventQueue struct {
	observers []*Observer

	mu      sync.Mutex
	waiting []any
	telling bool
	lost    uint64 // events that were dropped
	running sync.WaitGroup
}

// report queues an event: one of those that an [Observer] takes. It returns false if
// too many wait; then nobody will be told.
func (e *eventQueue) report(event any) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.waiting) >= waitingEvents {
		e.lost++
		return false
	}
	e.add(event)
	return true
}

// conclude queues the end of something whose beginning was queued, however many wait:
// who counts connections must not be left with those that are gone.
func (e *eventQueue) conclude(event any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.add(event)
}

// skip counts an event that is not queued, since its beginning was dropped.
func (e *eventQueue) skip() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost++
}

// add queues an event. mu is held.
func (e *eventQueue) add(event any) {
	e.waiting = append(e.waiting, event)
	if !e.telling {
		e.telling = true
		e.running.Go(e.tell)
	}
}

// tell tells what waits until nothing does.
func (e *eventQueue) tell() {
	var batch []any
	for {
		e.mu.Lock()
		clear(batch)
		batch, e.waiting = e.waiting, batch[:0]
		if len(batch) == 0 {
			e.telling = false
			e.mu.Unlock()
			return
		}
		e.mu.Unlock()
		for _, event := range batch {
			for _, o := range e.observers {
				o.observe(event)
			}
		}
	}
}

// drained waits until everything that was reported is told. Nothing is reported any
// more.
func (e *eventQueue) drained() { e.running.Wait() }

// observe calls the func for an event.
func (o *Observer) observe(event any) {
	switch event := event.(type) {
	case Connected:
		call(o.Connected, event)
	case Strike:
		call(o.Strike, event)
	case Recovered:
		call(o.Recovered, event)
	case LocalPause:
		call(o.LocalPause, event)
	case Disconnected:
		call(o.Disconnected, event)
	case ReconnectAttempt:
		call(o.ReconnectAttempt, event)
	case Reconnected:
		call(o.Reconnected, event)
	case Superseded:
		call(o.Superseded, event)
	}
}

func call[T any](f func(T), event T) {
	if f != nil {
		f(event)
	}
}
