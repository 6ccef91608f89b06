package coretest

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// Network is an in-memory network of listeners and connections, known by address.
// The zero Network is empty and ready to use; it must not be copied. It is safe for
// concurrent use and starts no goroutine. Used inside a testing/synctest bubble it
// belongs to that bubble.
//
// A connection has no buffer: a Write returns when the other end has read its last
// byte, as with [net.Pipe]. So bytes are "in flight" only while a Write waits, and a
// receiver that does not read holds up the sender at once.
type Network struct {
	mu      sync.Mutex
	closed  bool
	links   map[string]*Link
	dialled int // connections ever made; numbers the consumers' ends
}

// address is where an end is: what was listened on, or "consumer:1", "consumer:2" …
type address string

// Network implements [net.Addr].
func (address) Network() string { return "memory" }

// String implements [net.Addr].
func (a address) String() string { return string(a) }

// Listen begins to listen on an address, which is any text that is not empty.
// Closing the listener frees the address; connections that were accepted stay open,
// those that were not are cut. Errors: an address that is taken is like
// syscall.EADDRINUSE, a closed Network is [net.ErrClosed].
func (n *Network) Listen(at string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: address("").Network(), Addr: address(at), Err: err}
	}
	if at == "" {
		return fail(errors.New("the address is empty"))
	}
	link := n.Link(at)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return fail(net.ErrClosed)
	case link.listener != nil:
		return fail(syscall.EADDRINUSE)
	}
	link.listener = &listener{link: link}
	return link.listener, nil
}

// Dial connects to an address. It never waits: the connection is there when Dial
// returns, whether the listener has accepted it or not. It fits
// core.ConsumerConfig.Dial. Errors: nobody listens or [Link.Refuse] is in force is
// like syscall.ECONNREFUSED, a context that has ended, a closed Network is
// [net.ErrClosed].
func (n *Network) Dial(ctx context.Context, to string) (net.Conn, error) {
	link := n.Link(to)
	n.mu.Lock()
	defer n.mu.Unlock()
	link.dials++
	var err error
	switch {
	case n.closed:
		err = net.ErrClosed
	case ctx.Err() != nil:
		err = ctx.Err()
	case link.refused || link.listener == nil:
		err = syscall.ECONNREFUSED
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: address("").Network(), Addr: address(to), Err: err}
	}
	n.dialled++
	consumer, provider := newCable(link, address("consumer:"+strconv.Itoa(n.dialled)))
	link.listener.pending = append(link.listener.pending, provider)
	link.changedLocked()
	return consumer, nil
}

// Link returns the way to an address, whether anybody listens there or not. It is
// the same Link for as long as the Network lives, across listeners that come and go.
func (n *Network) Link(to string) *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.links[to]; l != nil {
		return l
	}
	if n.links == nil {
		n.links = make(map[string]*Link)
	}
	l := newLink(n, address(to))
	n.links[to] = l
	return l
}

// Close closes every listener and cuts every connection. It is safe to call twice.
func (n *Network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for _, l := range n.links {
		if l.listener != nil {
			l.listener.closeLocked()
		}
		l.cutLocked()
	}
	return nil
}

// listener is where connections to an address wait to be accepted.
type listener struct {
	link *Link

	// Guarded by Network.mu.
	pending []*end
	closed  bool
}

// Accept waits for a connection. After Close its error is [net.ErrClosed].
func (l *listener) Accept() (net.Conn, error) {
	n := l.link.network
	for {
		n.mu.Lock()
		if l.closed {
			n.mu.Unlock()
			return nil, l.opError("accept", net.ErrClosed)
		}
		if len(l.pending) > 0 {
			next := l.pending[0]
			l.pending = l.pending[1:]
			n.mu.Unlock()
			return next, nil
		}
		changed := l.link.changed
		n.mu.Unlock()
		<-changed
	}
}

// Close ends Accept, frees the address and cuts what was not accepted.
func (l *listener) Close() error {
	n := l.link.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return l.opError("close", net.ErrClosed)
	}
	l.closeLocked()
	return nil
}

func (l *listener) closeLocked() {
	l.closed = true
	l.link.listener = nil
	for _, e := range l.pending {
		e.cable.cutLocked()
	}
	l.pending = nil
	l.link.changedLocked()
}

// Addr returns what was listened on.
func (l *listener) Addr() net.Addr { return l.link.address }

func (l *listener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: l.link.address.Network(), Addr: l.link.address, Err: err}
}
