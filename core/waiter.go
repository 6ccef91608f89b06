package core

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

const (
	slotBits = 20 // of an id; the rest is the sequence
	slotMask = 1<<slotBits - 1

	chunkBits = 10 // of a slot; the rest is the chunk

	// keptSlots have a waiter kept ready after their call; those beyond are left to
	// the garbage collector, so that a burst is not remembered for ever.
	keptSlots = 1024
)

var errNoSlot = errors.New("a million calls wait for answers on this connection")

// waiter is a call waiting for its answer. Its id is its ticket: whoever swaps it
// to zero decides the call and sends on done, or, if it is the caller itself,
// leaves.
type waiter struct {
	id   atomic.Uint64
	slot uint32
	done chan struct{} // capacity 1; one value per call that the caller did not decide

	position uint64 // where the frame begins in the stream of data

	// Set by whoever decided, before done.
	answer frame // payload in owned
	err    error // the connection ended, or an *spi.Error: the answer was refused

	timer *time.Timer // the caller's; nil until needed
}

type slotChunk [1 << chunkBits]atomic.Pointer[waiter]

// waiters is the slot table of one connection.
type waiters struct {
	mu   sync.Mutex
	free [2][]uint32 // slots to use again: those kept, and those beyond
	next uint32      // slots from here on were never used

	chunks [1 << (slotBits - chunkBits)]atomic.Pointer[slotChunk]
}

// take returns a waiter with a slot of its own. Error: errNoSlot.
func (t *waiters) take() (*waiter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := t.next
	if low, high := t.free[0], t.free[1]; len(low) > 0 {
		slot = low[len(low)-1]
		t.free[0] = low[:len(low)-1]
	} else if len(high) > 0 {
		slot = high[len(high)-1]
		t.free[1] = high[:len(high)-1]
	} else if slot > slotMask {
		return nil, errNoSlot
	} else {
		t.next++
	}
	chunk := t.chunks[slot>>chunkBits].Load()
	if chunk == nil {
		chunk = new(slotChunk)
		t.chunks[slot>>chunkBits].Store(chunk)
	}
	entry := &chunk[slot&(1<<chunkBits-1)]
	w := entry.Load()
	if w == nil {
		w = &waiter{slot: slot, done: make(chan struct{}, 1)}
		entry.Store(w)
	}
	return w, nil
}

// put gives back a waiter whose call is decided and whose done is empty.
func (t *waiters) put(w *waiter) {
	w.answer, w.err = frame{}, nil
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.slot < keptSlots {
		t.free[0] = append(t.free[0], w.slot)
		return
	}
	t.entry(w.slot).Store(nil)
	t.free[1] = append(t.free[1], w.slot)
}

func (t *waiters) entry(slot uint32) *atomic.Pointer[waiter] {
	chunk := t.chunks[slot>>chunkBits].Load()
	if chunk == nil {
		return nil
	}
	return &chunk[slot&(1<<chunkBits-1)]
}

// decide returns the waiter of a call if nobody has decided it yet. The caller
// then fills in the outcome and sends on done.
func (t *waiters) decide(id uint64) *waiter {
	entry := t.entry(uint32(id & slotMask))
	if entry == nil || id == 0 {
		return nil
	}
	w := entry.Load()
	if w == nil || !w.id.CompareAndSwap(id, 0) {
		return nil
	}
	return w
}

// waits reports whether a call waits for its answer.
func (t *waiters) waits(id uint64) bool {
	entry := t.entry(uint32(id & slotMask))
	if entry == nil || id == 0 {
		return false
	}
	w := entry.Load()
	return w != nil && w.id.Load() == id
}

// refuse decides a call by an answer that this side does not take. Nobody waits for
// a late one.
func (t *waiters) refuse(id uint64, err *spi.Error) bool {
	w := t.decide(id)
	if w == nil {
		return false
	}
	w.err = err
	w.done <- struct{}{}
	return true
}

// fail decides every waiting call with err and returns how many there were, by what
// sent says of their positions.
func (t *waiters) fail(err error, sent func(position uint64) spi.Sent) map[spi.Sent]int {
	var failed map[spi.Sent]int
	for i := range t.chunks {
		chunk := t.chunks[i].Load()
		if chunk == nil {
			continue
		}
		for j := range chunk {
			w := chunk[j].Load()
			if w == nil {
				continue
			}
			if id := w.id.Load(); id != 0 && w.id.CompareAndSwap(id, 0) {
				if failed == nil {
					failed = make(map[spi.Sent]int)
				}
				failed[sent(w.position)]++
				w.err = err
				w.done <- struct{}{}
			}
		}
	}
	return failed
}

// answered hands a frame to its waiter. Nobody waits for a late one.
func (t *waiters) answered(f frame) bool {
	w := t.decide(f.ID)
	if w == nil {
		f.owned.release()
		return false
	}
	kept := f.keep()
	f.owned, f.payload = kept, kept.b
	w.answer = f
	w.done <- struct{}{}
	return true
}
