package core

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// consumerConn is the consumer's half of a connection.
type consumerConn struct {
	conn
	endpoint *endpoint
	ready    chan struct{} // closed when the provider's HELLO was seen
	gone     chan struct{} // closed when everything is cleaned up

	attempt int       // to connect, that made it; 0: the first that there was
	downAt  time.Time // since when there was no connection; zero with that

	// From the provider's HELLO; read-only once ready is closed.
	peer       wire.HelloBody
	serializer uint8 // the provider's number for this consumer's serializer

	calls    waiters
	draining chan struct{} // closed when stopped is set and the endpoint has forgotten the connection
	inFlight atomic.Int32  // calls that have a waiter
	late     atomic.Uint64 // answers that nobody waited for

	// Guarded by out.mu.
	sequence uint64
	numbers  map[*target]uint64 // methods defined on this connection
	stopped  bool               // GOAWAY was queued: no more requests
}

func newConsumerConn(e *endpoint, nc net.Conn) *consumerConn {
	c := &consumerConn{endpoint: e, ready: make(chan struct{}), gone: make(chan struct{}), draining: make(chan struct{}), numbers: make(map[*target]uint64)}
	c.init(nc, c, e.consumer.connConfig())
	c.remote = e.address
	return c
}

// opened checks that the provider reads what this consumer writes.
func (c *consumerConn) opened(peer wire.HelloBody) error {
	want := c.hello.Serializers[0].Name
	var offered []string
	for _, s := range peer.Serializers {
		offered = append(offered, s.Name)
		if s.Name == want {
			c.serializer = s.Number
		}
	}
	if c.serializer == 0 {
		return &serializerError{want, offered}
	}
	c.peer = peer
	c.agreeCompressor(peer.Compressors)
	return nil
}

// watched tells of a connection that was lacking, before anybody can learn of its end.
func (c *consumerConn) watched() {
	if c.attempt > 0 {
		c.heart.report(Reconnected{c.event(), c.attempt, time.Since(c.downAt)})
	}
	close(c.ready)
}

// judged makes the picker avoid the endpoint, or no longer.
func (c *consumerConn) judged(suspect bool) { c.endpoint.suspect(c, suspect) }

func (c *consumerConn) pending() int { return int(c.inFlight.Load()) }

// agreeCompressor compresses only if the provider has the same compressor.
func (c *consumerConn) agreeCompressor(theirs []wire.Name) {
	cfg := &c.endpoint.consumer.cfg
	if cfg.Compressor == nil {
		return
	}
	for _, n := range theirs {
		if n.Name == cfg.CompressorName {
			c.packs.compressor, c.packs.number = cfg.Compressor, c.hello.Compressors[0].Number
			c.packs.accept(n.Number, cfg.Compressor)
			return
		}
	}
	c.endpoint.log.WithField("compressor", cfg.CompressorName).Warn("the provider does not have the compressor; nothing is compressed")
}

// serializerError is a provider that cannot read what this consumer writes.
type serializerError struct {
	want    string
	offered []string
}

func (e *serializerError) Error() string {
	return fmt.Sprintf("the provider does not offer serializer %q; it offers %s", e.want, strings.Join(e.offered, ", "))
}

func (c *consumerConn) handle(f frame) error {
	switch f.Type {
	case wire.Response, wire.Error:
		if f.over {
			f.owned.release()
			c.refuseAnswer(f.ID, tooLarge(f.Header, c.in.limits))
			return nil
		}
		if f.Flags&wire.FlagMore != 0 {
			return c.collect(f)
		}
		if !c.calls.answered(f) {
			c.tooLate()
		}
	case wire.GoAway:
		defer f.owned.release()
		if _, err := wire.ParseGoAway(f.body()); err != nil {
			return err
		}
		if f.Code == wire.GoAwayPings {
			return refused(f)
		}
		c.stop()
	case wire.Request, wire.Cancel:
		f.owned.release()
		return protocolErrorf("%s from a provider", f.Type)
	default:
		c.skip(f)
	}
	return nil
}

