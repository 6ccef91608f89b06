package core

import (
	"crypto/tls"
	"net"
)

// tcpOf returns the TCP connection that nc is, or is made of; nil if there is none.
func tcpOf(nc net.Conn) *net.TCPConn {
	for {
		switch outer := nc.(type) {
		case *net.TCPConn:
			return outer
		case *tls.Conn:
			nc = outer.NetConn()
		case *resumed:
			nc = outer.Conn
		default:
			return nil
		}
	}
}

// stopKeepAlive turns TCP's own heartbeat off.
func stopKeepAlive(nc net.Conn) {
	if tcp := tcpOf(nc); tcp != nil {
		_ = tcp.SetKeepAlive(false)
	}
}
