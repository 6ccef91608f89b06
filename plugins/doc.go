// Package plugins runs extensions that live in programs of their own.
//
// [Open] checks, starts and asks a plugin process on the host's side; [Serve] is all
// that the author of one calls, with a catalog filled as for extensions that are
// linked in. docs/plugins.md draws it, and says what is not here yet: a plugin that
// ends is not started again, and its extensions are described but cannot be used. In
// this version an extension is linked into the program that uses it.
//
// The contracts that plugin processes will implement are in package spi already
// (Planner, Hooks); an extension written with their adapters today will move into
// a process without a change.
//
// Invariant: whatever Open started and made has ended and is gone when Close
// returns, also if the process is stopped or a child of it holds its pipes.
//
// It is the only importer of hashicorp/go-plugin and gRPC.
package plugins
