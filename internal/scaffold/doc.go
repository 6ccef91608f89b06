// Package scaffold writes the repository of a new extension, which compiles and
// passes its tests as it stands.
//
//	made, err := scaffold.Write(ctx, "nearest", scaffold.Project{Kind: "loadbalancer", Name: "nearest", Module: "example.org/you/nearest", Framework: f})
//
// Invariant: it overwrites nothing, and a Write that fails before the directory is
// complete leaves none.
//
// It imports the standard library and spi; the command imports it.
package scaffold
