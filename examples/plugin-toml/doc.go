// Package toml is a serializer that writes TOML. Every value goes through its JSON
// form, so struct tags are those of encoding/json, and the bytes are the same whether
// it is linked in or a plugin, which never has the caller's Go types. README.md says
// what becomes of values that TOML has no word for.
//
// A program that has it linked in passes [Register] to bhrpc.Open; cmd/toml is the
// plugin.
package toml