// collect begins to collect an answer that comes in parts. An error ends the
// connection.
func (c *consumerConn) collect(f frame) error {
	size, err := wire.Whole(f.metadata())
	var p *part
	if err == nil {
		p, err = newPart(f, size)
	}
	fits := false
	if err == nil {
		fits, err = c.within(f.Metadata, size)
	}
	if err != nil || !fits {
		f.owned.release()
		if err == nil {
			c.refuseParts(f.ID, tooLarge(p.header, c.in.limits))
		}
		return err
	}
	p.data = f.keep()
	entered, err := c.parts.begin(p, c.calls.waits)
	if entered {
		return nil
	}
	p.data.release()
	if err == errReassembly {
		c.refuseParts(f.ID, c.parts.tooMany(p))
		return nil
	}
	c.tooLate()
	return err
}

func (c *consumerConn) collected(p *part) error {
	if !c.calls.answered(p.frame()) {
		c.tooLate()
	}
	return nil
}

// refuseParts is refuseAnswer for one that has just begun: the provider is told to
// send no more of it.
func (c *consumerConn) refuseParts(id uint64, e *spi.Error) {
	c.refuseAnswer(id, e)
	c.out.sendControl(wire.Header{Type: wire.Cancel, ID: id}, nil)
}

// refuseAnswer fails a call whose answer this side does not take.
func (c *consumerConn) refuseAnswer(id uint64, e *spi.Error) {
	e.Sent = spi.SentMaybe
	if !c.calls.refuse(id, e) {
		c.tooLate()
	}
}

// tooLate counts an answer that nobody waits for.
func (c *consumerConn) tooLate() {
	c.late.Add(1)
	c.heart.counts.late.Add(1)
}

func (c *consumerConn) idle() {}

func (c *consumerConn) rest() bool { return false }

// stop answers the provider's GOAWAY: no request follows this side's own.
func (c *consumerConn) stop() {
	c.out.mu.Lock()
	if c.stopped || c.out.err != nil {
		c.out.mu.Unlock()
		return
	}
	c.stopped = true
	c.out.append(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown})
	c.out.mu.Unlock()
	c.endpoint.forget(c)
	close(c.draining)
	c.out.kick()
	c.finish(0)
}

// finish counts n calls as over and closes a draining connection after its last.
func (c *consumerConn) finish(n int32) {
	if c.inFlight.Add(-n) == 0 {
		select {
		case <-c.draining:
			c.close(errGoAway)
		default:
		}
	}
}

func (c *consumerConn) closing(error) { c.endpoint.forget(c) }

func (c *consumerConn) closed(cause error, d *Disconnected) {
	c.parts.close()
	failed := c.calls.fail(cause, c.out.sent)
	if d == nil {
		return
	}
	d.Failed = failed
	select {
	case <-c.draining:
		d.agreed()
	default:
	}
}

// start sends the request in s, whose payload belongs to the connection from here
// on. Without an error finish(1) is due after await or outcome. Errors are
// *spi.Error.
func (c *consumerConn) start(ctx context.Context, s *callState) error {
	s.out.Header = wire.Header{Type: wire.Request, Flags: s.flags, Serializer: c.hello.Serializers[0].Number}
	c.packs.pack(&s.out)
	s.out.waited = s.out.Flags&wire.FlagCompressed != 0                         // it took its time
	head := headroom - wire.HeaderSize + len(s.target.key) + len(s.target.name) // at most what assign adds
	metadata, message := head+s.out.metadata, head+len(s.out.payload.b)-headroom
	if uint64(message) > c.peer.MaxMessage || uint64(metadata) > c.peer.MaxMetadata {
		s.out.payload.release()
		return &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseEncode, Sent: spi.SentNo,
			Message: fmt.Sprintf("the request has %d bytes, %d of them metadata; the provider takes %d and %d", message, metadata, c.peer.MaxMessage, c.peer.MaxMetadata)}
	}
	w, err := c.calls.take()
	if err != nil {
		s.out.payload.release()
		return &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseQueue, Sent: spi.SentNo, Message: err.Error()}
	}
	s.conn, s.waiter = c, w
	others := c.inFlight.Add(1) > 1

	s.out.assigner, s.out.wait, s.out.flush, s.out.yield = s, !s.hedging, true, others
	if err := c.send(ctx, s); err != nil {
		c.calls.put(w)
		c.finish(1)
		return err
	}
	return nil
}

