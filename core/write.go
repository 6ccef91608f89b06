package core

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

const (
	// headroom is kept free in front of a payload, so that header and small fields
	// can be put there and the frame is one piece.
	headroom = 64

	// copyLimit divides small frames, which are copied into a common segment, from
	// large ones, which are queued as they are.
	copyLimit = 16 << 10

	// quantum bounds one write.
	quantum = 128 << 10

	// segmentSize is the room for small frames that leave in one write, and the most
	// that a chunk takes, header included.
	segmentSize = 64 << 10

	// yieldBelow: with less than this waiting, whoever flushes lets the others
	// append first. It is the largest single gain there is (2 to 3 times).
	yieldBelow = 16 << 10

	// flushRounds bounds how long a caller writes for others.
	flushRounds = 4

	// fewControl is the memory that is kept for control frames.
	fewControl = 4 * wire.HeaderSize

	// farewellTimeout bounds the last words on a connection.
	farewellTimeout = 100 * time.Millisecond
)

// errQueueFull is for frames that must not wait for room: twice the limit waits
// already.
var errQueueFull = errors.New("write queue is full")

// outbox is the write side of a connection; docs/connections.md §2 draws it.
// Nobody blocks in a write: whoever finds no flusher active becomes the flusher
// and writes what the kernel takes at once; the rest is left to a goroutine that
// lives as long as there is something to wait for.
type outbox struct {
	nc      net.Conn
	raw     rawWriter     // nil: no descriptor, always the goroutine
	timeout time.Duration // a write that does not finish within it fails
	fail    func(error)   // ends the connection; called by the flusher, without mu

	mu       sync.Mutex
	err      error // set: nothing is accepted or written any more
	last     error // set: what ends the connection once nothing waits
	flushing bool  // somebody is in flush or flushWaiting
	quiet    sync.Cond
	flushers sync.WaitGroup // Add happens with mu held and flushing set

	control []byte // whole control frames that wait; they go before data
	pinged  bool   // a PONG is owed
	pong    uint64 // for this PING; it answers for earlier ones
	pinging bool   // a PING of this side waits
	ping    uint64 // its number
	asking  bool   // current holds a PING
	asked   pingTimes
	figures *writeFigures // nil: nobody wants any; set before anything is sent

	segments []segment // data that waits, but for chunks; the first is next
	open     bool      // the last segment may take more small frames
	small    lane      // bounds them
	accepted uint64    // bytes of them ever accepted
	reach    uint64    // bytes of them that the kernel may have taken

	chunked bool    // the peer takes chunks
	large   lane    // bounds what bulks holds
	bulks   bulkSet // large bodies, which leave in chunks

	current segment // being written; its buffer is nil between segments
	kind    kind    // of current
	writing int     // bytes of it that a write is about

	head []byte // scratch for push

	written written
}

// kind says what a segment holds.
type kind uint8

const (
	control kind = iota
	frames
	chunk
)

// rawWriter hands over as much of b as is taken at once, possibly nothing, and
// never blocks. It is a [rawConn], but in tests.
type rawWriter interface {
	write(b []byte) (int, error)
}

// segment is a run of whole frames. from is how much of it was handed over, or is
// no part of it; to is where it ends, set when its turn has come.
type segment struct {
	*buffer
	from, to int
}

func (o *outbox) init(nc net.Conn, raw *rawConn, limit int, timeout time.Duration, fail func(error)) {
	o.nc, o.timeout, o.fail = nc, timeout, fail
	o.small.limit, o.large.limit = limit, limit
	if raw != nil { // or the interface would hold a nil pointer and not be nil
		o.raw = raw
	}
	o.quiet.L = &o.mu
}

// outgoing is a data frame on its way out.
type outgoing struct {
	wire.Header // but for the lengths

	// payload holds headroom free bytes, the frame's metadata, its body. It belongs
	// to the outbox from send on, whatever send returns.
	payload  *buffer
	metadata int      // bytes of metadata
	assigner assigner // nil: the header is complete

	wait     bool      // wait for room under the context; otherwise exceed the limit, or errQueueFull
	deadline time.Time // of waiting for room, beside the context's; zero: none
	waited   bool      // set by send: it did wait
	large    bool      // set by send: the body leaves in chunks
	flush    bool      // flush now; otherwise with the next flush or kick
	yield    bool      // let others append first
}

// assigner completes a frame when its place in the stream is known, under the
// outbox's lock: it sets the id, and appends fields that go before the payload's
// metadata to head.
type assigner interface {
	assign(f *outgoing, head []byte, position uint64) ([]byte, error)
}

// send queues a data frame. Errors: why the connection ended, the context's error
// while waiting for room, errQueueFull, and what assign returned. After an error
// no byte of the frame was or will be written.
func (o *outbox) send(ctx context.Context, f *outgoing) error {
	o.mu.Lock()
	l := &o.small
	if f.large = o.cuts(f); f.large {
		l = &o.large
	}
	promised := wire.HeaderSize + len(f.payload.b)
	err := o.reserve(ctx, l, promised, f)
	if err == nil {
		l.queued -= promised // push knows better
		err = o.push(f)
	}
	o.small.grant()
	o.large.grant()
	if err != nil {
		o.mu.Unlock()
		f.payload.release()
		return err
	}
	if !f.flush || o.flushing {
		o.mu.Unlock()
		return nil
	}
	o.flushing = true
	yield := f.yield && o.small.queued+o.large.queued < yieldBelow
	o.mu.Unlock()
	if yield {
		runtime.Gosched()
	}
	o.flush()
	return nil
}

