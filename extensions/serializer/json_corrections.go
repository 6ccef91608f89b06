package serializer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"unsafe"

	jsoniter "github.com/json-iterator/go"
	"github.com/modern-go/reflect2"
)

// corrections replaces the parts of json-iterator that would hurt: it crashes the
// program on deeply nested or cyclic values of recursive types, reads numbers that
// are too large for an integer type as other numbers, and lets invalid raw
// messages and numbers through or turns them into null. Each has a test.
type corrections struct{ jsoniter.DummyExtension }

func (*corrections) CreateDecoder(typ reflect2.Type) jsoniter.ValDecoder {
	if decode, ok := decoders[typ.Type1()]; ok {
		return decode
	}
	if typ.Kind() == reflect.Array && typ.Type1().Len() == 0 {
		return decoderFunc(readNothing)
	}
	return nil
}

func (*corrections) CreateEncoder(typ reflect2.Type) jsoniter.ValEncoder {
	switch typ.Type1() {
	case reflect.TypeFor[json.RawMessage](), reflect.TypeFor[jsoniter.RawMessage]():
		return rawEncoder{}
	case reflect.TypeFor[json.Number]():
		return numberEncoder{}
	}
	return nil
}

func (*corrections) DecorateDecoder(typ reflect2.Type, decoder jsoniter.ValDecoder) jsoniter.ValDecoder {
	if recursive(typ.Type1()) {
		return nestedDecoder{decoder}
	}
	return decoder
}

func (*corrections) DecorateEncoder(typ reflect2.Type, encoder jsoniter.ValEncoder) jsoniter.ValEncoder {
	if typ.Kind() == reflect.Interface || recursive(typ.Type1()) {
		return nestedEncoder{encoder}
	}
	return encoder
}

// nesting is what one encoding or decoding must remember. It is made when needed
// and hangs on the stream or iterator.
type nesting struct {
	depth    int  // of values of recursive types
	exceeded bool // depth would have passed maxNesting
	wide     bool // an integer was read that may have wrapped around, see [beyondUint64]
}

// maxNesting bounds how deep values of recursive types may be nested, either way.
// It is far above what data needs and far below what a goroutine's stack holds.
// json-iterator itself bounds the other ways to nest at 10,000.
const maxNesting = 1000

var errNesting = fmt.Errorf("nested deeper than %d levels, or a cycle", maxNesting)

func nestingOf(attachment *any) *nesting {
	n, ok := (*attachment).(*nesting)
	if !ok {
		n = new(nesting)
		*attachment = n
	}
	return n
}

type nestedDecoder struct{ inner jsoniter.ValDecoder }

func (d nestedDecoder) Decode(ptr unsafe.Pointer, iter *jsoniter.Iterator) {
	n := nestingOf(&iter.Attachment)
	if n.depth == maxNesting {
		iter.ReportError("decode", errNesting.Error())
		return
	}
	n.depth++
	d.inner.Decode(ptr, iter)
	n.depth--
}

type nestedEncoder struct{ inner jsoniter.ValEncoder }

func (e nestedEncoder) IsEmpty(ptr unsafe.Pointer) bool { return e.inner.IsEmpty(ptr) }

func (e nestedEncoder) Encode(ptr unsafe.Pointer, stream *jsoniter.Stream) {
	n := nestingOf(&stream.Attachment)
	if n.exceeded = n.exceeded || n.depth == maxNesting; n.exceeded {
		return // the stream's error would be wrapped once per level
	}
	n.depth++
	e.inner.Encode(ptr, stream)
	n.depth--
}

// recursive reports whether t is a pointer, slice or map that can hold values of
// its own type.
func recursive(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return reaches(t.Elem(), t, map[reflect.Type]bool{})
	}
	return false
}

func reaches(from, to reflect.Type, seen map[reflect.Type]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	switch from.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
		return reaches(from.Elem(), to, seen)
	case reflect.Struct:
		for i := range from.NumField() {
			if reaches(from.Field(i).Type, to, seen) {
				return true
			}
		}
	}
	return false
}

// decoderFunc makes a function a ValDecoder.
type decoderFunc func(ptr unsafe.Pointer, iter *jsoniter.Iterator)

func (f decoderFunc) Decode(ptr unsafe.Pointer, iter *jsoniter.Iterator) { f(ptr, iter) }

// decoders is read only. json-iterator decodes named types of these kinds by them
// too.
var decoders = map[reflect.Type]decoderFunc{
	reflect.TypeFor[int]():                 readSigned[int],
	reflect.TypeFor[int8]():                readSigned[int8],
	reflect.TypeFor[int16]():               readSigned[int16],
	reflect.TypeFor[int32]():               readSigned[int32],
	reflect.TypeFor[int64]():               readSigned[int64],
	reflect.TypeFor[uint]():                readUnsigned[uint],
	reflect.TypeFor[uint8]():               readUnsigned[uint8],
	reflect.TypeFor[uint16]():              readUnsigned[uint16],
	reflect.TypeFor[uint32]():              readUnsigned[uint32],
	reflect.TypeFor[uint64]():              readUnsigned[uint64],
	reflect.TypeFor[uintptr]():             readUnsigned[uintptr],
	reflect.TypeFor[json.Number]():         readNumber,
	reflect.TypeFor[json.RawMessage]():     readRaw,
	reflect.TypeFor[jsoniter.RawMessage](): readRaw,
}

