package serializer

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"reflect"

	"github.com/bhrpc/bhrpc/spi"
)

func openGob(context.Context, spi.Env, none) (spi.Serializer, error) {
	return gobSerializer{}, nil
}

// gobSerializer writes each value as a gob stream of its own: the descriptions of
// the types that the reader needs, then the value.
type gobSerializer struct{}

func (gobSerializer) Append(dst []byte, v any) ([]byte, error) {
	for p := reflect.ValueOf(v); p.Kind() == reflect.Pointer; p = p.Elem() {
		if p.IsNil() {
			return nil, fmt.Errorf("encode %T as gob: %w", v, errNilPointer)
		}
	}
	out := appender(dst)
	if err := gob.NewEncoder(&out).Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T as gob: %w", v, err)
	}
	return out, nil
}

var errNilPointer = errors.New("a nil pointer points to no value; gob cannot say nil")

func (gobSerializer) Decode(data []byte, v any) error {
	err := checkGob(data)
	if err == nil {
		err = gob.NewDecoder(bytes.NewReader(data)).Decode(v)
	}
	if err != nil {
		return fmt.Errorf("decode gob into %T: %w", v, err)
	}
	return nil
}
