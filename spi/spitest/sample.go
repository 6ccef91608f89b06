package spitest

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// sample is a value that every serializer of Go values can write and read.
type sample struct {
	name  string
	value any
}

type color string

type item struct {
	Name  string
	Price float64
	Tags  []string
}

type order struct {
	ID       int64
	Paid     bool
	Color    color
	Item     item
	Items    []item
	Next     *item
	Absent   *item
	Counts   map[string]int
	ByNumber map[int]string
	Lists    map[string][]int
	Payload  []byte
	Corner   [3]int
	Took     time.Duration
	Empty    struct{ A, B int }
}

// document is a value in which much can be damaged.
func document() order {
	return order{
		ID: math.MaxInt64, Paid: true, Color: "blue", Took: time.Second,
		Item:  item{"tea, \"green\" <1>", 3.25, []string{"hot", "", "日本"}},
		Items: []item{{Name: "a"}, {Price: -1.5}, {Tags: []string{"x"}}},
		Next:  &item{Name: "next", Price: 1e100},
		Counts: map[string]int{
			"one": 1, "two": 2, "": -3,
		},
		ByNumber: map[int]string{-1: "minus", 7: "seven"},
		Lists:    map[string][]int{"fib": {1, 1, 2, 3, 5, 8}},
		Payload:  []byte{0, 1, 2, 0xff, 0xfe},
		Corner:   [3]int{4, 5, 6},
	}
}

// samples returns values that share nothing with those of another call.
func samples() []sample {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return []sample{
		{"true", true}, {"false", false},
		{"int min", math.MinInt}, {"int max", math.MaxInt}, {"int zero", 0},
		{"int8 min", int8(math.MinInt8)}, {"int8 max", int8(math.MaxInt8)},
		{"int16 min", int16(math.MinInt16)}, {"int16 max", int16(math.MaxInt16)},
		{"int32 min", int32(math.MinInt32)}, {"int32 max", int32(math.MaxInt32)},
		{"int64 min", int64(math.MinInt64)}, {"int64 max", int64(math.MaxInt64)},
		{"uint max", uint(math.MaxUint)}, {"uint8 max", uint8(math.MaxUint8)}, {"uint16 max", uint16(math.MaxUint16)},
		{"uint32 max", uint32(math.MaxUint32)}, {"uint64 max", uint64(math.MaxUint64)},
		{"float32 max", float32(math.MaxFloat32)}, {"float32 smallest", float32(math.SmallestNonzeroFloat32)},
		{"float64 max", math.MaxFloat64}, {"float64 least", -math.MaxFloat64}, {"float64 smallest", math.SmallestNonzeroFloat64},
		{"float64 third", 1.0 / 3}, {"float64 small", 1e-7}, {"float64 whole", 1e15}, {"float64 large", 1e21}, {"float64 zero", 0.0},
		{"string empty", ""}, {"string unicode", "héllo, 世界 😀 \u2028"}, {"string control", "\x00\x01\b\f\n\r\t\"\\/<>&'\x7f"},
		{"string 1 MiB", strings.Repeat("0123456789abcdeé", 1<<20/17)}, {"string named", color("red")},
		{"bytes nil", []byte(nil)}, {"bytes empty", []byte{}}, {"bytes every", every}, {"bytes 64 KiB", bytes.Repeat(every, 1<<8)},
		{"slice nil", []int(nil)}, {"slice", []int{1, -2, 3}}, {"slice of strings", []string{"a", "", "c"}}, {"slice of slices", [][]int{{1}, {}, {2, 3}}},
		{"slice 1,000", make([]int, 1000)}, {"array", [4]int{1, 2, 3, 4}},
		{"map nil", map[string]int(nil)}, {"map", map[string]int{"a": 1, "b": 0, "": 2}}, {"map of numbers", map[int]string{-1: "x", 2: ""}},
		{"map of slices", map[string][]string{"a": {"b"}}},
		{"struct zero", item{}}, {"struct", item{"a", 1.5, []string{"b"}}}, {"nested zero", order{}}, {"nested", document()},
		{"slice of structs", []item{{Name: "a"}, {}}}, {"duration", 90 * time.Minute},
	}
}

// small returns the samples without the large ones.
func small() []sample {
	return slices.DeleteFunc(samples(), func(c sample) bool { return strings.HasSuffix(c.name, "1 MiB") })
}

// closed returns values whose encodings can hardly be continued; of the number 4,
// followed by another, text formats make 44.
func closed() []sample {
	return []sample{
		{"bytes", []byte{1, 2, 3}}, {"slice", []int{1, -2, 3}}, {"slice empty", []string{}}, {"slice of slices", [][]int{{1}, {}, {2, 3}}},
		{"array", [2]int{1, 2}}, {"map", map[string]int{"a": 1}}, {"map empty", map[int]string{}},
		{"struct", item{"a", 1.5, []string{"b"}}}, {"struct zero", item{}}, {"slice of structs", []item{{Name: "a"}, {}}}, {"document", document()},
	}
}

// same reports whether two values are equal, a nil slice or map being equal to an
// empty one: not every encoding tells them apart.
func same(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		if bytesA, ok := a.Interface().([]byte); ok {
			return bytes.Equal(bytesA, b.Bytes())
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, key := range a.MapKeys() {
			other := b.MapIndex(key)
			if !other.IsValid() || !same(a.MapIndex(key), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	}
	return a.Equal(b)
}
