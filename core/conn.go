package core

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/google/uuid"
)

// maxName bounds names of services and methods and keys of metadata, in bytes.
const maxName = 255

// What every peer must take, in bytes, so that errors always fit.
const (
	minMessage  = 64 << 10
	minMetadata = 1 << 10
)

// mostMessage is the most that a message can be, in bytes, whatever a peer says it
// takes: lengths must fit into a frame.
const mostMessage = 1 << 30

// Why a connection ends; [reasonOf] turns them into words for users.
var (
	errTooLarge     = errors.New("frame larger than the limits announced")
	errFrameStalled = errors.New("a frame, or the next of a body in chunks, was not there within the frame timeout, and came at less than 4 KiB/s")
	errWriteStalled = errors.New("the peer took no bytes for the write timeout")
	errGoAway       = errors.New("the peer is shutting down")
	errClosed       = errors.New("closed by this side")
	errNoRoom       = errors.New("refused")
	errHandshake    = errors.New("no HELLO within the handshake timeout")

	errConsumerClosed = fmt.Errorf("the consumer is %w", errClosed)
)

// protocolError is a peer that does not speak the protocol.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return e.what }

func protocolErrorf(format string, args ...any) error {
	return &protocolError{fmt.Sprintf(format, args...)}
}

// side is the half of a connection that differs between consumer and provider.
type side interface {
	// opened is called when both HELLOs are seen. An error ends the connection.
	opened(peer wire.HelloBody) error

	// handle takes a frame that is neither HELLO nor PING nor PONG. An error ends
	// the connection. It must not block.
	handle(f frame) error

	// idle is called when all that one read brought was handled.
	idle()

	// rest is called between frames on a connection that will be quiet, as far as can
	// be told: right after the handshake, and when it has been quiet before. It returns
	// true if another goroutine goes on with run.
	rest() bool

	// collected takes a part whose last chunk has come. An error ends the connection.
	// It must not block.
	collected(p *part) error

	// watched is called when both HELLOs are seen and the heartbeat has begun.
	watched()

	// judged is called by the heartbeat when the peer becomes suspect, or is so no
	// longer. It must not block.
	judged(suspect bool)

	// pending is how many calls have no answer.
	pending() int

	// closing is called once, by whoever ends the connection, before anybody learns
	// of the end and before the socket is closed: the connection must not be chosen
	// any more. It must not block.
	closing(cause error)

	// closed is called by run when nothing is written any more. It says in the event
	// what was lost; nil: the connection was never up.
	closed(cause error, d *Disconnected)
}

// conn is one connection, on either side; docs/connections.md §1 draws its life.
type conn struct {
	side
	nc     net.Conn
	remote string
	out    outbox
	in     *frameReader
	parts  reassembly      // bodies that come in chunks
	packs  packing         // how bodies travel
	hello  *wire.HelloBody // what this side says; a providerConn at rest has forgotten it
	begin  bool            // this side says it first
	said   bool            // both have said it

	greetBy      time.Time // end of the handshake timeout
	frameTimeout time.Duration

	once  sync.Once
	cause error         // why it ended; read after ended is closed
	ended chan struct{} // closed when the first cause is known and nobody can choose the connection any more

	framesIn, framesSkipped atomic.Uint64

	heart heart
}

// connConfig is what both sides need to make a conn.
type connConfig struct {
	limits           Limits
	handshakeTimeout time.Duration
	writeTimeout     time.Duration
	instance         uuid.UUID
	serializers      []wire.Name
	begin            bool
	frameTimeout     time.Duration
	compressors      []wire.Name
	compressAbove    spi.Size
	checksum         bool
	pulse            *pulse
	unpackRoom       *unpackRoom
}

func (c *conn) init(nc net.Conn, s side, cfg connConfig) {
	raw := newRawConn(nc)
	c.side, c.nc, c.remote = s, nc, nameOf(nc.RemoteAddr())
	c.begin, c.greetBy, c.frameTimeout = cfg.begin, time.Now().Add(cfg.handshakeTimeout), cfg.frameTimeout
	c.in = newFrameReader(nc, raw, cfg.limits)
	c.out.init(nc, raw, int(cfg.limits.WriteQueue), cfg.writeTimeout, c.close)
	c.parts.limit = int(max(cfg.limits.Reassembly, cfg.limits.Message))
	c.packs = packing{checksum: cfg.checksum, above: int(cfg.compressAbove), limit: int(cfg.limits.Message), room: cfg.unpackRoom}
	c.ended = make(chan struct{})
	c.heart.pulse = cfg.pulse
	c.out.figures = &cfg.pulse.counts.writes
	c.hello = &wire.HelloBody{
		MaxVersion: wire.Version, MinVersion: wire.Version, Instance: cfg.instance, Token: uuid.New(),
		Serializers: cfg.serializers, Compressors: cfg.compressors, Agent: agent, Features: features,
		MaxMessage: uint64(cfg.limits.Message), MaxMetadata: uint64(cfg.limits.Metadata), MaxName: maxName, MaxMethods: uint64(cfg.limits.Methods),
		Heartbeat: cfg.pulse.announced(),
	}
}

