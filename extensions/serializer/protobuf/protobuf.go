package protobuf

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/bhrpc/bhrpc/spi"
	"google.golang.org/protobuf/proto"
)

// Register adds the serializer "protobuf" to the catalog. The errors are those of
// [spi.Register].
func Register(cat *spi.Catalog) error {
	return spi.Register(cat.Serializers, "protobuf",
		"Protocol buffers, for arguments and results that are generated messages. Import extensions/serializer/protobuf and pass its Register to bhrpc.Open.",
		struct{}{}, open)
}

func open(context.Context, spi.Env, struct{}) (spi.Serializer, error) { return serializer{}, nil }

// maxNesting bounds how deep messages may be nested in data that is decoded, in
// levels, as for the other serializers.
const maxNesting = 1000

// serializer writes each message as its bytes alone. The format has no end and no
// checksum: data that is cut off between two fields is a smaller message, and bytes
// that follow are more fields.
type serializer struct{}

var (
	errNoMessage = errors.New("it is no protobuf message; methods that are called with serializer protobuf take and return pointers to generated messages, others are called with serializer json")
	errNil       = errors.New("a nil message; protobuf has no null")
)

func (serializer) Append(dst []byte, v any) ([]byte, error) {
	m, err := messageIn(v)
	if err == nil {
		dst, err = proto.MarshalOptions{}.MarshalAppend(dst, m)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %T as protobuf: %w", v, err)
	}
	return dst, nil
}

// messageIn returns the message that v is or points to.
func messageIn(v any) (proto.Message, error) {
	for p := reflect.ValueOf(v); ; p = p.Elem() {
		if !p.IsValid() { // a pointer, or interface, was nil
			return nil, errNil
		}
		if m, ok := p.Interface().(proto.Message); ok {
			if !m.ProtoReflect().IsValid() {
				return nil, errNil
			}
			return m, nil
		}
		if p.Kind() != reflect.Pointer && p.Kind() != reflect.Interface {
			return nil, errNoMessage
		}
	}
}

func (serializer) Decode(data []byte, v any) error {
	m, err := messageFor(v)
	if err == nil {
		// Lazy decoding would keep data.
		err = proto.UnmarshalOptions{RecursionLimit: maxNesting, NoLazyDecoding: true}.Unmarshal(data, m)
	}
	if err != nil {
		return fmt.Errorf("decode protobuf into %T: %w", v, err)
	}
	return nil
}

var messageType = reflect.TypeFor[proto.Message]()

// messageFor returns the message that v is, or one that v, a pointer to such, is
// made to point to.
func messageFor(v any) (proto.Message, error) {
	if m, ok := v.(proto.Message); ok {
		return m, nil
	}
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return nil, errNoMessage
	}
	p = p.Elem()
	if p.Kind() == reflect.Interface && !p.IsNil() {
		if m, ok := p.Interface().(proto.Message); ok {
			return m, nil
		}
	}
	if p.Kind() != reflect.Pointer || !p.Type().Implements(messageType) {
		return nil, errNoMessage
	}
	if p.IsNil() {
		p.Set(reflect.New(p.Type().Elem()))
	}
	return p.Interface().(proto.Message), nil
}
