// Command bhrpc calls and inspects bhrpc providers.
//
//	bhrpc call 127.0.0.1:7070 Hello.Say '"world"'
//	bhrpc ls 127.0.0.1:7070
//	bhrpc conns --watch
//	bhrpc plugin ls
//	bhrpc drill freeze
//	bhrpc explain --config bhrpc.yaml
//	bhrpc config --schema
//	bhrpc extensions
//	bhrpc plugin new loadbalancer nearest
//	bhrpc plugin test ./bin/nearest
//	bhrpc version
//
// The exit status is 0 for success, 1 if a call, drill or plugin failed or there is nothing to
// show, and 2 for wrong use or a wrong configuration; either way there is one readable
// error on standard error.
//
// It imports the facade, core, spi, plugins, plugins/conform, internal/config,
// internal/control, internal/drill and internal/scaffold; nothing imports it.
package main
