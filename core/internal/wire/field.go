package wire

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed is a block of fields that cannot be read to its end, or lacks what
// it must have.
var ErrMalformed = errors.New("malformed fields")

// Fields reads a sequence of fields: tag, length, value. The zero Fields is empty.
type Fields struct {
	rest []byte
	bad  bool
}

// ReadFields returns the fields of block, which is kept.
func ReadFields(block []byte) Fields { return Fields{rest: block} }

// Next returns the next field, a view, and whether there was one. After it
// returned false, Err tells the end from damage.
func (f *Fields) Next() (tag byte, value []byte, ok bool) {
	if len(f.rest) == 0 || f.bad {
		return 0, nil, false
	}
	tag = f.rest[0]
	value, rest, ok := cutPrefixed(f.rest[1:])
	if !ok {
		f.bad = true
		return 0, nil, false
	}
	f.rest = rest
	return tag, value, true
}

// Err returns ErrMalformed if Next met something that is no field.
func (f *Fields) Err() error {
	if f.bad {
		return ErrMalformed
	}
	return nil
}

// AppendField appends one field with a value of bytes or text.
func AppendField[T []byte | string](dst []byte, tag byte, value T) []byte {
	return appendPrefixed(append(dst, tag), value)
}

// AppendUintField appends one field that holds a single number.
func AppendUintField(dst []byte, tag byte, v uint64) []byte {
	dst = append(dst, tag, byte(uvarintLen(v)))
	return binary.AppendUvarint(dst, v)
}

// AppendPair appends one field that holds a key and a value.
func AppendPair(dst []byte, tag byte, key, value string) []byte {
	dst = append(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(uvarintLen(uint64(len(key)))+len(key)+len(value)))
	dst = appendPrefixed(dst, key)
	return append(dst, value...)
}

// ParsePair splits the value of a pair field. The results are views.
func ParsePair(field []byte) (key, value []byte, err error) {
	key, value, ok := cutPrefixed(field)
	if !ok {
		return nil, nil, ErrMalformed
	}
	return key, value, nil
}

// parseUint reads a field that is exactly one number.
func parseUint(field []byte) (uint64, error) {
	v, n := binary.Uvarint(field)
	if n <= 0 || n != len(field) {
		return 0, ErrMalformed
	}
	return v, nil
}

// cutPrefixed splits b into the bytes that its leading length announces and the
// rest.
func cutPrefixed(b []byte) (value, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return b[n:end:end], b[end:], true
}

func appendPrefixed[T []byte | string](dst []byte, value T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}
