package link

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Link is a proxy in front of one provider. A fault is in force at once, for the
// connections that there are and those that come, unless it says otherwise. All
// methods are safe for concurrent use.
type Link struct {
	ToProvider, ToConsumer Way // what each direction does

	target   string
	listener net.Listener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed, and replaced, when anything below or in a Way changed
	frozen   bool
	refusing bool
	dials    []time.Time
	pipes    map[*pipe]bool
}

// Listen begins to pass what comes to a free port of 127.0.0.1 on to target, an
// address as 127.0.0.1:7070. Nothing is dialled before a consumer connects.
func Listen(target string) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the link to %s: %w", target, err)
	}
	l := &Link{target: target, listener: listener, changed: make(chan struct{}), pipes: make(map[*pipe]bool)}
	l.ToProvider.link, l.ToConsumer.link = l, l
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.running.Go(l.accept)
	return l, nil
}

// Addr returns where consumers connect, as 127.0.0.1:40001.
func (l *Link) Addr() string { return l.listener.Addr().String() }

// Dials returns when connections were made to the link, refused ones included, in
// order. Those that come while it is frozen count too.
func (l *Link) Dials() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.dials)
}

// Freeze stops everything: sockets stay open, nothing is read or written, and new
// connections wait. It is what a stopped process or a dead cable looks like.
func (l *Link) Freeze() { l.command(func() { l.frozen = true }) }

// HalfOpen forgets the connections that there are: both ends stay open, carry
// nothing, and do not learn of each other's end. New connections pass. It is what a
// router leaves behind that has lost its table.
func (l *Link) HalfOpen() {
	l.command(func() {
		for p := range l.pipes {
			p.forgotten = true
		}
	})
}

// Refuse resets every new connection at once; those that there are go on.
func (l *Link) Refuse() { l.command(func() { l.refusing = true }) }

// Cut resets every connection that there is, towards both ends. It is not a state:
// new connections pass.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.pipes {
		p.reset()
	}
}

// Heal ends every fault. What was frozen goes on where it stopped; what [Link.HalfOpen]
// forgot is reset.
func (l *Link) Heal() {
	l.command(func() {
		l.frozen, l.refusing = false, false
		for _, w := range []*Way{&l.ToProvider, &l.ToConsumer} {
			w.dropping, w.rate, w.corrupting = false, 0, false
		}
		for p := range l.pipes {
			if p.forgotten {
				p.reset()
			}
		}
	})
}

// Close resets every connection and returns when nothing of the link is left. It is
// safe to call twice.
func (l *Link) Close() error {
	l.mu.Lock()
	closed := l.ctx.Err() != nil
	l.cancel()
	l.mu.Unlock()
	err := l.listener.Close()
	if closed {
		err = nil
	}
	l.Cut()
	l.running.Wait()
	return err
}

// command changes faults, and calls everybody back who reads, writes or waits as the
// old ones said.
func (l *Link) command(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	for p := range l.pipes {
		p.interrupt()
	}
	l.tell()
}

// tell wakes everybody who waits for something to change. mu is held.
func (l *Link) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Link) accept() {
	for {
		nc, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		p := &pipe{link: l, consumer: nc.(*net.TCPConn)}
		if l.enter(p) {
			l.running.Go(p.run)
		}
	}
}

// enter lists a new connection, or ends it and returns false.
func (l *Link) enter(p *pipe) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dials = append(l.dials, time.Now())
	if l.refusing || l.ctx.Err() != nil {
		p.reset()
		return false
	}
	l.pipes[p] = true
	return true
}

func (l *Link) leave(p *pipe) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.reset()
	delete(l.pipes, p)
}
