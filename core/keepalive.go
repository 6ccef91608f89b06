package core

import (
	"crypto/tls"
	"net"
)

// stopKeepAlive turns TCP's own heartbeat off.
func stopKeepAlive(nc net.Conn) {
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetKeepAlive(false)
	}
}