// What a side may do only if the other one knows it, by the names of HELLO.
const (
	featureChunks   = "chunks"
	featureChecksum = "checksum"
)

// features are those that this version knows.
var features = []string{featureChunks, featureChecksum}

// run is the whole life of the connection, or the rest of it if rest has said that
// another goroutine goes on.
func (c *conn) run() {
	passedOn := false
	defer func() { // deferred, because an inline handler may end the goroutine
		if !passedOn {
			c.cleanUp()
		}
	}()
	var err error
	if !c.said {
		if err = c.handshake(); err == nil {
			c.beginHeartbeat()
		}
	}
	for err == nil {
		if c.in.resting() && c.rest() {
			passedOn = true
			return
		}
		if err = c.in.await(); err == nil {
			err = c.readFrame()
		}
	}
	c.close(err)
}

// end is run for a connection that ends before it begins.
func (c *conn) end(cause error) {
	c.close(cause)
	c.cleanUp()
}

// cleanUp frees everything, in the order of docs/connections.md §1.
func (c *conn) cleanUp() {
	c.close(errClosed)
	up := c.endHeartbeat()
	c.in.close()
	queued := c.out.close(c.cause)
	c.closed(c.cause, up)
	if up != nil {
		up.QueueBytes = queued
		c.heart.ended(*up)
	}
}

// close ends the connection; the first cause counts. It does not block and may be
// called from anywhere; run does the cleanup.
func (c *conn) close(cause error) {
	c.once.Do(func() {
		c.cause = cause
		c.closing(cause)
		close(c.ended)
		nc := c.nc
		if secured, ok := nc.(*tls.Conn); ok {
			nc = secured.NetConn() // its own Close would wait to say goodbye
		}
		if tcp := tcpOf(nc); tcp != nil && presumedDead(cause) {
			_ = tcp.SetLinger(0) // nobody reads what the kernel still holds
		}
		_ = nc.Close()
	})
}

// handshake exchanges HELLO within the handshake timeout.
func (c *conn) handshake() error {
	_ = c.nc.SetReadDeadline(c.greetBy)
	if c.begin {
		c.sayHello()
	}
	limits := c.in.limits
	c.in.limits.Message, c.in.limits.Metadata = wire.MaxHello, wire.MaxHello
	f, err := c.in.next()
	c.in.limits = limits
	switch {
	case isTimeout(err):
		return errHandshake
	case err != nil:
		return err
	case f.Type == wire.GoAway:
		return refused(f)
	case f.Type != wire.Hello:
		return protocolErrorf("%s before HELLO", f.Type)
	}
	peer, err := wire.ParseHello(f.body())
	if err != nil {
		return err
	}
	if peer.MinVersion > wire.Version || peer.MaxVersion < wire.Version {
		return c.refuse(wire.GoAwayIncompatible, fmt.Sprintf("protocol versions %d to %d are not spoken here, only %d", peer.MinVersion, peer.MaxVersion, wire.Version))
	}
	if peer.MaxMessage < minMessage || peer.MaxMetadata < minMetadata {
		return c.refuse(wire.GoAwayProtocol, fmt.Sprintf("limits of %d and %d bytes are below %d and %d", peer.MaxMessage, peer.MaxMetadata, minMessage, minMetadata))
	}
	peer.MaxMessage, peer.MaxMetadata = min(peer.MaxMessage, mostMessage), min(peer.MaxMetadata, mostMessage)
	c.agree(peer)
	c.heart.agree(peer)
	if err := c.opened(peer); err != nil {
		return err
	}
	if !c.begin {
		c.sayHello()
	}
	c.in.skips, c.in.slack, c.in.collecting = true, c.frameTimeout, c.parts.any
	c.said, c.in.traffic.rested = true, true
	_ = c.nc.SetReadDeadline(time.Time{}) // fails if the connection ended meanwhile, which the next read says better
	return nil
}

// agree uses the features that both sides know.
func (c *conn) agree(peer wire.HelloBody) {
	c.packs.checksum = c.packs.checksum && slices.Contains(peer.Features, featureChecksum)
	c.packs.most = peer.MaxMessage
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.chunked = slices.Contains(peer.Features, featureChunks)
}

func (c *conn) sayHello() {
	var room [256]byte // for most; a crowd that comes at once is not to leave garbage
	c.out.sendControl(wire.Header{Type: wire.Hello}, wire.AppendHello(room[:0], *c.hello))
	c.out.kick()
}

// refuse tells the peer why, if it takes the bytes at once, and returns the error
// that ends the connection.
func (c *conn) refuse(reason uint8, why string) error {
	c.out.sendControl(wire.Header{Type: wire.GoAway, Code: reason}, wire.AppendGoAway(nil, wire.GoAwayBody{Message: why}))
	c.out.farewell()
	return protocolErrorf("%s", why)
}

