// Package conform holds a plugin program against what a host expects of one: it is
// what bhrpc plugin test does.
//
//	report := conform.Run(ctx, conform.Config{Plugin: cfg, Register: extensions.Register, Host: host}, log)
//
// [Run] starts the very program, as a host does, and says what it found: how it
// introduces itself, what it says to a wrong configuration, whether its extensions
// keep their contracts, and how it ends.
//
// Invariant: when Run returns, every process that it started has ended.
//
// It imports spi, spi/spitest, plugins, gRPC and golang.org/x/sys; the command imports
// it.
package conform
