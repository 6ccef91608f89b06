package wire

import (
	"encoding/binary"
	"fmt"
)

// tagPair is user metadata, in a REQUEST and in its answer.
const (
	reqMethod  = 1
	reqDefine  = 2
	reqTimeout = 3
	tagPair    = 4
	tagWhole   = 5 // in an answer too
)

// MostWhole is the most bytes that [AppendWhole] adds.
const MostWhole = 2 + 5

// RequestMeta is the metadata of a REQUEST. Its slices are views.
type RequestMeta struct {
	Number          uint64 // of the method; with Define: the number it gets, 0 for this frame only
	Define          bool   // Service and Method are set
	Service, Method []byte
	Timeout         uint64 // microseconds left; meaningful if HasTimeout
	HasTimeout      bool
	Whole           uint64 // bytes of the whole body; with [FlagMore] only
	Pairs           int    // how many pairs there are; read them with Pairs
}

// AppendMethod appends the field that names a method by number.
func AppendMethod(dst []byte, number uint64) []byte { return AppendUintField(dst, reqMethod, number) }

// AppendDefine appends the field that names a method by text and numbers it.
func AppendDefine(dst []byte, number uint64, service, method string) []byte {
	size := uvarintLen(number) + uvarintLen(uint64(len(service))) + len(service) + uvarintLen(uint64(len(method))) + len(method)
	dst = append(dst, reqDefine)
	dst = binary.AppendUvarint(dst, uint64(size))
	dst = binary.AppendUvarint(dst, number)
	return appendPrefixed(appendPrefixed(dst, service), method)
}

// AppendTimeout appends the field that holds the time left, in microseconds.
func AppendTimeout(dst []byte, micros uint64) []byte { return AppendUintField(dst, reqTimeout, micros) }

// AppendWhole appends the field that holds the length of a body in parts.
func AppendWhole(dst []byte, size uint32) []byte { return AppendUintField(dst, tagWhole, uint64(size)) }

// Whole returns the length of a body in parts from the metadata of an answer.
// Error: [ErrMalformed].
func Whole(block []byte) (uint64, error) {
	fields := ReadFields(block)
	for tag, value, ok := fields.Next(); ok; tag, value, ok = fields.Next() {
		if tag == tagWhole {
			return parseUint(value)
		}
	}
	return 0, fmt.Errorf("%w: a body in parts without its length", ErrMalformed)
}

// AppendUserPair appends one pair of user metadata.
func AppendUserPair(dst []byte, key, value string) []byte {
	return AppendPair(dst, tagPair, key, value)
}

// ParseRequestMeta reads the metadata of a REQUEST. Error: [ErrMalformed], with
// what is wrong.
func ParseRequestMeta(block []byte) (RequestMeta, error) {
	var m RequestMeta
	fail := func(what string) (RequestMeta, error) {
		return RequestMeta{}, fmt.Errorf("%w: REQUEST: %s", ErrMalformed, what)
	}
	named := 0
	fields := ReadFields(block)
	for tag, value, ok := fields.Next(); ok; tag, value, ok = fields.Next() {
		switch tag {
		case reqMethod:
			v, err := parseUint(value)
			if err != nil || v == 0 {
				return fail("method number")
			}
			m.Number, named = v, named+1
		case reqDefine:
			v, n := binary.Uvarint(value)
			if n <= 0 {
				return fail("definition")
			}
			service, rest, ok := cutPrefixed(value[n:])
			if !ok {
				return fail("definition")
			}
			method, _, ok := cutPrefixed(rest)
			if !ok {
				return fail("definition")
			}
			m.Number, m.Define, m.Service, m.Method, named = v, true, service, method, named+1
		case reqTimeout:
			v, err := parseUint(value)
			if err != nil {
				return fail("timeout")
			}
			m.Timeout, m.HasTimeout = v, true
		case tagPair:
			if _, _, err := ParsePair(value); err != nil {
				return fail("pair")
			}
			m.Pairs++
		case tagWhole:
			v, err := parseUint(value)
			if err != nil {
				return fail("length of the body")
			}
			m.Whole = v
		}
	}
	switch {
	case fields.Err() != nil:
		return fail("a field runs past the end")
	case named != 1:
		return fail("want the method once")
	}
	return m, nil
}

// CountPairs checks the metadata of an answer and returns how many pairs it holds.
// Error: [ErrMalformed].
func CountPairs(block []byte) (int, error) {
	count := 0
	fields := ReadFields(block)
	for tag, value, ok := fields.Next(); ok; tag, value, ok = fields.Next() {
		if tag != tagPair {
			continue
		}
		if _, _, err := ParsePair(value); err != nil {
			return 0, err
		}
		count++
	}
	return count, fields.Err()
}

// Pairs calls yield for every pair of user metadata in a block that was checked.
// key and value are views.
func Pairs(block []byte, yield func(key, value []byte)) {
	fields := ReadFields(block)
	for tag, value, ok := fields.Next(); ok; tag, value, ok = fields.Next() {
		if tag == tagPair {
			if key, v, err := ParsePair(value); err == nil {
				yield(key, v)
			}
		}
	}
}