// refused is a GOAWAY in place of HELLO.
func refused(f frame) error {
	body, err := wire.ParseGoAway(f.body())
	if err != nil {
		return err
	}
	switch f.Code {
	case wire.GoAwayShutdown:
		return errGoAway
	case wire.GoAwayOverloaded:
		return fmt.Errorf("%w: %s", errNoRoom, body.Message)
	}
	return protocolErrorf("refused: %s", body.Message)
}

// readFrame reads and handles one frame.
func (c *conn) readFrame() error {
	f, err := c.in.next()
	if err != nil {
		return err
	}
	c.framesIn.Add(1)
	switch f.Type {
	case wire.Ping: // answered here, whatever handlers and queues are doing
		f.owned.release()
		if err := c.pinged(f.ID); err != nil {
			return err
		}
	case wire.Pong:
		if c.heart.pong(f.ID) {
			c.in.traffic.noted++
		}
		f.owned.release()
	case wire.Hello:
		f.owned.release()
		return protocolErrorf("a second HELLO")
	case wire.Chunk:
		c.in.traffic.noted++
		if err := c.chunk(f); err != nil {
			return err
		}
	default:
		if f.Type == wire.Response || f.Type == wire.Error || f.Type == wire.Request {
			c.in.traffic.noted++
		}
		if err := c.handle(f); err != nil {
			return err
		}
	}
	if !c.in.more() {
		c.idle()
		c.out.kick()
		c.signs()
	}
	return nil
}

// chunk adds to a body. One that nobody waits for is dropped.
func (c *conn) chunk(f frame) error {
	defer f.owned.release()
	p, known, err := c.parts.add(f)
	if err != nil {
		return err
	}
	if !known {
		c.framesSkipped.Add(1)
	}
	if p == nil {
		return nil
	}
	return c.collected(p)
}

// within reports whether a message, metadata and body together, is within the limits.
// An error ends the connection: the message is beyond what is skipped.
func (c *conn) within(metadata uint32, body uint64) (bool, error) {
	size := uint64(metadata) + body
	if size <= uint64(c.in.limits.Message) {
		return true, nil
	}
	if size > mostSkipped {
		return false, errTooLarge
	}
	return false, nil
}

// skip drops a frame of a type that this version does not know.
func (c *conn) skip(f frame) {
	f.owned.release()
	c.framesSkipped.Add(1)
}

// reasonOf returns the word and the text for why a connection ended.
func reasonOf(cause error) (reason, text string) {
	var wrong *protocolError
	var silent *silenceError
	if reason, text, ok := tlsFault(cause); ok {
		return reason, text
	}
	switch {
	case errors.Is(cause, io.EOF):
		return spi.ReasonEOF, "the peer closed the connection"
	case errors.Is(cause, io.ErrUnexpectedEOF):
		return spi.ReasonEOF, "the peer closed the connection in the middle of a frame"
	case errors.Is(cause, syscall.ECONNRESET), errors.Is(cause, syscall.EPIPE), errors.Is(cause, io.ErrClosedPipe):
		return spi.ReasonReset, "the connection was reset"
	case errors.Is(cause, errWriteStalled):
		return spi.ReasonWriteStalled, cause.Error()
	case errors.As(cause, &silent):
		return silent.reason, silent.Error()
	case errors.Is(cause, errSuperseded):
		return spi.ReasonSuperseded, cause.Error()
	case errors.Is(cause, errGoAway):
		return spi.ReasonGoAway, cause.Error()
	case errors.Is(cause, errClosed):
		return spi.ReasonClosed, cause.Error()
	case errors.As(cause, &wrong), errors.Is(cause, wire.ErrMagic), errors.Is(cause, wire.ErrCheck), errors.Is(cause, wire.ErrFlags),
		errors.Is(cause, wire.ErrMalformed), errors.Is(cause, errTooLarge), errors.Is(cause, errFrameStalled):
		return spi.ReasonProtocolError, "protocol error: " + cause.Error()
	case errors.Is(cause, errHandshake):
		return spi.ReasonConnecting, cause.Error()
	case errors.Is(cause, errCrowded), errors.Is(cause, errFull), errors.Is(cause, errNoRoom):
		return spi.ReasonOverloaded, cause.Error()
	}
	return spi.ReasonReset, strings.TrimPrefix(cause.Error(), "read ")
}

// isTimeout reports that a time which this side has set is over. That the kernel gave
// the peer up, ETIMEDOUT, is something else, though it calls itself a timeout too.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}

// lost is the error of a call whose connection ended.
func lost(cause error, sent spi.Sent) *spi.Error {
	reason, text := reasonOf(cause)
	return &spi.Error{Code: spi.Unavailable, Reason: reason, Phase: spi.PhaseWait, Sent: sent, Message: text, Cause: fmt.Errorf("%w: %w", spi.ErrConnLost, cause)}
}

// contextError translates the end of a context, in the one place where that is
// done.
func contextError(err error, phase spi.Phase, sent spi.Sent) *spi.Error {
	e := &spi.Error{Code: spi.DeadlineExceeded, Phase: phase, Sent: sent, Message: "the deadline passed", Cause: err}
	if errors.Is(err, context.Canceled) {
		e.Code, e.Message = spi.Canceled, "the caller gave up"
	}
	return e
}
