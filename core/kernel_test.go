package core

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// kernel is the far side of an outbox: it takes as many bytes as a test lets it
// and records them. As a net.Conn its Write waits for room, as rawKernel it does
// not. All methods are safe for concurrent use.
type kernel struct {
	net.Conn // nil: an outbox only writes

	mu       sync.Mutex
	took     []byte // everything handed over
	pending  []byte // what a Write that waits still holds
	during   int    // bytes that it has handed over, and nobody knows it yet
	rest     []byte // the next bytes that the last write was about: a header, at most
	room     int    // bytes it will take
	err      error  // what the next write fails with, once there is no room
	closed   bool
	tries    int // writes that do not block
	deadline time.Time
	change   chan struct{} // closed and replaced when one of the above changes
}

func newKernel(room int) *kernel { return &kernel{room: room, change: make(chan struct{})} }

// rawKernel is a kernel behind a descriptor that does not block.
type rawKernel struct{ *kernel }

func (k rawKernel) write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tries++
	n := k.take(b)
	if n == 0 && k.closed {
		return 0, net.ErrClosed
	}
	if n == 0 {
		return 0, k.err
	}
	return n, nil
}

// Write implements [net.Conn].
func (k *kernel) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer func() { k.pending, k.during = nil, 0 }()
	for n := 0; ; {
		n += k.take(b[n:])
		k.pending, k.during = b[n:], n
		switch {
		case n == len(b):
			return n, nil
		case k.closed:
			return n, net.ErrClosed
		case k.err != nil:
			return n, k.err
		}
		var late <-chan time.Time
		if !k.deadline.IsZero() {
			left := time.Until(k.deadline)
			if left <= 0 {
				return n, os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(left)
			defer timer.Stop()
			late = timer.C
		}
		change := k.change
		k.mu.Unlock()
		select {
		case <-change:
		case <-late:
		}
		k.mu.Lock()
	}
}

// take is how much of b there is room for. mu is held.
func (k *kernel) take(b []byte) int {
	n := min(len(b), k.room)
	if k.closed {
		n = 0
	}
	k.room -= n
	k.took = append(k.took, b[:n]...)
	k.rest = slices.Clone(b[n:min(n+wire.HeaderSize, len(b))])
	return n
}

// set changes something that a waiting Write looks at.
func (k *kernel) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.change)
	k.change = make(chan struct{})
}

// grow makes room for n more bytes.
func (k *kernel) grow(n int) { k.set(func() { k.room += n }) }

// fail makes writes fail that find no room.
func (k *kernel) fail(err error) { k.set(func() { k.err = err }) }

// Close implements [net.Conn].
func (k *kernel) Close() error {
	k.set(func() { k.closed = true })
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (k *kernel) SetWriteDeadline(t time.Time) error {
	k.set(func() { k.deadline = t })
	return nil
}

// handed is what a kernel was given at one moment.
type handed struct {
	took, pending int    // bytes that writes have returned, and bytes that one is about
	bytes         []byte // both, and what completes a header; valid until the next write
	open          bool   // there is room for more
}

func (k *kernel) state() handed {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := handed{took: len(k.took) - k.during, pending: k.during + len(k.pending), open: k.room > 0 && !k.closed}
	next := k.pending
	if len(next) == 0 {
		next = k.rest
	}
	h.bytes = append(k.took, next...)
	k.took = h.bytes[:len(k.took)] // keep the memory
	return h
}

var errKernel = errors.New("the kernel refuses")
