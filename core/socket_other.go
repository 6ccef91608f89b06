//go:build !linux

package core

import (
	"net"
	"time"
)

// tuneSocket is for Linux.
func tuneSocket(net.Conn, time.Duration) {}
