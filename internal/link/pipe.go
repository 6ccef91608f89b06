package link

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipe is one connection through a link.
type pipe struct {
	link     *Link
	consumer *net.TCPConn

	// Guarded by link.mu.
	provider  *net.TCPConn // nil until it is dialled
	forgotten bool         // it carries nothing any more
	over      bool         // both ends are closed
}

// run dials the provider and passes bytes on until both ways have ended.
func (p *pipe) run() {
	l := p.link
	defer l.leave(p)
	if !l.ToProvider.until(p, func() bool { return !l.frozen && !p.forgotten }) { // new connections wait while the link is frozen
		return
	}
	var dialer net.Dialer
	nc, err := dialer.DialContext(l.ctx, "tcp", l.target)
	if err != nil {
		return
	}
	provider := nc.(*net.TCPConn)
	l.mu.Lock()
	p.provider = provider
	if p.over { // cut in between
		_ = provider.Close()
	}
	l.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.ToProvider.carry(p, p.consumer, provider) })
	both.Go(func() { l.ToConsumer.carry(p, provider, p.consumer) })
	both.Wait()
}

// reset ends both ends with a RST. link.mu is held.
func (p *pipe) reset() {
	if p.over {
		return
	}
	p.over = true
	p.link.tell()
	for _, nc := range p.ends() {
		_ = nc.SetLinger(0)
		_ = nc.Close()
	}
}

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// interrupt ends a blocked read or write, which looks at the faults and goes on.
// link.mu is held.
func (p *pipe) interrupt() {
	for _, nc := range p.ends() {
		_ = nc.SetDeadline(past)
	}
}

func (p *pipe) ends() []*net.TCPConn {
	if p.provider == nil {
		return []*net.TCPConn{p.consumer}
	}
	return []*net.TCPConn{p.consumer, p.provider}
}

// carry passes bytes on, or what becomes of them, until from has ended in order,
// which ends this way of to; any other end resets both.
func (w *Way) carry(p *pipe, from, to *net.TCPConn) {
	b := make([]byte, 32<<10)
	var at frames
	for {
		if !w.readable(p, from) {
			return
		}
		n, err := from.Read(b)
		if n > 0 && !w.deliver(p, &at, to, b[:n]) {
			break
		}
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if !w.passesEnd(p) {
			return
		}
		if err == io.EOF && to.CloseWrite() == nil {
			return
		}
		break
	}
	p.link.mu.Lock()
	defer p.link.mu.Unlock()
	p.reset()
}

// deliver writes all of b as the faults say, or loses it. It returns false when to
// takes no more.
func (w *Way) deliver(p *pipe, at *frames, to *net.TCPConn, b []byte) bool {
	for len(b) > 0 {
		size, ok := w.writable(p, to, len(b))
		if !ok {
			return false
		}
		if w.loses(at, b) {
			return true
		}
		w.damage(at, b[:size])
		n, err := to.Write(b[:size])
		w.delivered(at, b[:n])
		if b = b[n:]; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
	}
	return true
}

// readable waits until from may be read, and takes back the interruption by a
// command. It returns false when the connection is over.
func (w *Way) readable(p *pipe, from *net.TCPConn) bool {
	return w.until(p, func() bool {
		if !w.stands(p) {
			_ = from.SetReadDeadline(time.Time{})
		}
		return !w.stands(p)
	})
}

// writable waits until to may be written to, takes back the interruption by a
// command, and returns how many of n bytes may be written. It returns false when the
// connection is over.
func (w *Way) writable(p *pipe, to *net.TCPConn, n int) (size int, ok bool) {
	for {
		rate := w.pace(p)
		changed := false // since it was waited for
		ok = w.until(p, func() bool {
			if !w.stands(p) {
				changed = w.rate != rate
				_ = to.SetWriteDeadline(time.Time{})
			}
			return !w.stands(p)
		})
		switch {
		case !ok:
			return 0, false
		case changed:
		case rate == 0:
			return n, true
		default:
			return min(n, max(1, rate*int(slice/time.Millisecond)/1000)), true
		}
	}
}
