package core

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// pieces is a net.Conn that brings its bytes piece by piece, one with every Read,
// and then err.
type pieces struct {
	net.Conn // nil: a frameReader only reads
	left     [][]byte
	err      error
	waits    func() // called before each piece: there is nothing to read right now

	deadlines int // how often one was set or lifted
}

// SetReadDeadline implements [net.Conn].
func (p *pieces) SetReadDeadline(time.Time) error {
	p.deadlines++
	return nil
}

// Read implements [net.Conn].
func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, p.err
	}
	if p.waits != nil {
		p.waits()
	}
	n := copy(b, p.left[0])
	if p.left[0] = p.left[0][n:]; len(p.left[0]) == 0 {
		p.left = p.left[1:]
	}
	return n, nil
}

// cutAt cuts b into pieces at the given places.
func cutAt(b []byte, places ...int) [][]byte {
	var all [][]byte
	from := 0
	for _, to := range append(slices.Sorted(slices.Values(places)), len(b)) {
		if to > from && to <= len(b) {
			all = append(all, b[from:to])
			from = to
		}
	}
	return all
}

// every cuts b into pieces of n bytes.
func every(b []byte, n int) [][]byte { return slices.Collect(slices.Chunk(b, n)) }

// told is a frame that was read, or that should have been.
type told struct {
	wire.Header
	payload []byte
	owned   bool
}

// readAll reads until an error, and gives back what it owns.
func readAll(r *frameReader) (all []told, err error) {
	for {
		f, err := r.next()
		if err != nil {
			r.close()
			return all, err
		}
		all = append(all, told{f.Header, slices.Clone(f.payload), f.owned != nil})
		f.owned.release()
	}
}

// expected reads the same from one piece, in the simplest way.
func expected(b []byte, limits Limits, end error) (all []told, err error) {
	for {
		if len(b) == 0 {
			return all, end
		}
		if len(b) < wire.HeaderSize {
			return all, noEOF(end)
		}
		h, err := wire.ParseHeader(b)
		if err != nil {
			return all, err
		}
		metadata, message := int64(h.Metadata), int64(h.Metadata)+int64(h.Body)
		if metadata > int64(limits.Metadata) || message > int64(limits.Message) {
			return all, errTooLarge
		}
		if b = b[wire.HeaderSize:]; int64(len(b)) < message {
			return all, noEOF(end)
		}
		all = append(all, told{h, b[:message], wire.HeaderSize+message > readBuffer})
		b = b[message:]
	}
}

// compare reads the pieces in both forms and compares with what it should be.
func compare(t *testing.T, b []byte, cut [][]byte, limits Limits, end error) {
	t.Helper()
	want, wantErr := expected(b, limits, end)
	for _, form := range readerForms {
		l := openLedger(t)
		reader, closeForm := form.open(t, cut, limits, end)
		got, err := readAll(reader)
		closeForm()
		l.settle()
		if !errors.Is(err, wantErr) {
			t.Errorf("%s, %d bytes in %d pieces: got error %v, want %v", form.name, len(b), len(cut), err, wantErr)
		}
		if len(got) != len(want) {
			t.Errorf("%s, %d bytes in %d pieces: got %d frames, want %d", form.name, len(b), len(cut), len(got), len(want))
			continue
		}
		for i := range want {
			if got[i].Header != want[i].Header || got[i].owned != want[i].owned || !bytes.Equal(got[i].payload, want[i].payload) {
				t.Errorf("%s, %d bytes in %d pieces, frame %d: got %+v (owned %v) with %.20x, want %+v (owned %v) with %.20x", form.name, len(b), len(cut), i,
					got[i].Header, got[i].owned, got[i].payload, want[i].Header, want[i].owned, want[i].payload)
			}
		}
	}
}

// readerForm opens a frameReader over pieces. Where the pieces come singly it
// fails the test if the reader waits for one with a buffer in its hands.
type readerForm struct {
	name string
	open func(t testing.TB, cut [][]byte, limits Limits, end error) (*frameReader, func())
}

var readerForms = append(rawForms(), readerForm{"plain", openPlain})

func openPlain(t testing.TB, cut [][]byte, limits Limits, end error) (*frameReader, func()) {
	p := &pieces{left: slices.Clone(cut), err: end}
	r := newFrameReader(p, nil, limits)
	p.waits = func() { checkIdle(t, r) }
	return r, func() {}
}

