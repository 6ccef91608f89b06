package main

import (
	"net"
	"regexp"
	"sync"
	"time"
)

// relay passes bytes on between consumers and a provider, as a network does: late, or,
// once it is silent, not at all.
type relay struct {
	listener net.Listener
	provider string
	delay    time.Duration // each way

	running sync.WaitGroup

	mu       sync.Mutex
	silent   bool
	document string     // the last TOML document that went to the provider
	conns    []net.Conn // both sides'
	closed   bool
}

func newRelay(provider string, delay time.Duration) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, provider: provider, delay: delay}
	r.running.Go(r.accept)
	return r, nil
}

// Addr is where consumers find the provider.
func (r *relay) Addr() string { return r.listener.Addr().String() }

func (r *relay) accept() {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.provider)
		if err != nil || !r.keep(near, far) {
			near.Close()
			continue
		}
		r.running.Go(func() { r.pass(far, near, true) })
		r.running.Go(func() { r.pass(near, far, false) })
	}
}

// keep notes connections for Close. It closes far and returns false after that.
func (r *relay) keep(near, far net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		far.Close()
		return false
	}
	r.conns = append(r.conns, near, far)
	return true
}

// piece is bytes that are on their way.
type piece struct {
	bytes []byte
	due   time.Time
}

// pass passes on what comes from one side until that ends.
func (r *relay) pass(to, from net.Conn, requests bool) {
	underway := make(chan piece, 1000) // from the reader below, which closes it; more than this example has underway
	r.running.Go(func() {
		defer to.Close()
		for p := range underway {
			time.Sleep(time.Until(p.due))
			if !r.isSilent() {
				_, _ = to.Write(p.bytes)
			}
		}
	})
	defer close(underway)
	for {
		buffer := make([]byte, 64<<10)
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if requests {
			r.look(buffer[:n])
		}
		underway <- piece{buffer[:n], time.Now().Add(r.delay)}
	}
}

var documents = regexp.MustCompile(`(?:[a-z]+ = [^\n]*\n)+`)

// look keeps a document that is among the bytes.
func (r *relay) look(bytes []byte) {
	if found := documents.Find(bytes); found != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.document = string(found)
	}
}

// lastDocument returns the last TOML document that went to the provider.
func (r *relay) lastDocument() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.document
}

func (r *relay) isSilent() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent
}

// fallSilent drops everything from now on; connections stay open.
func (r *relay) fallSilent() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = true
}

// Close ends everything and waits.
func (r *relay) Close() error {
	r.mu.Lock()
	r.closed = true
	err := r.listener.Close()
	for _, conn := range r.conns {
		conn.Close() // the other side may have closed it
	}
	r.mu.Unlock()
	r.running.Wait()
	return err
}
