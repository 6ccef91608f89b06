package core

import (
	"context"
	"slices"
	"time"
)

// lane bounds the bytes of one kind that wait to be handed to the kernel. All of it
// is guarded by the outbox's mu.
type lane struct {
	limit   int           // beyond it senders wait
	queued  int           // bytes accepted, or promised room, and not handed over
	waiting []*roomWaiter // senders waiting for room, in order
}

// roomWaiter is a sender waiting for room. done has capacity 1 and receives one
// value, from whoever grants the room or closes the outbox.
type roomWaiter struct {
	need    int
	granted bool // need was added to queued
	done    chan struct{}
}

// fits: a frame larger than the whole queue still goes out, alone.
func (l *lane) fits(size int) bool { return l.queued == 0 || l.queued+size <= l.limit }

// grant promises room to waiting senders, in order, as far as there is any.
func (l *lane) grant() {
	for len(l.waiting) > 0 && l.fits(l.waiting[0].need) {
		w := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.queued += w.need
		w.granted = true
		w.done <- struct{}{}
	}
}

// close releases senders that wait.
func (l *lane) close() {
	for _, w := range l.waiting {
		w.done <- struct{}{}
	}
	l.waiting = nil
}

// reserve adds size to what is queued in l, waiting for room if allowed. mu is held,
// and released while waiting.
func (o *outbox) reserve(ctx context.Context, l *lane, size int, f *outgoing) error {
	if o.err != nil {
		return o.err
	}
	if !f.wait && l.queued < 2*l.limit || len(l.waiting) == 0 && l.fits(size) {
		l.queued += size
		return nil
	}
	if !f.wait {
		return errQueueFull
	}
	f.waited = true
	w := &roomWaiter{need: size, done: make(chan struct{}, 1)}
	l.waiting = append(l.waiting, w)
	o.mu.Unlock()
	ctx, cancel := within(ctx, f.deadline)
	defer cancel()
	var err error
	select {
	case <-w.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	o.mu.Lock()
	if err == nil {
		err = o.err
	}
	if err == nil {
		return nil
	}
	if w.granted {
		l.queued -= size
	} else if i := slices.Index(l.waiting, w); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	return err
}

func (l *lane) full() bool { return l.queued >= l.limit }

// full reports that senders wait for room, or would soon.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.small.full() || o.large.full()
}

// fullFor is full for a frame like f, which was sent on another connection.
func (o *outbox) fullFor(f *outgoing) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.small.full() || f.large && o.large.full()
}

// within bounds ctx by a deadline of its own, unless that is zero. It is for the
// slow paths of a call: the fast one waits on a timer that is used again.
func within(ctx context.Context, deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, deadline)
}
