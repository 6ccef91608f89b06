package coretest

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

// cable is one connection.
type cable struct {
	link *Link
	ends [2]*end

	// Guarded by Network.mu.
	cut       bool
	forgotten bool // by [Link.Forget]
}

// end is one end of a connection. It implements [net.Conn].
type end struct {
	cable         *cable
	pipe          net.Conn
	out           *Direction // what this end sends passes here
	local, remote address

	turn chan struct{} // capacity 1; sent to before a Write and received from after it, by the Write
	sent int64         // bytes written; of the Write under way

	// Guarded by Network.mu.
	closed   bool
	deadline time.Time // of Write, for as long as it waits here and not in the pipe
}

// newCable connects a consumer to the address of link. Network.mu is held.
func newCable(link *Link, from address) (consumer, provider *end) {
	c := &cable{link: link}
	a, b := net.Pipe()
	consumer = &end{cable: c, pipe: a, out: link.ToProvider, local: from, remote: link.address, turn: make(chan struct{}, 1)}
	provider = &end{cable: c, pipe: b, out: link.ToConsumer, local: link.address, remote: from, turn: make(chan struct{}, 1)}
	c.ends = [2]*end{consumer, provider}
	link.cables[c] = true
	return consumer, provider
}

// cutLocked resets both ends. Network.mu is held.
func (c *cable) cutLocked() {
	c.cut = true
	for _, e := range c.ends {
		_ = e.pipe.Close()
	}
	delete(c.link.cables, c)
	c.link.changedLocked()
}

// Read implements [net.Conn].
func (e *end) Read(b []byte) (int, error) {
	n, err := e.pipe.Read(b)
	return n, e.explain("read", err)
}

// Write implements [net.Conn].
func (e *end) Write(b []byte) (int, error) {
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	written := 0
	for {
		rest := b[written:]
		p, err := e.admit(len(rest))
		if err != nil || len(rest) == 0 {
			return written, e.explain("write", err)
		}
		n, err := e.transmit(rest[:p.bytes], p)
		written += n
		e.sent += int64(n)
		e.settle(p, n)
		if err != nil || written == len(b) {
			return written, e.explain("write", err)
		}
	}
}

// permit is what may be sent at once.
type permit struct {
	bytes   int
	limited bool // bytes were taken from what is left until the cut
	drop    bool
	corrupt func(offset int64, b []byte)
}

// admit waits until something of n bytes may be sent.
func (e *end) admit(n int) (permit, error) {
	mu := &e.cable.link.network.mu
	for {
		mu.Lock()
		switch {
		case e.cable.cut:
			mu.Unlock()
			return permit{}, syscall.ECONNRESET
		case e.closed:
			mu.Unlock()
			return permit{}, net.ErrClosed
		case !e.deadline.IsZero() && !time.Now().Before(e.deadline):
			mu.Unlock()
			return permit{}, os.ErrDeadlineExceeded
		case e.out.passage != stalled || e.cable.forgotten:
			p := e.permitLocked(n)
			mu.Unlock()
			if n > 0 && p.bytes == 0 {
				continue // it was cut
			}
			return p, nil
		}
		changed, deadline := e.cable.link.changed, e.deadline
		mu.Unlock()
		waitFor(changed, deadline)
	}
}

// permitLocked takes n bytes, or as many as are left until the cut.
func (e *end) permitLocked(n int) permit {
	p := permit{bytes: n, drop: e.out.passage == dropping || e.cable.forgotten, corrupt: e.out.corrupt}
	switch left := e.out.left; {
	case left == unlimited || n == 0:
	case left == 0:
		e.out.left = unlimited
		e.cable.cutLocked()
		p.bytes = 0
	default:
		p.bytes, p.limited = int(min(left, int64(n))), true
	}
	return p
}

// waitFor waits until changed is closed or the deadline has passed.
func waitFor(changed <-chan struct{}, deadline time.Time) {
	if deadline.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// transmit sends b, or what has become of it.
func (e *end) transmit(b []byte, p permit) (int, error) {
	if p.drop {
		return len(b), nil
	}
	if p.corrupt != nil {
		b = slices.Clone(b)
		p.corrupt(e.sent, b)
	}
	return e.pipe.Write(b)
}

// settle counts n bytes that were sent, and cuts the connection if they were the
// last.
func (e *end) settle(p permit, n int) {
	if !p.limited {
		return
	}
	mu := &e.cable.link.network.mu
	mu.Lock()
	defer mu.Unlock()
	if e.out.left == unlimited { // taken back, or spent by another connection
		return
	}
	if e.out.left = max(0, e.out.left-int64(n)); e.out.left == 0 {
		e.out.left = unlimited
		e.cable.cutLocked()
	}
}

// explain returns the error that a socket would.
func (e *end) explain(op string, err error) error {
	if err == nil {
		return nil
	}
	mu := &e.cable.link.network.mu
	mu.Lock()
	defer mu.Unlock()
	switch {
	case e.closed:
		err = net.ErrClosed
	case e.cable.cut:
		err = syscall.ECONNRESET
	case err == io.EOF:
		return err
	case errors.Is(err, io.ErrClosedPipe):
		err = syscall.EPIPE
	}
	return e.opError(op, err)
}

func (e *end) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: e.local.Network(), Source: e.local, Addr: e.remote, Err: err}
}

// Close ends reads and writes on this end. The other end reads io.EOF and fails to
// write, unless this direction is stalled or dropping: then it learns nothing before
// Resume.
func (e *end) Close() error {
	link := e.cable.link
	link.network.mu.Lock()
	defer link.network.mu.Unlock()
	if e.closed {
		return e.opError("close", net.ErrClosed)
	}
	e.closed = true
	if e.out.passage == flowing && !e.cable.forgotten {
		_ = e.pipe.Close()
	} else {
		_ = e.pipe.SetDeadline(time.Unix(1, 0)) // ends what waits on this end only
	}
	if e.cable.ends[0].closed && e.cable.ends[1].closed {
		for _, e := range e.cable.ends {
			_ = e.pipe.Close()
		}
		delete(link.cables, e.cable)
	}
	link.changedLocked()
	return nil
}

// LocalAddr implements [net.Conn].
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr implements [net.Conn].
func (e *end) RemoteAddr() net.Addr { return e.remote }

// SetDeadline implements [net.Conn].
func (e *end) SetDeadline(t time.Time) error {
	return errors.Join(e.SetReadDeadline(t), e.SetWriteDeadline(t))
}

// SetReadDeadline implements [net.Conn].
func (e *end) SetReadDeadline(t time.Time) error {
	return e.whileOpen(func() error { return e.pipe.SetReadDeadline(t) })
}

// SetWriteDeadline implements [net.Conn].
func (e *end) SetWriteDeadline(t time.Time) error {
	return e.whileOpen(func() error {
		e.deadline = t
		e.cable.link.changedLocked()
		return e.pipe.SetWriteDeadline(t)
	})
}

// whileOpen runs set with Network.mu held, unless the end is closed.
func (e *end) whileOpen(set func() error) error {
	mu := &e.cable.link.network.mu
	mu.Lock()
	defer mu.Unlock()
	if e.closed {
		return e.opError("set", net.ErrClosed)
	}
	return set()
}
