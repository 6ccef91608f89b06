// Package plugins runs extensions that live in programs of their own.
//
// [Loader] starts what the configuration lists, and is the option of bhrpc.Open for it;
// [Open] checks, starts and asks one plugin process on the host's side; [Serve] is all
// that the author of one calls, with a catalog filled as for extensions that are
// linked in. [Plugin.Register] makes its extensions those of the host: the host picks
// locally by the plugin's plans, judges connections by its decisions within bounds,
// follows its sets of endpoints, and asks its proxies and serializers for every call.
// docs/plugins.md draws it.
//
// Invariant: whatever Open started and made has ended and is gone when Close
// returns, also if the process is stopped or a child of it holds its pipes. Only a
// child that left the process group of its plugin lives on.
//
// It is the only importer of hashicorp/go-plugin and gRPC.
package plugins