// push appends a frame to the queue. mu is held.
func (o *outbox) push(f *outgoing) error {
	payload := f.payload.b[headroom:]
	body := uint32(len(payload) - f.metadata)
	head := append(o.head[:0], make([]byte, wire.HeaderSize)...)
	if f.assigner != nil {
		var err error
		if head, err = f.assigner.assign(f, head, o.accepted); err != nil {
			return err
		}
	}
	if f.large { // the body goes on its own
		f.Flags |= wire.FlagMore
		head = wire.AppendWhole(head, body)
		payload, body = payload[:f.metadata], 0
	}
	o.head = head
	f.Metadata, f.Body = uint32(len(head)-wire.HeaderSize+f.metadata), body
	wire.PutHeader(head, f.Header)
	size := len(head) + len(payload)
	o.accepted += uint64(size)
	o.small.queued += size
	o.written.frames++
	switch {
	case size <= copyLimit:
		s := o.room(size)
		s.b = append(append(s.b, head...), payload...)
	case len(head) <= headroom && !f.large:
		from := headroom - len(head)
		copy(f.payload.b[from:], head)
		o.segments, o.open = append(o.segments, segment{buffer: f.payload, from: from}), false
		return nil
	default: // long names do not fit in front; a method's first call only
		whole := newBuffer(size)
		whole.b = append(append(whole.b, head...), payload...)
		o.segments, o.open = append(o.segments, segment{buffer: whole}), false
	}
	if f.large {
		b := &bulk{buffer: f.payload, id: f.ID, from: headroom + f.metadata, after: o.accepted}
		o.large.queued += b.left()
		o.bulks.behind = append(o.bulks.behind, b)
		return nil
	}
	f.payload.release()
	return nil
}

// room returns the segment that takes size more bytes of small frames. mu is held.
func (o *outbox) room(size int) *buffer {
	if o.open {
		if last := o.segments[len(o.segments)-1]; len(last.b)+size <= segmentSize {
			return last.buffer
		}
	}
	s := newBuffer(segmentSize)
	o.segments, o.open = append(o.segments, segment{buffer: s}), true
	return s
}

// kick flushes what was queued without a flush.
func (o *outbox) kick() {
	o.mu.Lock()
	if o.flushing || o.idle() {
		o.mu.Unlock()
		return
	}
	o.flushing = true
	o.mu.Unlock()
	o.flush()
}

// idle reports that there is nothing to write, or no sense in it. mu is held.
func (o *outbox) idle() bool {
	return o.err != nil || o.current.buffer == nil && len(o.control) == 0 && !o.pinged && !o.pinging && len(o.segments) == 0 && len(o.bulks.ring) == 0
}

// flush writes until nothing is left, the kernel takes no more, or others were
// served long enough; then flushWaiting takes over. The caller has set flushing
// and does not hold mu.
func (o *outbox) flush() {
	o.mu.Lock()
	for round := 0; o.raw != nil && round < flushRounds && !o.idle(); round++ {
		bytes := o.next()
		o.mu.Unlock()
		n, err := o.raw.write(bytes)
		o.mu.Lock()
		o.wrote(n)
		if err != nil {
			o.rest(err)
			return
		}
		if n == 0 {
			break
		}
	}
	if o.idle() {
		o.rest(nil)
		return
	}
	o.flushers.Go(o.flushWaiting)
	o.mu.Unlock()
}

// flushWaiting is flush in a goroutine of its own, which waits for the kernel.
func (o *outbox) flushWaiting() {
	o.mu.Lock()
	for !o.idle() {
		bytes := o.next()
		start := time.Now()
		_ = o.nc.SetWriteDeadline(start.Add(o.timeout)) // for this write alone: who takes a quantum in that time is slow, but not dead
		o.mu.Unlock()
		n, err := o.nc.Write(bytes)
		o.figures.waited(time.Since(start))
		o.mu.Lock()
		o.wrote(n)
		if err != nil {
			o.rest(err)
			return
		}
	}
	if o.err == nil {
		_ = o.nc.SetWriteDeadline(time.Time{})
	}
	o.rest(nil)
}