// send queues the request.
func (c *consumerConn) send(ctx context.Context, s *callState) error {
	err := c.out.send(ctx, &s.out)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e := contextError(err, spi.PhaseQueue, spi.SentNo)
		e.Message += "; the connection's write queue was full: the provider takes no bytes"
		return e
	case errors.Is(err, errQueueFull):
		return &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseQueue, Sent: spi.SentNo, Message: "the connection's write queue is full: the provider takes no bytes"}
	}
	select {
	case <-c.ended: // err may only be what the first cause led to
		err = c.cause
	default:
	}
	e := lost(err, spi.SentNo)
	e.Phase = spi.PhaseQueue
	return e
}

// assign gives the request its id and its method, in wire order. out.mu is held.
func (s *callState) assign(f *outgoing, head []byte, position uint64) ([]byte, error) {
	c := s.conn
	if c.stopped {
		return nil, errGoAway
	}
	if f.waited {
		if s.left = time.Until(s.deadline); s.left <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	c.sequence++
	s.id = c.sequence<<slotBits | uint64(s.waiter.slot)
	f.ID = s.id
	if number, ok := c.numbers[s.target]; ok {
		head = wire.AppendMethod(head, number)
	} else {
		number = uint64(len(c.numbers)) + 1
		if number > min(c.peer.MaxMethods, c.hello.MaxMethods) {
			number = 0
		} else {
			c.numbers[s.target] = number
		}
		head = wire.AppendDefine(head, number, s.target.key, s.target.name)
	}
	head = wire.AppendTimeout(head, uint64(max(s.left/time.Microsecond, 1)))
	s.waiter.position = position
	s.waiter.id.Store(s.id) // from here on the answer may come
	return head, nil
}

// await waits for the answer, the end of the connection, or the end of the call's
// time. It leaves the answer in s, in a buffer that belongs to the caller.
func (c *consumerConn) await(ctx context.Context, s *callState) error {
	w := s.waiter
	var timeout <-chan time.Time
	if s.timed {
		if w.timer == nil {
			w.timer = time.NewTimer(s.left)
		} else {
			w.timer.Reset(s.left)
		}
		timeout = w.timer.C
	}
	var gaveUp error
	select {
	case <-w.done:
	case <-ctx.Done():
		gaveUp = ctx.Err()
	case <-timeout:
		gaveUp = context.DeadlineExceeded
	}
	if s.timed {
		w.timer.Stop()
	}
	if gaveUp != nil {
		if sent, ok := c.giveUp(s); ok {
			return contextError(gaveUp, spi.PhaseWait, sent)
		}
	}
	return c.outcome(s)
}

// giveUp ends the wait for an answer. If the call was decided in the same moment, it
// returns false, and outcome is due.
func (c *consumerConn) giveUp(s *callState) (spi.Sent, bool) {
	w := s.waiter
	if !w.id.CompareAndSwap(s.id, 0) {
		<-w.done
		return "", false
	}
	sent := c.out.cancel(s.id, w.position)
	c.parts.drop(s.id)
	c.calls.put(w)
	return sent, true
}

// outcome is how a call ended whose waiter is done: the answer in s, or an error.
func (c *consumerConn) outcome(s *callState) error {
	w := s.waiter
	answer, err, position := w.answer, w.err, w.position
	c.calls.put(w)
	if s.out.large { // the answer may have come before the last chunk went
		c.out.forget(s.id)
	}
	if refused, ok := err.(*spi.Error); ok {
		return refused
	}
	if err != nil {
		return lost(err, c.out.sent(position))
	}
	s.answer = answer
	return nil
}
