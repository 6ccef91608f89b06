// Package adaptive is a heartbeat strategy whose times follow the peer: an answer may
// take as long as the link makes it take, and a peer that has answered for long is
// asked less often. README.md has the arithmetic.
//
// The same source works linked into a program, which passes [Register] to
// bhrpc.Open, and as a plugin: cmd/adaptive.
package adaptive
