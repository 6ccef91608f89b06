package core

import (
	"io"
	"net"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// readBuffer is how much one read may bring. 4 KiB costs a third of the
// throughput, 16 to 64 KiB are within a tenth of each other.
const readBuffer = 64 << 10

// mostChunk is the most of a body that one chunk may hold, in bytes.
const mostChunk = 64 << 10

// minRate is what a frame must bring to be waited for beyond its time, in bytes per
// second.
const minRate = 4 << 10

// frameReader cuts a connection into frames. It holds memory only while there are
// unread bytes, so an idle connection costs a goroutine and no buffer, and a small
// one while a small part of a frame waits for the rest. One goroutine uses it.
type frameReader struct {
	nc  net.Conn
	raw *rawConn // nil: no descriptor

	limits messageLimits
	skips  bool          // messages beyond the limits are skipped, up to mostSkipped
	slack  time.Duration // a frame that has begun must be whole within it; 0: whenever

	armed bool // the connection has a deadline for the frame being read
	came  int  // bytes since then

	collecting func() bool // bodies in chunks are not whole, so that the next frame is due; nil: never

	buf  *buffer // nil: no unread bytes
	r, w int     // unread bytes are buf.b[r:w]

	take func() []byte // what raw calls back, stored once
	drop func()

	first [wire.HeaderSize]byte // what waits for the next bytes where there is no raw

	traffic traffic
	part    int    // bytes of the frame being read since its last sign of life
	alive   func() // called when such a sign was counted; nil: nobody listens
}

// messageLimits are those of one message.
type messageLimits struct{ Message, Metadata spi.Size }

func newFrameReader(nc net.Conn, raw *rawConn, limits Limits) *frameReader {
	r := &frameReader{nc: nc, raw: raw, limits: messageLimits{limits.Message, limits.Metadata}, traffic: traffic{since: time.Now()}}
	r.take, r.drop = r.room, r.wait
	return r
}

// frame is one frame as read. payload is metadata and body. It is a view, valid
// until the next frame is read, unless owned is set: then the payload lies in a
// buffer that now belongs to the receiver.
type frame struct {
	wire.Header
	payload []byte
	owned   *buffer

	// over: the message is beyond the limits and was skipped. payload is its metadata
	// if that is not, and nil otherwise.
	over bool
}

func (f *frame) metadata() []byte { return f.payload[:f.Metadata:f.Metadata] }
func (f *frame) body() []byte     { return f.payload[f.Metadata:] }

// keep returns the payload in a buffer that belongs to the caller.
func (f *frame) keep() *buffer {
	if f.owned != nil {
		return f.owned
	}
	b := newBuffer(len(f.payload))
	b.b = append(b.b, f.payload...)
	return b
}

// resting reports, once, that all was read of what came after a rest, so that another
// rest is likely. Where reading itself takes much stack it is never reported.
func (r *frameReader) resting() bool {
	if !r.traffic.rested || r.r < r.w {
		return false
	}
	r.traffic.rested = false
	return r.raw != nil
}

// await waits for the next bytes. A connection at rest waits here, where little stack
// is in use. Errors: those of next.
func (r *frameReader) await() error {
	r.disarm()
	return r.fill(1)
}

// next returns the next frame. Errors: those of [wire.ParseHeader], errTooLarge,
// errFrameStalled, and of the connection; io.EOF only between frames.
func (r *frameReader) next() (frame, error) {
	r.disarm()
	r.part = 0
	if err := r.fill(wire.HeaderSize); err != nil {
		if err == io.EOF && r.w > r.r {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	h, err := wire.ParseHeader(r.buf.b[r.r:r.w])
	if err != nil {
		return frame{}, err
	}
	if int64(h.Metadata) > int64(r.limits.Metadata) || int64(h.Metadata)+int64(h.Body) > int64(r.limits.Message) {
		return r.skip(h)
	}
	if h.Type == wire.Chunk && h.Body > mostChunk {
		return frame{Header: h}, errTooLarge
	}
	size := int(h.Metadata) + int(h.Body)
	f := frame{Header: h}
	if wire.HeaderSize+size <= readBuffer {
		if err := r.fill(wire.HeaderSize + size); err != nil {
			return frame{}, noEOF(err)
		}
		f.payload = r.buf.b[r.r+wire.HeaderSize : r.r+wire.HeaderSize+size]
		r.r += wire.HeaderSize + size
		return f, nil
	}
	r.r += wire.HeaderSize
	if f.owned, err = r.own(size); err != nil {
		return frame{}, noEOF(err)
	}
	f.payload = f.owned.b
	return f, nil
}

// skip reads a message beyond the limits and keeps its metadata only, which may
// define a method.
func (r *frameReader) skip(h wire.Header) (frame, error) {
	f := frame{Header: h, over: true}
	switch h.Type {
	case wire.Hello, wire.Cancel, wire.Ping, wire.Pong, wire.GoAway, wire.Chunk:
		return f, errTooLarge
	}
	metadata, rest := int(h.Metadata), int64(h.Body)
	if !r.skips || int64(h.Metadata)+rest > mostSkipped {
		return f, errTooLarge
	}
	if h.Metadata > uint32(r.limits.Metadata) {
		metadata, rest = 0, rest+int64(h.Metadata)
	}
	r.r += wire.HeaderSize
	var err error
	if metadata > 0 {
		if f.owned, err = r.own(metadata); err != nil {
			return frame{}, noEOF(err)
		}
		f.payload = f.owned.b
	}
	if err := r.discard(rest); err != nil {
		f.owned.release()
		return frame{}, noEOF(err)
	}
	return f, nil
}

// own returns the next size bytes in a buffer of their own. Memory grows with what
// has come.
func (r *frameReader) own(size int) (*buffer, error) {
	b := newBuffer(min(size, readBuffer))
	n := min(size, r.w-r.r)
	b.b = append(b.b, r.buf.b[r.r:r.r+n]...)
	r.r += n
	r.release()
	for have := n; have < size; have = len(b.b) {
		if have == cap(b.b) {
			b = b.grow(min(size-have, readBuffer), size)
		}
		n, err := r.readRest(b.b[have:min(cap(b.b), size)])
		b.b = b.b[:have+n]
		if err != nil && len(b.b) < size {
			b.release()
			return nil, err
		}
	}
	return b, nil
}

// discard reads n bytes and forgets them.
func (r *frameReader) discard(n int64) error {
	here := min(n, int64(r.w-r.r))
	r.r += int(here)
	r.release()
	if n -= here; n == 0 {
		return nil
	}
	b := newBuffer(readBuffer)
	defer b.release()
	for n > 0 {
		got, err := r.readRest(b.b[:min(n, readBuffer)])
		if n -= int64(got); err != nil && n > 0 {
			return err
		}
	}
	return nil
}

// readRest reads into b in the middle of a frame. It may return neither bytes nor an
// error.
func (r *frameReader) readRest(b []byte) (int, error) {
	r.arm()
	n, err := r.nc.Read(b)
	r.came += n
	r.traffic.add(n)
	r.advance(n)
	return n, r.late(err)
}

// advance counts bytes of a frame whose header was good: a peer that brings a large
// one is alive before it is whole.
func (r *frameReader) advance(n int) {
	if r.part += n; r.part < progress {
		return
	}
	r.part = 0
	r.traffic.noted++
	if r.traffic.count() && r.alive != nil {
		r.alive()
	}
}

// more reports whether a whole frame is already here, so that the next call of
// next does not wait.
func (r *frameReader) more() bool {
	unread := r.w - r.r
	return unread >= wire.HeaderSize && int64(unread) >= wire.FrameSize(r.buf.b[r.r:r.w])
}

// unread returns the bytes that were read and not used: a view, valid until more is
// read.
func (r *frameReader) unread() []byte {
	if r.buf == nil {
		return nil
	}
	return r.buf.b[r.r:r.w]
}

// fill reads until at least n bytes, at most readBuffer, are unread.
func (r *frameReader) fill(n int) error {
	for r.w-r.r < n {
		if r.buf != nil && r.r > 0 && r.r+n > readBuffer {
			r.w = copy(r.buf.b[:r.w], r.buf.b[r.r:r.w])
			r.r = 0
		}
		between := r.r == r.w
		have := r.w - r.r
		err := r.read()
		if n > wire.HeaderSize { // the header was good
			r.advance(r.w - r.r - have)
		}
		if between && (err == nil || isTimeout(err) && r.armed && !r.collects()) { // a frame begins, or none is due any more
			r.disarm()
			continue
		}
		if err := r.late(err); err != nil {
			return err
		}
	}
	return nil
}

func (r *frameReader) collects() bool { return r.collecting != nil && r.collecting() }

// read waits for data once.
func (r *frameReader) read() error {
	if r.buf != nil && r.r == r.w {
		r.release()
	}
	if r.raw == nil {
		return r.readPlain()
	}
	n, err := r.raw.readSome(r.take, r.drop)
	r.w += n
	r.came += n
	r.traffic.add(n)
	return err
}

// readPlain is read where Read must be given memory before there is data.
func (r *frameReader) readPlain() error {
	into := r.first[:]
	if r.buf != nil {
		into = r.littleRoom()
	}
	if r.buf != nil || r.collects() {
		r.arm()
	}
	n, err := r.nc.Read(into)
	if n == 0 {
		return err
	}
	if r.buf == nil {
		r.buf, r.r, r.w = newBuffer(smallest), 0, 0
		copy(r.buf.b[:n], into)
	}
	r.w += n
	r.came += n
	r.traffic.add(n)
	return nil
}

// room returns where the next bytes go; it takes a buffer if there is none.
func (r *frameReader) room() []byte {
	switch {
	case r.buf == nil:
		r.buf = newBuffer(readBuffer)
		r.r, r.w = 0, 0
	case cap(r.buf.b) < readBuffer:
		r.move(readBuffer)
	}
	return r.buf.b[r.w:readBuffer]
}

// littleRoom is room for who cannot tell whether there is data: as long as little has
// come, little memory waits for the rest.
func (r *frameReader) littleRoom() []byte {
	if r.w-r.r >= smallest {
		return r.room()
	}
	if r.r > 0 || cap(r.buf.b) >= readBuffer {
		r.move(smallest)
	}
	return r.buf.b[r.w:smallest]
}

// wait is called when there is no data: between frames memory is given back; within
// one its time begins, and who sends one byte and waits does not cost a whole buffer.
func (r *frameReader) wait() {
	if r.release(); r.buf == nil {
		if r.collects() {
			r.arm()
		}
		return
	}
	r.arm()
	if r.w-r.r <= smallest && cap(r.buf.b) >= readBuffer {
		r.move(smallest)
	}
}

// move puts what is unread into another buffer, which has room for size bytes.
func (r *frameReader) move(size int) {
	to := newBuffer(size)
	n := copy(to.b[:size], r.buf.b[r.r:r.w])
	r.buf.release()
	r.buf, r.r, r.w = to, 0, n
}

// release gives the buffer back if nothing in it is unread.
func (r *frameReader) release() {
	if r.r == r.w {
		r.close()
	}
}

// close gives the buffer back; what is unread is lost.
func (r *frameReader) close() {
	r.buf.release()
	r.buf, r.r, r.w = nil, 0, 0
}

// arm begins the time of a frame that is not whole yet, unless it has begun.
func (r *frameReader) arm() {
	if r.slack == 0 || r.armed {
		return
	}
	r.armed, r.came = true, 0
	_ = r.nc.SetReadDeadline(time.Now().Add(r.slack))
}

// disarm is for the time between frames, which nothing bounds.
func (r *frameReader) disarm() {
	if r.armed {
		r.armed = false
		_ = r.nc.SetReadDeadline(time.Time{})
	}
}

// late looks at the end of a frame's time: if it is long, and comes as it should, it
// gets as much time again.
func (r *frameReader) late(err error) error {
	if err == nil || !r.armed || !isTimeout(err) {
		return err
	}
	if r.came < int(minRate*r.slack.Seconds()) {
		return errFrameStalled
	}
	r.armed = false
	r.arm()
	return nil
}

// noEOF is for an end in the middle of a frame.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
