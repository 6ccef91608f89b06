// Package plugins runs extensions that live in programs of their own.
//
// [Open] checks, starts and asks a plugin process on the host's side; [Serve] is all
// that the author of one calls, with a catalog filled as for extensions that are
// linked in. [Plugin.Register] makes its load balancers those of the host, which
// picks locally by the plans of the plugin, and its proxies and serializers, which are
// asked for every call. docs/plugins.md draws it, and says what
// is not here yet: a plugin that ends is not started again, and extensions of other
// kinds are described but cannot be used.
//
// Invariant: whatever Open started and made has ended and is gone when Close
// returns, also if the process is stopped or a child of it holds its pipes. Only a
// child that left the process group of its plugin lives on.
//
// It is the only importer of hashicorp/go-plugin and gRPC.
package plugins
