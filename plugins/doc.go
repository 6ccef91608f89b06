// Package plugins runs extensions that live in programs of their own.
//
// docs/plugins.md draws it. What is here: [Config] says which program a plugin is, and
// within the package a program is checked, copied, started, limited and ended.
// Nothing starts one yet: in this version an extension is linked into the program
// that uses it. The contracts that plugin processes will implement are in package spi
// (Planner, Hooks); an extension written with their adapters today will move into
// a process without a change.
//
// It is the only importer of hashicorp/go-plugin and gRPC.
package plugins
