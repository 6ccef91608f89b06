package core

import (
	"io"
	"net"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// readBuffer is how much one read may bring. 4 KiB costs a third of the
// throughput, 16 to 64 KiB are within a tenth of each other.
const readBuffer = 64 << 10

// frameReader cuts a connection into frames. It holds memory only while there are
// unread bytes, so an idle connection costs a goroutine and no buffer, and a small
// one while a small part of a frame waits for the rest. One goroutine uses it.
type frameReader struct {
	nc  net.Conn
	raw *rawConn // nil: no descriptor

	limits Limits

	buf  *buffer // nil: no unread bytes
	r, w int     // unread bytes are buf.b[r:w]

	take func() []byte // what raw calls back, stored once
	drop func()

	first [wire.HeaderSize]byte // what waits for the next bytes where there is no raw
}

func newFrameReader(nc net.Conn, raw *rawConn, limits Limits) *frameReader {
	r := &frameReader{nc: nc, raw: raw, limits: limits}
	r.take, r.drop = r.room, r.shrink
	return r
}

// frame is one frame as read. payload is metadata and body. It is a view, valid
// until the next frame is read, unless owned is set: then the payload lies in a
// buffer that now belongs to the receiver.
type frame struct {
	wire.Header
	payload []byte
	owned   *buffer
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

// next returns the next frame. Errors: those of [wire.ParseHeader], errTooLarge,
// and of the connection; io.EOF only between frames.
func (r *frameReader) next() (frame, error) {
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
	f.owned = newBuffer(size)
	n := copy(f.owned.b[:size], r.buf.b[r.r:r.w])
	r.r += n // that was all: the frame is larger than the buffer
	r.release()
	if _, err := io.ReadFull(r.nc, f.owned.b[n:size]); err != nil {
		f.owned.release()
		return frame{}, noEOF(err)
	}
	f.owned.b = f.owned.b[:size]
	f.payload = f.owned.b
	return f, nil
}

// more reports whether a whole frame is already here, so that the next call of
// next does not wait.
func (r *frameReader) more() bool {
	unread := r.w - r.r
	return unread >= wire.HeaderSize && int64(unread) >= wire.FrameSize(r.buf.b[r.r:r.w])
}

// fill reads until at least n bytes, at most readBuffer, are unread.
func (r *frameReader) fill(n int) error {
	for r.w-r.r < n {
		if r.buf != nil && r.r > 0 && r.r+n > readBuffer {
			r.w = copy(r.buf.b[:readBuffer], r.buf.b[r.r:r.w])
			r.r = 0
		}
		if err := r.read(); err != nil {
			return err
		}
	}
	return nil
}

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
	return err
}

// readPlain is read where Read must be given memory before there is data.
func (r *frameReader) readPlain() error {
	into := r.first[:]
	if r.buf != nil {
		into = r.room()
	}
	n, err := r.nc.Read(into)
	if n == 0 {
		return err
	}
	if r.buf == nil {
		copy(r.room(), into[:n])
	}
	r.w += n
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

// shrink holds as little as possible while there is nothing to read: who sends one
// byte and waits must not cost a whole buffer.
func (r *frameReader) shrink() {
	r.release()
	if r.buf != nil && r.w-r.r <= smallest && cap(r.buf.b) >= readBuffer {
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

// noEOF is for an end in the middle of a frame.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
