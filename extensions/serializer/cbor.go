package serializer

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"reflect"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/fxamacker/cbor/v2"
)

func openCBOR(context.Context, spi.Env, none) (spi.Serializer, error) {
	encoding, err := cbor.EncOptions{
		Time:            cbor.TimeRFC3339Nano,
		TimeTag:         cbor.EncTagRequired,
		OmitEmpty:       cbor.OmitEmptyGoValue, // as encoding/json
		BinaryMarshaler: cbor.BinaryMarshalerNone,
		TextMarshaler:   cbor.TextMarshalerTextString,
	}.UserBufferEncMode()
	if err != nil {
		return nil, err
	}
	decoding, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   maxNesting,
		MaxArrayElements:  math.MaxInt32, // the data must back them anyway
		MaxMapPairs:       math.MaxInt32,
		IntDec:            cbor.IntDecConvertSignedOrBigInt,
		DefaultMapType:    reflect.TypeFor[map[string]any](),
		BinaryUnmarshaler: cbor.BinaryUnmarshalerNone,
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
	}.DecMode()
	if err != nil {
		return nil, err
	}
	return cborSerializer{encoding, decoding}, nil
}

// cborSerializer is CBOR by fxamacker/cbor, with json tags where a field has no
// cbor tag.
type cborSerializer struct {
	encoding cbor.UserBufferEncMode
	decoding cbor.DecMode
}

func (s cborSerializer) Append(dst []byte, v any) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	if err := s.encoding.MarshalToBuffer(v, out); err != nil {
		return nil, fmt.Errorf("encode %T as cbor: %w", v, err)
	}
	return out.Bytes(), nil
}

// Decode lets the library check the data as a whole before it makes anything of it.
func (s cborSerializer) Decode(data []byte, v any) error {
	if err := s.decoding.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode cbor into %T: %w", v, err)
	}
	return nil
}