// checkIdle: who waits without unread bytes holds no memory, and with few little.
func checkIdle(t testing.TB, r *frameReader) {
	switch unread := r.w - r.r; {
	case r.buf == nil:
	case unread == 0:
		t.Error("got a buffer held while waiting with nothing unread, want none")
	case unread < smallest && cap(r.buf.b) >= readBuffer:
		t.Errorf("got a buffer of %d bytes held while %d wait for the rest, want a small one", cap(r.buf.b), unread)
	}
}

// appendFrame appends a frame whose payload is recognizable.
func appendFrame(b []byte, id uint64, metadata, body int) []byte {
	b = wire.AppendHeader(b, wire.Header{Type: wire.Response, ID: id, Metadata: uint32(metadata), Body: uint32(body)})
	return append(b, letterBytes(int(id), metadata+body)...)
}

func TestFrameReaderCuts(t *testing.T) {
	var b []byte
	for i, size := range []int{0, 1, 0, 30, 200, 0, 7} {
		b = appendFrame(b, uint64(i), size/3, size-size/3)
	}
	limits := DefaultLimits()
	for at := range len(b) + 1 {
		compare(t, b, cutAt(b, at), limits, io.EOF)
		compare(t, b[:at], every(b[:at], max(at, 1)), limits, io.EOF) // ends there
	}
	for n := 1; n < 80; n++ {
		compare(t, b, every(b, n), limits, io.EOF)
	}
}

func TestFrameReaderSizes(t *testing.T) {
	sizes := []int{0, 1, readBuffer - wire.HeaderSize - 1, readBuffer - wire.HeaderSize, readBuffer - wire.HeaderSize + 1,
		readBuffer - 1, readBuffer, readBuffer + 1, 3*readBuffer - 1, 3 * readBuffer}
	random := rand.New(rand.NewPCG(1, 2))
	for _, first := range sizes {
		for _, second := range sizes {
			b := appendFrame(nil, 1, min(first, 5), first-min(first, 5))
			edge := len(b)
			b = appendFrame(b, 2, 0, second)
			b = appendFrame(b, 3, 0, 9)
			limits := DefaultLimits()
			compare(t, b, every(b, readBuffer), limits, io.EOF)
			compare(t, b, every(b, 1+random.IntN(3*readBuffer)), limits, io.EOF)
			compare(t, b, cutAt(b, edge-1, edge, edge+1, edge+wire.HeaderSize, random.IntN(len(b))), limits, io.EOF)
			cut := b[:random.IntN(len(b))]
			compare(t, cut, every(cut, 1+random.IntN(readBuffer)), limits, io.EOF)
		}
	}
}

func TestFrameReaderLimits(t *testing.T) {
	limits := Limits{Message: 100_000, Metadata: 2000}
	for _, test := range []struct {
		name           string
		metadata, body uint32
		want           error
	}{
		{"as much as allowed", 2000, 98_000, io.ErrUnexpectedEOF},
		{"one byte too many", 0, 100_001, errTooLarge},
		{"one byte too many, with metadata", 2000, 98_001, errTooLarge},
		{"one byte of metadata too many", 2001, 0, errTooLarge},
		{"4 GiB", 0, 1<<32 - 1, errTooLarge},
		{"4 GiB of metadata", 1<<32 - 1, 0, errTooLarge},
		{"a sum of a little over 32 bits", 2000, 1<<32 - 1000, errTooLarge},
		{"more than 32 bits", 1<<32 - 1, 1<<32 - 1, errTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			largest := 0
			traceBuffer = func(b *buffer, taken bool) { largest = max(largest, cap(b.b)) }
			defer func() { traceBuffer = nil }()
			b := wire.AppendHeader(nil, wire.Header{Type: wire.Response, Metadata: test.metadata, Body: test.body})
			reader, closeForm := openPlain(t, [][]byte{b}, limits, io.EOF)
			defer closeForm()
			_, err := readAll(reader)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if test.want == errTooLarge && largest > readBuffer {
				t.Errorf("got a buffer of %d bytes, want none beyond %d", largest, readBuffer)
			}
		})
	}
}

