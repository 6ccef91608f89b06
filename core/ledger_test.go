package core

import (
	"bytes"
	"sync"
	"testing"
)

// ledger notes every buffer that is taken and given back, and spoils those given
// back, so that whoever still reads one reads nonsense.
type ledger struct {
	t   testing.TB
	mu  sync.Mutex
	out map[*buffer]bool
}

// spoil is what a buffer begins with that nobody has.
var spoil = bytes.Repeat([]byte{0xDB}, 1<<10)

// openLedger begins to note; settle ends it.
func openLedger(t testing.TB) *ledger {
	l := &ledger{t: t, out: make(map[*buffer]bool)}
	traceBuffer = l.note
	return l
}

func (l *ledger) note(b *buffer, taken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case taken && l.out[b]:
		l.t.Error("a buffer was taken that somebody has")
	case taken:
		l.out[b] = true
	case !l.out[b]:
		l.t.Error("a buffer was given back twice")
	default:
		delete(l.out, b)
		copy(b.b[:cap(b.b)], spoil)
	}
}

// settle ends the noting; every buffer must have been given back.
func (l *ledger) settle() {
	l.t.Helper()
	traceBuffer = nil
	l.mu.Lock()
	defer l.mu.Unlock()
	for b := range l.out {
		l.t.Errorf("a buffer of %d bytes was never given back; it begins with %.40x", cap(b.b), b.b)
	}
}
