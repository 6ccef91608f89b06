// Package link is a TCP link that can be broken while it is in use: a proxy between
// consumers and one provider that freezes, loses, slows, damages or cuts what passes,
// on command and until [Link.Heal].
//
//	l, err := link.Listen("127.0.0.1:7070") // consumers connect to l.Addr()
//	l.Freeze()                              // sockets stay open, nothing is read or written
//	l.Heal()
//	err = l.Close()
//
// It breaks what stands above TCP. What the network below does, a lost packet or a
// pulled cable, is not its affair.
//
// It imports the standard library; the drills of cmd/bhrpc and tests import it.
package link
