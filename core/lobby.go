package core

import (
	"container/list"
	"errors"
	"sync"
	"time"
)

// errCrowded ends the connection that has been silent longest when another one needs
// its place.
var errCrowded = errors.New("too many connections that have said nothing yet; the keys provider.max_handshakes and provider.max_conns bound them")

// errFull refuses a connection that has introduced itself.
var errFull = errors.New("this provider has as many connections as the key provider.max_conns allows")

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

// leave takes a connection out and reports whether it was there still.
func (l *lobby) leave(c *providerConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.place == nil {
		return false
	}
	l.waiting.Remove(c.place)
	c.place = nil
	return true
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

// patience is how long every connection may be silent, however many there are: when
// a crowd of consumers comes at once, those that came first are just about to be
// read.
const patience = 100 * time.Millisecond

// giveWay takes out the connection that has been silent longest and returns it, nil
// if there is none. If wait is positive, that one has not been silent for long
// enough yet, and nothing happened.
func (l *lobby) giveWay(timeout time.Duration) (oldest *providerConn, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	front := l.waiting.Front()
	if front == nil {
		return nil, 0
	}
	c := front.Value.(*providerConn)
	if wait = patience - time.Since(c.greetBy.Add(-timeout)); wait > 0 {
		return nil, wait
	}
	l.waiting.Remove(front)
	c.place = nil
	return c, 0
}
