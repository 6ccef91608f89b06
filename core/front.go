package core

import (
	"fmt"
	"io"
	"net"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// protocol is what a connection speaks, as its first bytes tell.
type protocol uint8

// The protocols of one port; docs/connections.md §8 draws the choice.
const (
	undecided protocol = iota // more bytes are needed
	unknown                   // nothing that is served here
	native
	web
	secure
)

const (
	tlsRecord = 0x16 // begins a TLS handshake record; RFC 8446, section 5.1
	maxMethod = 16   // letters of an HTTP method; the longest of RFC 9110 has 7
)

// protocolOf reads the first bytes of a connection. The magic's first byte was chosen
// so that it decides alone; HTTP begins with a method in capital letters and a space.
func protocolOf(first []byte) protocol {
	for i, b := range first {
		switch {
		case i == 0 && b == byte(wire.Magic>>8):
			return native
		case i == 0 && b == tlsRecord:
			return secure
		case i > 0 && b == ' ':
			return web
		case b < 'A' || b > 'Z' || i == maxMethod:
			return unknown
		}
	}
	return undecided
}

// errLeaving ends a connection that had said nothing when the provider was shut
// down.
var errLeaving = fmt.Errorf("%w at its shutdown, before anything was said", errClosed)

// meet is the whole life of an accepted connection, whatever it speaks.
func (c *providerConn) meet() {
	c.mu.Lock()
	if !c.leaving { // then it has less time already
		_ = c.nc.SetReadDeadline(c.greetBy)
	}
	c.mu.Unlock()
	spoken := undecided
	for n := 1; spoken == undecided; n = len(c.in.unread()) + 1 {
		if err := c.in.fill(n); err != nil {
			c.end(c.silence(err))
			return
		}
		spoken = protocolOf(c.in.unread())
	}
	enabled, mustSecure := c.provider.cfg.HTTP.Enabled, c.provider.tls != nil && !c.secured
	switch {
	case mustSecure && spoken == secure:
		c.meetSecurely()
	case mustSecure && spoken != unknown:
		c.refusePlain(spoken)
	case spoken == native:
		c.become(native)
		c.run()
	case spoken == web && enabled:
		c.become(web)
		c.provider.web.serve(c)
	case spoken == web:
		c.end(protocolErrorf("HTTP, which provider.http.enabled turns off"))
	case spoken == secure && !c.secured:
		c.end(c.refuse(wire.GoAwayProtocol, "TLS is not configured here"))
	default:
		c.end(wire.ErrMagic)
	}
}

// silence says why a connection ended before its first byte.
func (c *providerConn) silence(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case isTimeout(err) && c.leaving:
		return errLeaving
	case isTimeout(err):
		return errHandshake
	}
	return err
}

// become notes what the connection speaks. If the provider is shutting down, a
// consumer that has just come is told now.
func (c *providerConn) become(spoken protocol) {
	c.mu.Lock()
	c.speaks = spoken
	leaving := c.leaving
	c.mu.Unlock()
	if leaving {
		c.leave()
	}
}

// lastMoment is how long a connection that has said nothing may still speak when the
// provider is shut down.
const lastMoment = 100 * time.Millisecond

// leave asks for no more requests, in the words of the connection's protocol. HTTP
// is told by its own server.
func (c *providerConn) leave() {
	c.mu.Lock()
	c.leaving = true
	spoken := c.speaks
	if spoken == undecided {
		_ = c.nc.SetReadDeadline(time.Now().Add(lastMoment))
	}
	c.mu.Unlock()
	if spoken == native {
		c.sendGoAway()
	}
}

// lastWords writes what is left to say, and lets the peer read it: closed with bytes
// of the peer's unread, the connection would be reset and the words lost.
func lastWords(nc net.Conn, words []byte) {
	deadline := time.Now().Add(farewellTimeout)
	_ = nc.SetDeadline(deadline)
	if _, err := nc.Write(words); err != nil {
		return
	}
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, nc, readBuffer)
	}
}

// resumed is a connection whose first bytes were read already. Its descriptor stays
// hidden, since reading there would miss them.
type resumed struct {
	net.Conn
	first []byte // nil when they were read again
}

// Read implements [net.Conn].
func (r *resumed) Read(b []byte) (int, error) {
	if r.first == nil {
		return r.Conn.Read(b)
	}
	n := copy(b, r.first)
	if r.first = r.first[n:]; len(r.first) == 0 {
		r.first = nil
	}
	return n, nil
}
