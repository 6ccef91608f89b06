//go:build unix

package core

import (
	"slices"
	"syscall"
	"testing"
)

// rawForms is the frameReader that reads from a descriptor.
func rawForms() []readerForm { return []readerForm{{"raw", openRaw}} }

// socket is one end of a pair of sockets. Whenever it is found empty, the next piece
// is put into the other end.
type socket struct {
	pieces
	t    testing.TB
	r    *frameReader
	ends [2]int
}

func openRaw(t testing.TB, cut [][]byte, limits Limits, end error) (*frameReader, func()) {
	s := &socket{pieces: pieces{left: slices.Clone(cut), err: end}, t: t}
	var err error
	if s.ends, err = syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0); err != nil {
		t.Fatal(err)
	}
	for _, fd := range s.ends {
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	raw := &rawConn{rc: rawSocket{s}}
	raw.readFunc = raw.tryRead
	s.r = newFrameReader(s, raw, limits)
	return s.r, func() {
		for _, fd := range s.ends {
			_ = syscall.Close(fd)
		}
	}
}

// refill puts the next piece, or as much of it as there is room for, into the other
// end.
func (s *socket) refill() error {
	if len(s.left) == 0 {
		return s.err
	}
	n, err := syscall.Write(s.ends[1], s.left[0])
	if err != nil {
		return err
	}
	if s.left[0] = s.left[0][n:]; len(s.left[0]) == 0 {
		s.left = s.left[1:]
	}
	return nil
}

// Read implements [net.Conn].
func (s *socket) Read(b []byte) (int, error) {
	for {
		n, err := syscall.Read(s.ends[0], b)
		if err != syscall.EAGAIN {
			return n, err
		}
		if err := s.refill(); err != nil {
			return 0, err
		}
	}
}

// rawSocket is a socket as a rawConn sees it.
type rawSocket struct{ *socket }

// Read implements [syscall.RawConn].
func (s rawSocket) Read(done func(fd uintptr) bool) error {
	for !done(uintptr(s.ends[0])) {
		checkIdle(s.t, s.r)
		if err := s.refill(); err != nil {
			return err
		}
	}
	return nil
}

// Write implements [syscall.RawConn].
func (rawSocket) Write(func(fd uintptr) bool) error { panic("nothing is written here") }

// Control implements [syscall.RawConn].
func (rawSocket) Control(func(fd uintptr)) error { panic("there are no options here") }
