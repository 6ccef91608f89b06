// Package audit is a proxy that writes one line of JSON per call, and refuses calls
// by rule.
//
// The same source works linked into a program, which passes [Register] to
// bhrpc.Open, and as a plugin: cmd/audit.
package audit
