// Package config reads the configuration of bhrpc: one YAML file, the environment
// and settings made in code.
//
//	provider: {listen: 127.0.0.1:7070, drain_timeout: 10s}
//	consumer:
//	  addresses: [127.0.0.1:7070, 127.0.0.1:7071]
//	  loadbalancer: {use: weighted-random, with: {weights: {"127.0.0.1:7071": 3}}}
//	  reconnect: {cap: 5s}
//	references:
//	  Greeter: {version: 1.0.0, group: blue, timeout: 2s}
//	log: {level: debug}
//	control: off
//	plugins:
//	  - {name: acme, path: ./bin/acme, sha256: 9f0c…}
//
// The keys are the json tags of [File] and of the structs in it; nothing else
// describes them. For every key the strongest source holds: code ([Config.Set]),
// then the environment, then the file, then the default. That a key was set is
// recorded with the place where it was ([Config.Origin]), never concluded from its
// value.
//
// The environment sets a key by the variable BHRPC_ and the key in upper case,
// dots as underscores: BHRPC_CONSUMER_RECONNECT_CAP=5s. Text is taken as it is;
// BHRPC_CONSUMER_ADDRESSES may be a list with commas; a key that names an extension
// takes YAML, as in BHRPC_CONSUMER_LOADBALANCER='{use: random}'; so does a list of
// extensions or of plugins, with brackets or without, and BHRPC_REFERENCES, which holds all
// references and is laid over those of the file key by key.
//
// Reading is strict: what is not understood is an error with its place, and all
// errors are reported at once. Names of extensions are not resolved here, because
// that takes a catalog.
//
// The facade and the command-line tool import this package; it imports core, spi
// and a YAML parser.
package config
