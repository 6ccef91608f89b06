// Package pluginv1 is version 1 of what a host and a plugin process say to each
// other, one service per kind of extension, generated from the .proto files beside
// it. docs/plugins.md describes it. Authors of plugins in Go do not need it; authors
// in other languages generate theirs from the same files.
//
// The versions of the generators are pinned in docs/decisions/0014-plugins.md.
package pluginv1

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=paths=source_relative --go-grpc_out=../../.. --go-grpc_opt=paths=source_relative bhrpc/plugin/v1/heartbeat.proto bhrpc/plugin/v1/info.proto bhrpc/plugin/v1/loadbalancer.proto bhrpc/plugin/v1/proxy.proto bhrpc/plugin/v1/registry.proto bhrpc/plugin/v1/serializer.proto
