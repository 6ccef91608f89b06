// Package heartbeat decides when a silent peer is dead.
//
// Its strategies are pure functions of what a connection knows and what they
// remember of it: three-strike, the default, and none. docs/heartbeat.md draws them.
// Nobody asks them yet: this version answers a peer's PING (package core does, in the
// connection's reader) and sends none of its own, so a silent peer is found by
// TCP_USER_TIMEOUT, TCP keep-alive and the write timeout.
//
// heartbeat imports spi and is imported by core.
package heartbeat
