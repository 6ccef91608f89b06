package core_test

import (
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// away is a serializer whose process does not answer, one way or the other.
type away struct {
	jsonSerializer
	append, decode bool
}

var errAway = &spi.Error{Code: spi.Unavailable, Message: "nobody transcodes", Hint: "start it"}

func (s away) Append(dst []byte, v any) ([]byte, error) {
	if s.append {
		return nil, errAway
	}
	return s.jsonSerializer.Append(dst, v)
}

func (s away) Decode(data []byte, v any) error {
	if s.decode {
		return errAway
	}
	return s.jsonSerializer.Decode(data, v)
}

// TestSerializerThatIsAway: the call fails with the code of the serializer's error.
func TestSerializerThatIsAway(t *testing.T) {
	const text = "UNAVAILABLE: nobody transcodes; start it"
	tests := []struct {
		name               string
		consumer, provider spi.Serializer
		want               failure
	}{
		{"arguments out", away{append: true}, jsonSerializer{}, failure{code: spi.Unavailable, phase: spi.PhaseEncode, sent: spi.SentNo, endpoint: "p:1", message: "argument 1: " + text}},
		{"arguments in", jsonSerializer{}, away{decode: true}, failure{code: spi.Unavailable, phase: spi.PhaseDecode, endpoint: "p:1", remote: true, message: "argument 1: " + text}},
		{"result out", jsonSerializer{}, away{append: true}, failure{code: spi.Unavailable, phase: spi.PhaseEncode, endpoint: "p:1", remote: true, message: "result: " + text}},
		{"result in", away{decode: true}, jsonSerializer{}, failure{code: spi.Unavailable, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1", message: "result: " + text}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.Serializers = map[string]spi.Serializer{"json": tt.provider} }, echo{})
				c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Serializer = tt.consumer }, "p:1")
				_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
				w.expect(err, tt.want)
			})
		})
	}
}
