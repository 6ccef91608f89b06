package wire

import (
	"encoding/binary"
	"slices"
)

// AppendListCount begins a list of count arguments.
func AppendListCount(dst []byte, count int) []byte { return binary.AppendUvarint(dst, uint64(count)) }

// PrefixLength puts the length of dst[start:] in front of it. It is how an
// argument whose size is known only after encoding joins a list.
func PrefixLength(dst []byte, start int) []byte {
	size := len(dst) - start
	n := uvarintLen(uint64(size))
	dst = slices.Grow(dst, n)[:len(dst)+n]
	copy(dst[start+n:], dst[start:start+size])
	binary.PutUvarint(dst[start:start+n], uint64(size))
	return dst
}

// List reads the arguments of a body with [FlagList].
type List struct {
	rest []byte
	left uint64
}

// ReadList returns the list in body, which is kept, and how many arguments it
// holds. Every argument takes at least one byte, so a count beyond the body is
// [ErrMalformed].
func ReadList(body []byte) (List, int, error) {
	count, n := binary.Uvarint(body)
	if n <= 0 || count > uint64(len(body)-n) {
		return List{}, 0, ErrMalformed
	}
	return List{body[n:], count}, int(count), nil
}

// Next returns the next argument, a view. Error: [ErrMalformed].
func (l *List) Next() ([]byte, error) {
	value, rest, ok := cutPrefixed(l.rest)
	if !ok || l.left == 0 {
		return nil, ErrMalformed
	}
	l.rest, l.left = rest, l.left-1
	return value, nil
}

// End returns [ErrMalformed] if something is left.
func (l *List) End() error {
	if l.left != 0 || len(l.rest) != 0 {
		return ErrMalformed
	}
	return nil
}
