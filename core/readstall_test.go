package core

import (
	"net"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// A frame of which no more comes ends the connection, on a socket too.
func TestFrameReaderStalls(t *testing.T) {
	for _, test := range []struct {
		name  string
		bytes int
	}{{"in the header", 10}, {"in a small body", 50}, {"in a large body", 70_000}} {
		t.Run(test.name, func(t *testing.T) {
			a, b := tcpPair(t)
			defer a.Close()
			defer b.Close()
			r := newFrameReader(a, newRawConn(a), DefaultLimits())
			defer r.close()
			r.slack = 10 * time.Millisecond
			frame := append(appendFrame(nil, 1, 0, 3), appendFrame(nil, 2, 0, 80_000)...)
			if test.bytes < 1000 {
				frame = append(appendFrame(nil, 1, 0, 3), appendFrame(nil, 2, 0, 800)...)
			}
			if _, err := b.Write(frame[:wire.HeaderSize+3+test.bytes]); err != nil {
				t.Fatal(err)
			}
			if f, err := r.next(); err != nil || f.ID != 1 {
				t.Errorf("got frame %d, %v, want 1", f.ID, err)
			}
			if _, err := r.next(); err != errFrameStalled {
				t.Errorf("got %v, want %v", err, errFrameStalled)
			}
		})
	}
}

// While a body in chunks is not whole the next frame is due; once it is not wanted
// any more, none is.
func TestFrameReaderStallsBetweenChunks(t *testing.T) {
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
			r.slack = 10 * time.Millisecond
			asked := 0
			r.collecting = func() bool {
				if asked++; asked == 2 { // the time is over
					go b.Write(appendFrame(nil, 7, 0, 3))
				}
				return asked != 2
			}
			if f, err := r.next(); err != nil || f.ID != 7 {
				t.Errorf("given up: got frame %d, %v, want to wait for 7", f.ID, err)
			}
			if _, err := r.next(); err != errFrameStalled {
				t.Errorf("wanted: got %v, want %v", err, errFrameStalled)
			}
		})
	}
}