// next returns the bytes to write now: what is left of the current segment, or the
// control frames, or a segment and a chunk by turns. The outbox is not idle, and
// wrote follows. mu is held.
func (o *outbox) next() []byte {
	switch {
	case o.current.buffer != nil:
	case len(o.control) > 0 || o.pinged || o.pinging:
		b := newBuffer(len(o.control) + 2*wire.HeaderSize)
		b.b = append(b.b, o.control...) // HELLO may be among them, which nothing overtakes
		if o.pinged {
			b.b = wire.AppendHeader(b.b, wire.Header{Type: wire.Pong, ID: o.pong})
			o.written.frames++
		}
		if o.pinging {
			b.b = wire.AppendHeader(b.b, wire.Header{Type: wire.Ping, ID: o.ping})
			o.written.frames++
			o.pinging, o.asking = false, true
			o.asked.writing = o.asked.queued
		}
		if o.control = o.control[:0]; cap(o.control) > fewControl { // such as HELLO, which comes once
			o.control = nil
		}
		o.pinged, o.pong = false, 0
		o.current, o.kind = segment{b, 0, len(b.b)}, control
	case len(o.bulks.ring) > 0 && (o.bulks.turn || len(o.segments) == 0):
		o.current, o.kind = o.bulks.next(), chunk
		o.written.frames++
	default:
		o.current, o.kind = o.segments[0], frames
		o.current.to = len(o.current.b)
		o.segments = slices.Delete(o.segments, 0, 1)
		o.open = o.open && len(o.segments) > 0
		o.bulks.turn = true
	}
	rest := o.current.b[o.current.from:o.current.to]
	rest = rest[:min(len(rest), quantum)]
	if o.writing = len(rest); o.kind == frames {
		o.reach += uint64(o.writing) // until wrote knows better
	}
	return rest
}

// wrote counts what a write handed over. mu is held.
func (o *outbox) wrote(n int) {
	o.current.from += n
	o.written.add(n)
	switch o.kind {
	case frames:
		o.reach -= uint64(o.writing - n)
		o.small.queued -= n
		o.small.grant()
	case chunk:
		o.large.queued -= n
		o.large.grant()
	}
	if o.current.from < o.current.to {
		return
	}
	if o.kind == chunk {
		o.bulks.wrote()
	} else {
		o.current.release()
	}
	if o.kind == control && o.asking {
		o.asking = false
		o.figures.pinged(time.Since(o.asked.writing))
	}
	o.current = segment{}
	o.bulks.follow(o.reach)
}

// rest ends a flush, with what broke it. mu is held and released.
func (o *outbox) rest(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errWriteStalled
	}
	if err == nil && o.err == nil {
		err = o.last
	}
	if o.err == nil {
		o.err = err // a torn frame must not be followed by another one
	}
	o.flushing = false
	o.quiet.Broadcast()
	o.mu.Unlock()
	if err != nil {
		o.fail(err)
	}
}

// append queues a frame without payload behind all data, whether there is room or
// not. mu is held.
func (o *outbox) append(h wire.Header) {
	s := o.room(wire.HeaderSize)
	s.b = wire.AppendHeader(s.b, h)
	o.accepted += wire.HeaderSize
	o.small.queued += wire.HeaderSize
	o.written.frames++
}

// sent says whether the kernel may have taken bytes of the frame at position.
func (o *outbox) sent(position uint64) spi.Sent {
	o.mu.Lock()
	defer o.mu.Unlock()
	if position < o.reach {
		return spi.SentMaybe
	}
	return spi.SentNo
}

// cancel queues a CANCEL for the request at position, behind it, and returns
// whether the request may have been sent or, because it still waits, will be.
func (o *outbox) cancel(id, position uint64) spi.Sent {
	header := wire.Header{Type: wire.Cancel, ID: id}
	o.mu.Lock()
	sent := spi.SentMaybe
	switch {
	case o.err != nil: // nothing more is written
		if position >= o.reach {
			sent = spi.SentNo
		}
	case position < o.reach: // written, or being written: control goes after it
		o.control = wire.AppendHeader(o.control, header)
		o.written.frames++
	default:
		o.append(header)
	}
	o.drop(id)
	o.mu.Unlock()
	o.kick()
	return sent
}

// finish ends the connection with cause when everything that waits is written. It
// does not wait for that.
func (o *outbox) finish(cause error) {
	o.mu.Lock()
	o.last = cause
	over := !o.flushing && o.idle()
	o.mu.Unlock()
	if over {
		o.fail(cause)
		return
	}
	o.kick()
}

// farewell flushes what waits and returns when it is written, or the connection
// has failed, or the time for last words is over.
func (o *outbox) farewell() {
	o.kick()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timeout = min(o.timeout, farewellTimeout)
	_ = o.nc.SetWriteDeadline(time.Now().Add(o.timeout)) // of a write that waits already
	for o.flushing {
		o.quiet.Wait()
	}
}

// close stops the outbox for good: it waits until nobody writes, drops what waits
// and releases senders that wait for room. From then on reach is final. The
// connection is closed already, so a blocked write returns. It returns how many bytes
// of data were dropped.
func (o *outbox) close(cause error) (queued int) {
	o.mu.Lock()
	if o.err == nil {
		o.err = cause
	}
	for o.flushing {
		o.quiet.Wait()
	}
	queued = o.small.queued + o.large.queued
	o.small.close()
	o.large.close()
	if o.kind != chunk { // or bulks has the buffer
		o.current.release()
	}
	for _, s := range o.segments {
		s.release()
	}
	o.bulks.close()
	o.current, o.segments, o.open, o.control = segment{}, nil, false, nil
	o.pinging, o.asking = false, false
	o.mu.Unlock()
	o.flushers.Wait()
	return queued
}
