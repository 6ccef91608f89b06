// Package protobuf is the serializer "protobuf", for services whose arguments and
// results are protocol buffer messages:
//
//	app, err := bhrpc.Open(ctx, "bhrpc.yaml", protobuf.Register)
//
// with `serializer: protobuf` in the file. A provider that registers it offers it
// beside the others, so a service may have methods with messages and methods without.
//
// Programs that use it import it, and nothing else in this module does but package
// extensions/all.
package protobuf