// A message beyond the limits is skipped, with nothing kept but metadata that is
// within them, however it is cut.
func TestFrameReaderSkips(t *testing.T) {
	limits := Limits{Message: 100_000, Metadata: 2000}
	b := appendFrame(nil, 1, 3, 5)
	b = appendFrame(b, 2, 7, 300_000)
	b = appendFrame(b, 3, 2001, 40)
	b = appendFrame(b, 4, 0, 100_001)
	b = appendFrame(b, 5, 0, 99_000)
	b = appendFrame(b, 6, 2001, 0)
	want := []string{"1: 8", "2: 7, skipped", "3: 0, skipped", "4: 0, skipped", "5: 99000", "6: 0, skipped"}
	for _, cut := range [][][]byte{every(b, len(b)), every(b, 7777), every(b, readBuffer), cutAt(b, 30, 40, 60, 70_000)} {
		for _, form := range readerForms {
			l := openLedger(t)
			r, closeForm := form.open(t, cut, limits, io.EOF)
			r.skips = true
			var got []string
			for {
				f, err := r.next()
				if err != nil {
					if err != io.EOF {
						t.Errorf("%s, %d pieces: got %v, want the end", form.name, len(cut), err)
					}
					break
				}
				text := fmt.Sprintf("%d: %d", f.ID, len(f.payload))
				if f.over {
					text += ", skipped"
				}
				if !bytes.Equal(f.payload, letterBytes(int(f.ID), len(f.payload))) {
					t.Errorf("%s, %d pieces, frame %d: got other bytes", form.name, len(cut), f.ID)
				}
				got = append(got, text)
				f.owned.release()
			}
			r.close()
			closeForm()
			l.settle()
			if !slices.Equal(got, want) {
				t.Errorf("%s, %d pieces: got %q, want %q", form.name, len(cut), got, want)
			}
		}
	}
}

// What is skipped costs no memory, and what is too large, or no message, is not
// skipped.
func TestFrameReaderSkipsNoMoreThan(t *testing.T) {
	limits := Limits{Message: 100_000, Metadata: 2000}
	for _, test := range []struct {
		name           string
		typ            wire.Type
		metadata, body uint32
		want           error
	}{
		{"as much as is skipped", wire.Request, 0, mostSkipped, io.ErrUnexpectedEOF},
		{"one byte more", wire.Request, 0, mostSkipped + 1, errTooLarge},
		{"one byte more, with metadata", wire.Error, mostSkipped, 1, errTooLarge},
		{"more than 32 bits", wire.Response, 1<<32 - 1, 1<<32 - 1, errTooLarge},
		{"of a later version", 99, 0, mostSkipped, io.ErrUnexpectedEOF},
		{"a ping", wire.Ping, 0, 100_001, errTooLarge},
		{"a chunk", wire.Chunk, 0, 100_001, errTooLarge},
		{"a chunk above 64 KiB", wire.Chunk, 0, mostChunk + 1, errTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			largest := 0
			traceBuffer = func(b *buffer, taken bool) { largest = max(largest, cap(b.b)) }
			defer func() { traceBuffer = nil }()
			b := wire.AppendHeader(nil, wire.Header{Type: test.typ, Metadata: test.metadata, Body: test.body})
			r, closeForm := openPlain(t, [][]byte{b, make([]byte, 1000)}, limits, io.EOF)
			defer closeForm()
			r.skips = true
			if _, err := readAll(r); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if largest > readBuffer {
				t.Errorf("got a buffer of %d bytes, want none beyond %d", largest, readBuffer)
			}
		})
	}
}

// Memory for a large frame grows with what has come of it.
func TestFrameReaderGrows(t *testing.T) {
	for _, tt := range []struct{ came, most int }{{0, readBuffer}, {1, readBuffer}, {readBuffer - 1, readBuffer}, {100_000, 256 << 10}} {
		largest := 0
		traceBuffer = func(b *buffer, taken bool) { largest = max(largest, cap(b.b)) }
		b := wire.AppendHeader(nil, wire.Header{Type: wire.Response, Body: 10 << 20})
		r, closeForm := openPlain(t, every(append(b, make([]byte, tt.came)...), 1000), DefaultLimits(), io.EOF)
		if _, err := readAll(r); err != io.ErrUnexpectedEOF {
			t.Errorf("%d bytes of 10 MiB: got %v, want %v", tt.came, err, io.ErrUnexpectedEOF)
		}
		closeForm()
		traceBuffer = nil
		if largest > tt.most {
			t.Errorf("%d bytes of 10 MiB: got a buffer of %d, want no more than %d", tt.came, largest, tt.most)
		}
	}
}

