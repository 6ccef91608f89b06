//go:build !unix

package core

import "net"

// rawConn exists on Unix only; elsewhere every connection uses the flusher
// goroutine and plain reads.
type rawConn struct{}

func newRawConn(net.Conn) *rawConn { return nil }

func (*rawConn) write([]byte) (int, error) { panic("no raw connections on this system") }

func (*rawConn) readSome(func() []byte, func()) (int, error) {
	panic("no raw connections on this system")
}
