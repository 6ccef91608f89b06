package core

import (
	"container/list"
	"errors"
	"sync"
)

// errCrowded ends the connection that has been silent longest when another one needs
// its place.
var errCrowded = errors.New("too many connections that have said nothing yet; the keys provider.max_handshakes and provider.max_conns bound them")

// lobby holds the connections that have not said HELLO, or the whole header of an
// HTTP request, in the order in which they came. The zero lobby is empty.
type lobby struct {
	mu      sync.Mutex
	waiting list.List // of *providerConn
}

// enter adds a connection.
func (l *lobby) enter(c *providerConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.place = l.waiting.PushBack(c)
}

// leave takes a connection out, if it is still there.
func (l *lobby) leave(c *providerConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place != nil {
		l.waiting.Remove(c.place)
		c.place = nil
	}
}

// replace gives the place of one connection to another.
func (l *lobby) replace(old, next *providerConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old.place != nil {
		old.place.Value = next
		old.place, next.place = nil, old.place
	}
}

func (l *lobby) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting.Len()
}

// takeOldest takes out the connection that has waited longest and returns it, nil if
// there is none.
func (l *lobby) takeOldest() *providerConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	front := l.waiting.Front()
	if front == nil {
		return nil
	}
	c := l.waiting.Remove(front).(*providerConn)
	c.place = nil
	return c
}
