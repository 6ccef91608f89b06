// Package heartbeat decides when a silent peer is dead.
//
// Its strategies are pure functions of what a connection knows and what they
// remember of it: three-strike, the default, idle, phi-accrual and none. A [Sweeper]
// asks one of them about all connections of a consumer or a provider, each when it
// is due, and tells the connection what to do. docs/heartbeat.md draws both.
//
// heartbeat imports spi and is imported by core, which owns the connections: it
// sends the PINGs, answers those of the peer in the connection's reader, counts
// signs of life, and closes what is dead.
package heartbeat
