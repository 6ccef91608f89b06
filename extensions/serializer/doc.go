// Package serializer holds the built-in serializers:
//
//   - json: JSON by json-iterator. The default, and what other languages and curl
//     speak. docs/json.md lists where it differs from encoding/json.
//   - json-std: JSON by encoding/json.
//   - gob: Go's own encoding, between Go programs.
//   - msgpack: MessagePack, with json tags.
//   - cbor: CBOR (RFC 8949), with json tags.
//
// docs/serializers.md compares them. Package protobuf below is for programs that
// import it.
//
// A serializer's name is part of what travels, so none has an alias: two names
// would be two encodings to the other side.
//
// Only package extensions imports this one.
package serializer
