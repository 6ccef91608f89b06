// Package heartbeat decides when a silent peer is dead.
//
// It is where the engine and the strategies three-strike, idle, phi-accrual and
// none go. None of them is here yet: this version answers a peer's PING (package
// core does, in the connection's reader) and sends none of its own, so a silent
// peer is found by TCP_USER_TIMEOUT, TCP keep-alive and the write timeout.
//
// heartbeat imports spi and is imported by core.
package heartbeat
