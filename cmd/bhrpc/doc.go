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
//	bhrpc version
//
// The exit status is 0 for success, 1 if a call or drill failed or there is nothing to
// show, and 2 for wrong use or a wrong configuration; either way there is one readable
// error on standard error.
//
// It imports the facade, core, spi, plugins, internal/config, internal/control
// and internal/drill; nothing imports it.
package main
