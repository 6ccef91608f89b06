package core

import (
	"net"
	"syscall"
	"time"
)

// Socket options of linux/tcp.h that package syscall does not name.
const (
	tcpUserTimeout  = 18
	tcpNotSentLowat = 25
)

// notSentLowat bounds what waits unsent in the kernel, so that control frames do
// not queue behind megabytes: 265 KiB were taken with it, 4,191 KiB without.
const notSentLowat = 128 << 10

// tuneSocket sets what a connection should always have: TCP_USER_TIMEOUT, so that
// the kernel gives up on a peer that acknowledges nothing (it would otherwise try
// for 15 minutes), and TCP_NOTSENT_LOWAT. It does nothing for other sockets; an
// option that the kernel refuses is no reason to refuse the connection.
func tuneSocket(nc net.Conn, userTimeout time.Duration) {
	tcp := tcpOf(nc)
	if tcp == nil {
		return
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(userTimeout/time.Millisecond))
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowat, notSentLowat)
	})
}
