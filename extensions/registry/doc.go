// Package registry holds the built-in registries:
//
//   - static: services and addresses written in the configuration, which nobody but
//     their author changes.
//
// Only package extensions imports this one.
package registry
