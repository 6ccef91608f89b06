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
	if !l.ToProvider.wait(p) { // new connections wait while the link is frozen
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
		size := w.pace(p, len(b))
		if !w.ready(p, from, to) {
			return
		}
		n, err := from.Read(b[:size])
		if n > 0 && !w.deliver(p, &at, from, to, b[:n]) {
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
func (w *Way) deliver(p *pipe, at *frames, from, to *net.TCPConn, b []byte) bool {
	for len(b) > 0 {
		if !w.ready(p, from, to) {
			return false
		}
		if w.loses(at, b) {
			return true
		}
		w.damage(at, b)
		n, err := to.Write(b)
		w.delivered(at, b[:n])
		if b = b[n:]; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
	}
	return true
}

// ready is wait for a connection whose two ends are there: it takes back the
// interruption by a command.
func (w *Way) ready(p *pipe, from, to *net.TCPConn) bool {
	if !w.wait(p) {
		return false
	}
	w.link.mu.Lock()
	defer w.link.mu.Unlock()
	if !w.stands(p) { // otherwise the read or write fails at once, and waits here again
		_, _ = from.SetReadDeadline(time.Time{}), to.SetWriteDeadline(time.Time{})
	}
	return true
}