// A frame that comes at once needs no deadline; a slow one needs one, however many
// pieces it comes in.
func TestFrameReaderSetsFewDeadlines(t *testing.T) {
	b := appendFrame(nil, 1, 3, 50)
	whole := bytes.Repeat(b, 10)
	for _, form := range readerForms {
		for _, test := range []struct {
			name string
			cut  [][]byte
			want int // set and lifted
		}{
			{"whole", every(whole, len(b)), 0},
			{"together", every(whole, len(whole)), 0},
			{"byte by byte", every(whole, 1), 20},
		} {
			r, closeForm := form.open(t, test.cut, DefaultLimits(), io.EOF)
			r.slack = time.Minute
			if got, err := readAll(r); len(got) != 10 || err != io.EOF {
				t.Errorf("%s, %s: got %d frames, %v, want 10", form.name, test.name, len(got), err)
			}
			got := r.nc.(interface{ calls() int }).calls()
			if form.name == "plain" && test.want == 0 { // it cannot know that the rest is there
				test.want = min(got, 20)
			}
			if got != test.want {
				t.Errorf("%s, %s: got %d deadlines set or lifted, want %d", form.name, test.name, got, test.want)
			}
			closeForm()
		}
	}
}

func (p *pieces) calls() int { return p.deadlines }

// The second frame ends where the buffer does, or nearly.
func TestFrameReaderEndOfBuffer(t *testing.T) {
	for _, first := range []int{0, 1, 1000, readBuffer / 2} {
		for end := readBuffer - 2; end <= readBuffer+2; end++ {
			b := appendFrame(nil, 1, 0, first)
			b = appendFrame(b, 2, 0, end-wire.HeaderSize-len(b))
			b = appendFrame(b, 3, 0, 9)
			compare(t, b, every(b, readBuffer), DefaultLimits(), io.EOF)
			compare(t, b, every(b, readBuffer-1), DefaultLimits(), io.EOF)
		}
	}
}

// more says whether the next frame is here, for every amount of bytes.
func TestFrameReaderMore(t *testing.T) {
	b := appendFrame(appendFrame(nil, 1, 2, 3), 2, 4, 5)
	first := int(wire.FrameSize(b))
	for n := first; n <= len(b); n++ {
		reader, closeForm := openPlain(t, every(b[:n], n), DefaultLimits(), io.EOF)
		for range 2 { // a plain reader may take the first bytes by themselves
			if reader.w < n {
				_ = reader.read()
			}
		}
		if _, err := reader.next(); err != nil {
			t.Fatal(err)
		}
		if got, want := reader.more(), n == len(b); got != want {
			t.Errorf("%d bytes of %d: got %v, want %v", n, len(b), got, want)
		}
		reader.close()
		closeForm()
	}
}

// A deadline that has passed ends the wait, and nothing else.
func TestFrameReaderDeadline(t *testing.T) {
	for _, test := range []struct {
		name string
		pair func(t *testing.T) (a, b net.Conn)
	}{{"tcp", tcpPair}, {"pipe", func(*testing.T) (a, b net.Conn) { return net.Pipe() }}} {
		t.Run(test.name, func(t *testing.T) {
			a, b := test.pair(t)
			defer a.Close()
			defer b.Close()
			r := newFrameReader(a, newRawConn(a), DefaultLimits())
			defer r.close()
			if err := a.SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.next(); !isTimeout(err) {
				t.Errorf("got %v, want a timeout", err)
			}
			if err := a.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			go b.Write(appendFrame(nil, 7, 0, 3))
			if f, err := r.next(); err != nil || f.ID != 7 {
				t.Errorf("after the deadline was lifted: got frame %d, %v, want 7", f.ID, err)
			}
		})
	}
}

// tcpPair returns two ends of a connection over the loopback.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func FuzzFrameReader(f *testing.F) {
	var b []byte
	for i, size := range []int{0, 40, 3} {
		b = appendFrame(b, uint64(i), size/3, size-size/3)
	}
	f.Add(b, uint16(1), uint16(30))
	f.Add(b[:40], uint16(7), uint16(0))
	f.Add(appendFrame(nil, 1, 0, 70_000), uint16(1000), uint16(65_530))
	f.Fuzz(func(t *testing.T, b []byte, n, at uint16) {
		limits := Limits{Message: 1 << 20, Metadata: 1 << 16}
		compare(t, b, every(b, int(n)+1), limits, io.EOF)
		compare(t, b, cutAt(b, int(at)), limits, io.EOF)
	})
}
