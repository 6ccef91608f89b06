//go:build unix

package core

import (
	"io"
	"net"
	"syscall"
)

// rawConn reads and writes a socket without ever blocking in a write. It is nil
// for connections without a descriptor of their own, such as TLS and net.Pipe.
//
// The callbacks are stored, because a closure per call would be an allocation per
// call. Reading and writing each belong to one goroutine at a time.
type rawConn struct {
	rc syscall.RawConn

	writeFunc func(fd uintptr) bool
	out       []byte
	written   int
	writeErr  error

	readFunc func(fd uintptr) bool
	in       func() []byte // memory to read into, asked for when there may be data
	read     int
	readErr  error
	idle     func() // there was no data: memory may be given back
}

// newRawConn returns nil if nc has no descriptor.
func newRawConn(nc net.Conn) *rawConn {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	r := &rawConn{rc: rc}
	r.writeFunc, r.readFunc = r.tryWrite, r.tryRead
	return r
}

// write hands as much of b to the kernel as it takes at once, possibly nothing.
func (r *rawConn) write(b []byte) (int, error) {
	r.out, r.written, r.writeErr = b, 0, nil
	err := r.rc.Write(r.writeFunc)
	r.out = nil
	if err == nil {
		err = r.writeErr
	}
	return r.written, err
}

func (r *rawConn) tryWrite(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), r.out)
		switch err {
		case nil:
			r.written = n
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
		default:
			r.writeErr = err
		}
		return true
	}
}

// readSome waits until there is data, asks in for memory, and fills it. Between
// idle and in the connection holds no memory. At the end of the stream it returns
// io.EOF.
func (r *rawConn) readSome(in func() []byte, idle func()) (int, error) {
	r.in, r.idle, r.read, r.readErr = in, idle, 0, nil
	if err := r.rc.Read(r.readFunc); err != nil {
		return 0, err
	}
	return r.read, r.readErr
}

func (r *rawConn) tryRead(fd uintptr) bool {
	for {
		n, err := syscall.Read(int(fd), r.in())
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			r.idle()
			return false
		case err != nil:
			r.readErr = err
		case n == 0:
			r.readErr = io.EOF
		default:
			r.read = n
		}
		return true
	}
}
