package serializer

import (
	"errors"

	"github.com/bhrpc/bhrpc/spi"
)

// none is the configuration of an extension that takes none.
type none struct{}

// Register adds the built-in serializers to the catalog, and explanations for
// names that users of other frameworks look for. The errors are those of
// [spi.Register].
func Register(cat *spi.Catalog) error {
	p := cat.Serializers
	for name, why := range refused {
		p.Refuse(name, why)
	}
	p.Elsewhere("protobuf", "github.com/bhrpc/bhrpc/extensions/serializer/protobuf")
	return errors.Join(
		spi.Register(p, "json", "JSON by json-iterator, which reads faster than json-std and writes as fast. docs/json.md lists where it differs from encoding/json.", none{}, openJSON),
		spi.Register(p, "json-std", "JSON by encoding/json.", none{}, openStandardJSON),
		spi.Register(p, "gob", "Go's own encoding, between Go programs only. Every message describes its types, so small messages are large and slow.", none{}, openGob),
		spi.Register(p, "msgpack", "MessagePack, with json tags: like JSON in what it can say, smaller, for peers in most languages. docs/serializers.md compares.", none{}, openMsgpack),
		spi.Register(p, "cbor", "CBOR (RFC 8949), with json tags: like JSON in what it can say, strict about duplicate keys and text that is not UTF-8. docs/serializers.md compares.", none{}, openCBOR),
	)
}

// refused continues the sentence `serializer "name" …`.
var refused = map[string]string{
	"jdk":        "is Java's own object stream; Go cannot speak it. Use json, or hessian2 with Java peers.",
	"kryo":       "is a Java library's format without a specification; Go cannot speak it. Use json, or hessian2 with Java peers.",
	"fst":        "is a Java library's format without a specification; Go cannot speak it. Use json, or hessian2 with Java peers.",
	"hessian2":   "is not part of this version yet. Use json, which Java peers speak too.",
	"protostuff": "is not part of this version yet. Use json, which Java peers speak too.",
}
