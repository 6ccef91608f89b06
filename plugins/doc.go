// Package plugins runs extensions that live in programs of their own.
//
// It is where the loader, the supervisor and the author's side of plugin processes
// go, and the only importer of hashicorp/go-plugin and gRPC. None of it is here
// yet: in this version an extension is linked into the program that uses it.
//
// The contracts that plugin processes will implement are in package spi already
// (Planner, Hooks); an extension written with their adapters today will move into
// a process without a change.
package plugins
