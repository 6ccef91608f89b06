package link

import (
	"context"
	"time"
)

// Way is one direction of a [Link]. All methods are safe for concurrent use.
type Way struct {
	link *Link

	// Guarded by link.mu.
	dropping   bool
	rate       int  // bytes per second; 0: as they come
	corrupting bool // the next frame is to be damaged
	lastByte   time.Time
	lastFrame  time.Time
	lastPing   time.Time
	damagedAt  time.Time
}

// Drop reads and throws away what comes this way, the end of a connection included.
// The connection stays open.
func (w *Way) Drop() { w.link.command(func() { w.dropping = true }) }

// Slow passes so many bytes in a second, of each connection, one at least. The
// writer soon finds that the kernel takes no more.
func (w *Way) Slow(bytesPerSecond int) {
	w.link.command(func() { w.rate = max(1, bytesPerSecond) })
}

// Corrupt flips one bit in the header of the next frame that comes this way, on
// whatever connection; where no frames are seen, as with TLS, in the next byte.
func (w *Way) Corrupt() { w.link.command(func() { w.corrupting = true }) }

// LastByte returns when the last byte was handed on; zero if none ever was.
func (w *Way) LastByte() time.Time { return w.read(&w.lastByte) }

// LastFrame returns when the last byte of a frame was handed on; zero if none was.
func (w *Way) LastFrame() time.Time { return w.read(&w.lastFrame) }

// LastPing returns when the last PING was handed on; zero if none was.
func (w *Way) LastPing() time.Time { return w.read(&w.lastPing) }

// Corrupted returns when [Way.Corrupt] had its effect last; zero if it never had.
func (w *Way) Corrupted() time.Time { return w.read(&w.damagedAt) }

func (w *Way) read(t *time.Time) time.Time {
	w.link.mu.Lock()
	defer w.link.mu.Unlock()
	return *t
}

// AwaitPing returns when a PING was handed on after the call, or with the error of
// ctx, or of the link when it is closed.
func (w *Way) AwaitPing(ctx context.Context) error {
	before := w.LastPing()
	for {
		w.link.mu.Lock()
		seen, changed := w.lastPing != before, w.link.changed
		w.link.mu.Unlock()
		if seen {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-w.link.ctx.Done():
			return w.link.ctx.Err()
		}
	}
}

// slice is how often a slow way passes something.
const slice = 50 * time.Millisecond

// passesEnd waits while the end of a connection does not come through. It returns
// false when the connection is over otherwise.
func (w *Way) passesEnd(p *pipe) bool {
	return w.until(p, func() bool { return !w.dropping && !w.stands(p) })
}

// until waits until ok, which is called with link.mu held. It returns false when the
// connection is over.
func (w *Way) until(p *pipe, ok func() bool) bool {
	for {
		w.link.mu.Lock()
		met, over, changed := ok(), p.over, w.link.changed
		w.link.mu.Unlock()
		if met || over {
			return !over
		}
		<-changed
	}
}

// pace waits as long as a slow way does between two writes, and returns the rate that
// it waited for; 0: none.
func (w *Way) pace(p *pipe) (rate int) {
	current := func() (rate int, over bool, changed chan struct{}) {
		w.link.mu.Lock()
		defer w.link.mu.Unlock()
		return w.rate, p.over, w.link.changed
	}
	rate, over, changed := current()
	if rate == 0 {
		return 0
	}
	pause := time.NewTimer(max(slice, time.Second/time.Duration(rate)))
	defer pause.Stop()
	for waitedFor := rate; rate == waitedFor && !over; rate, over, changed = current() {
		select {
		case <-pause.C:
			return rate
		case <-changed:
		}
	}
	return rate
}

// stands reports whether nothing may pass on a connection. link.mu is held.
func (w *Way) stands(p *pipe) bool { return w.link.frozen || p.forgotten }

// loses reports whether b is thrown away, and follows its frames if so.
func (w *Way) loses(at *frames, b []byte) bool {
	w.link.mu.Lock()
	defer w.link.mu.Unlock()
	if w.dropping {
		at.follow(b, func(byte) {})
	}
	return w.dropping
}

// damage flips a bit of the next frame in b, if that was asked for.
func (w *Way) damage(at *frames, b []byte) {
	w.link.mu.Lock()
	defer w.link.mu.Unlock()
	if i := at.next(); w.corrupting && i < len(b) {
		b[i] ^= 0x10
		w.corrupting, w.damagedAt = false, time.Now()
	}
}

// delivered notes what was handed on.
func (w *Way) delivered(at *frames, b []byte) {
	if len(b) == 0 {
		return
	}
	l := w.link
	l.mu.Lock()
	defer l.mu.Unlock()
	now, pinged := time.Now(), false
	w.lastByte = now
	at.follow(b, func(kind byte) {
		w.lastFrame = now
		if kind == ping {
			w.lastPing, pinged = now, true
		}
	})
	if pinged {
		l.tell()
	}
}