// readNothing reads an array into one of length 0.
func readNothing(_ unsafe.Pointer, iter *jsoniter.Iterator) {
	switch iter.WhatIsNext() {
	case jsoniter.ArrayValue, jsoniter.NilValue:
		iter.Skip()
	default:
		iter.ReportError("decode array", "not an array")
	}
}

// wrapFree is the largest integer that json-iterator reads only from the digits
// that mean it. Reading more digits than 64 bits hold, it can wrap around, to a
// result above this.
const wrapFree = math.MaxUint64/10 - 1

func readSigned[T int | int8 | int16 | int32 | int64](ptr unsafe.Pointer, iter *jsoniter.Iterator) {
	if iter.ReadNil() {
		return
	}
	n := iter.ReadInt64()
	if int64(T(n)) != n {
		iter.ReportError("decode integer", fmt.Sprintf("%d does not fit in %T", n, T(0)))
		return
	}
	if n > wrapFree || n < -wrapFree {
		nestingOf(&iter.Attachment).wide = true
	}
	*(*T)(ptr) = T(n)
}

func readUnsigned[T uint | uint8 | uint16 | uint32 | uint64 | uintptr](ptr unsafe.Pointer, iter *jsoniter.Iterator) {
	if iter.ReadNil() {
		return
	}
	n := iter.ReadUint64()
	if uint64(T(n)) != n {
		iter.ReportError("decode integer", fmt.Sprintf("%d does not fit in %T", n, T(0)))
		return
	}
	if n > wrapFree {
		nestingOf(&iter.Attachment).wide = true
	}
	*(*T)(ptr) = T(n)
}

// beyondUint64 reports whether data contains an integer of more than 64 bits, in
// whatever place: where an integer was read that may have wrapped around, data
// without one proves that none did.
func beyondUint64(data []byte) bool {
	const largest = "18446744073709551615"
	digits := 0
	for i, c := range data {
		if c < '0' || c > '9' {
			digits = 0
			continue
		}
		digits++
		if digits > len(largest) || digits == len(largest) && string(data[i+1-digits:i+1]) > largest {
			return true
		}
	}
	return false
}

// readNumber reads a json.Number as encoding/json does, refusing what is no
// number; json-iterator would write it back as it came.
func readNumber(ptr unsafe.Pointer, iter *jsoniter.Iterator) {
	var number json.Number
	switch iter.WhatIsNext() {
	case jsoniter.NilValue:
		iter.ReadNil()
		return
	case jsoniter.StringValue:
		number = json.Number(iter.ReadString())
	default:
		number = iter.ReadNumber()
	}
	if !isNumber(string(number)) {
		iter.ReportError("decode number", "not a number")
		return
	}
	*(*json.Number)(ptr) = number
}

type numberEncoder struct{}

func (numberEncoder) IsEmpty(ptr unsafe.Pointer) bool { return *(*json.Number)(ptr) == "" }

func (numberEncoder) Encode(ptr unsafe.Pointer, stream *jsoniter.Stream) {
	number := string(*(*json.Number)(ptr))
	switch {
	case number == "":
		stream.WriteRaw("0")
	case isNumber(number):
		stream.WriteRaw(number)
	case stream.Error == nil:
		stream.Error = fmt.Errorf("json.Number %q is not a number", number)
	}
}

// isNumber reports whether text is one JSON number.
func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || text[0]-'0' <= 9) && text[len(text)-1]-'0' <= 9 && json.Valid([]byte(text))
}

// readRaw reads any value as its text. Unlike json-iterator it keeps null and
// refuses what is not valid.
func readRaw(ptr unsafe.Pointer, iter *jsoniter.Iterator) {
	iter.WhatIsNext() // skips space
	raw := iter.SkipAndReturnBytes()
	if !json.Valid(raw) {
		iter.ReportError("decode raw message", "not valid JSON")
		return
	}
	*(*json.RawMessage)(ptr) = raw
}

type rawEncoder struct{}

func (rawEncoder) IsEmpty(ptr unsafe.Pointer) bool { return len(*(*json.RawMessage)(ptr)) == 0 }

func (rawEncoder) Encode(ptr unsafe.Pointer, stream *jsoniter.Stream) {
	raw := *(*json.RawMessage)(ptr)
	switch {
	case raw == nil:
		stream.WriteNil()
	case json.Valid(raw):
		_, _ = stream.Write(raw) // appends; there is nothing behind the stream that could fail
	case stream.Error == nil:
		stream.Error = fmt.Errorf("raw message is not valid JSON: %w", invalid(raw))
	}
}

// invalid says what is wrong with raw.
func invalid(raw []byte) error {
	var v json.RawMessage
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	return errors.New("unknown fault")
}
