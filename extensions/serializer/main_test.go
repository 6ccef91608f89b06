package serializer_test

import (
	"context"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/serializer"
	"github.com/bhrpc/bhrpc/spi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The serializers under test.
var (
	iterator = open("json")
	standard = open("json-std")
	gobs     = open("gob")
	msgpacks = open("msgpack")
	cbors    = open("cbor")
)

func open(name string) spi.Serializer {
	cat := spi.NewCatalog()
	if err := serializer.Register(cat); err != nil {
		panic(err)
	}
	s, err := cat.Serializers.Open(context.Background(), spi.Env{}, spi.Ref{Use: name})
	if err != nil {
		panic(err)
	}
	return s
}
