package serializer_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

type shape interface{ Sides() int }

type (
	square struct{ Name string }
	box    struct {
		Shape shape
		Deep  map[string]any
	}
	wide struct {
		A  []map[string][]int
		B  [3]complex128
		C  map[int]*wide
		D  *big.Int
		E  time.Time
		F  netip.Addr
		G  [][]byte
		H  any
		I  uint8
		J  float32
		K  []string
		L  struct{ M, N bool }
		Q  []any
		R  *uint64
		Up *wide
	}
)

func (square) Sides() int { return 4 }

func init() { // of the test program, which has types of its own
	gob.Register(square{})
	gob.Register(map[string]any{})
	gob.Register([]any{})
	gob.Register(wide{})
}

// What encoding/gob writes passes the check, whatever the type.
func TestGobRoundTrip(t *testing.T) {
	n := uint64(math.MaxUint64)
	tests := []struct {
		name  string
		value any
	}{
		{"number", 7}, {"zero", 0}, {"text", "x"}, {"nothing", ""}, {"time", time.Unix(1, 2).UTC()}, {"address", netip.MustParseAddr("::1")},
		{"big", big.NewInt(1 << 60)}, {"complex", 1 + 2i}, {"empty list", []string{}}, {"list", []wide{{}, {I: 1}}},
		{"interface", box{Shape: square{"a"}}},
		{"no interface", box{}},
		{"interfaces in interfaces", box{square{"a"}, map[string]any{"a": 1, "b": square{"c"}, "c": map[string]any{"d": []any{true, "e", square{"f"}}}}}},
		{"everything", wide{
			A: []map[string][]int{{"a": {1, -2}}, nil, {}}, B: [3]complex128{1i, 2, 3}, C: map[int]*wide{1: {I: 2, C: map[int]*wide{3: {J: 1.5}}}},
			D: big.NewInt(-9), E: time.Unix(5, 0).UTC(), F: netip.MustParseAddr("1.2.3.4"), G: [][]byte{{1}, {2, 3}}, H: wide{I: 3, H: "x"}, I: 255, J: -0.5,
			K: []string{"", "k"}, L: struct{ M, N bool }{false, true}, Q: []any{1, "two", 3.0, square{"q"}}, R: &n, Up: &wide{Up: &wide{I: 1}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := gobs.Append(nil, tt.value)
			if err != nil {
				t.Fatal(err)
			}
			plain := reflect.New(reflect.TypeOf(tt.value))
			if err := gob.NewDecoder(bytes.NewReader(data)).DecodeValue(plain); err != nil {
				t.Fatalf("encoding/gob on its own stream: %v", err)
			}
			got := reflect.New(reflect.TypeOf(tt.value))
			if err := gobs.Decode(data, got.Interface()); err != nil || !reflect.DeepEqual(got.Interface(), plain.Interface()) {
				t.Errorf("Decode: got %+v, error %v, want %+v", got.Elem(), err, plain.Elem())
			}
		})
	}
}

func TestGobRefusesNilPointers(t *testing.T) {
	var none *square
	for _, v := range []any{none, &none, (**int)(nil)} {
		if _, err := gobs.Append(nil, v); err == nil || !strings.Contains(err.Error(), "nil pointer") {
			t.Errorf("Append(%T to nil): got error %v, want one about a nil pointer", v, err)
		}
	}
}

// gobMessages makes a stream of messages written by hand in hexadecimal. Spaces are
// for the reader. Type 65 is ff82, its description begins with ff81 for -65.
func gobMessages(t *testing.T, messages ...string) []byte {
	t.Helper()
	var out []byte
	for _, m := range messages {
		body, err := hex.DecodeString(strings.ReplaceAll(m, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if len(body) > 127 {
			t.Fatal("a longer message needs a longer length")
		}
		out = append(append(out, byte(len(body))), body...)
	}
	return out
}

func TestGobHostileData(t *testing.T) {
	const (
		mapType   = "ff81 04 01 02 ff82 00 01 04 01 04 00 00" // -65: a map (field 3) of int to int
		listType  = "ff81 02 01 02 ff82 00 01 ff82 00 00"     // -65: a slice (field 1) of itself
		plainType = "ff81 03 01 02 ff82 00 00 00"             // -65: a struct (field 2) without fields
	)
	deep := func() []byte { // a list in a list in a list …
		n := 1 << 20
		value := append([]byte{0xff, 0x82, 0}, bytes.Repeat([]byte{1}, n)...)
		value = append(value, 0)
		length := []byte{0xfd, byte(len(value) >> 16), byte(len(value) >> 8), byte(len(value))}
		return append(append(gobMessages(t, listType), length...), value...)
	}
	type forest []forest
	tests := []struct {
		name string
		data []byte
		into any
		want string
	}{
		{"map of a billion", gobMessages(t, mapType, "ff82 00 fc 3b9aca00 02 02"), new(map[int]int), "ends before"},
		{"endless lists", deep(), new(forest), "nested deeper"},
		{"endless lists nobody reads", deep(), new(int), "nested deeper"},
		{"message longer than the data", []byte{0xfc, 0x3b, 0x9a, 0xca, 0, 1}, new(int), "ends before"},
		{"text longer than the data", gobMessages(t, "0c 00 fc 3b9aca00 61"), new(string), "ends before"},
		{"bytes after the value", gobMessages(t, "04 00 02 00"), new(int), "follows"},
		{"a second value", gobMessages(t, "04 00 02", "04 00 02"), new(int), "follows"},
		{"bytes after a type", gobMessages(t, plainType+"00", "ff82 00"), new(struct{ A int }), "follows the description"},
		{"only a type", gobMessages(t, plainType), new(struct{ A int }), "ends before"},
		{"nothing", nil, new(int), "ends before"},
		{"empty message", []byte{0}, new(int), "ends before"},
		{"unknown type", gobMessages(t, "ff90 00 02"), new(int), "not described"},
		{"a known type again", gobMessages(t, "03 03 01 02 ff82 00 00 00"), new(int), "a known one"},
		{"a type that is nothing", gobMessages(t, "ff81 00", "ff82 00"), new(int), "0 things"},
		{"a type that is two things", gobMessages(t, "ff81 02 01 02 ff82 00 01 04 00 01 01 02 ff82 00 00 00", "ff82 00 00"), new([]int), "2 things"},
		{"a type that is unheard of", gobMessages(t, "ff81 08 01 02 ff82 00 00 00"), new(int), "does not have"},
		{"a field that is not there", gobMessages(t, plainType, "ff82 05 02 00"), new(struct{ A int }), "does not have"},
		{"a number of 9 bytes", gobMessages(t, "04 00 f7 010203040506070809"), new(int), "64 bits"},
		{"a number cut off", gobMessages(t, "04 00 fc 01"), new(int), "ends before"},
		{"not a zero before a number", gobMessages(t, "04 01 02"), new(int), "does not have"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := gobs.Decode(tt.data, tt.into)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode(%.60x): got error %v, want one with %q", tt.data, err, tt.want)
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 4<<20 {
				t.Errorf("memory: got %d MiB, want less", spent>>20)
			}
		})
	}
}

// The hand-written types are right: values that keep to them are accepted.
func TestGobHandWrittenData(t *testing.T) {
	var m map[int]int
	data := gobMessages(t, "ff81 04 01 02 ff82 00 01 04 01 04 00 00", "ff82 00 01 02 04")
	if err := gobs.Decode(data, &m); err != nil || !reflect.DeepEqual(m, map[int]int{1: 2}) {
		t.Errorf("Decode: got %v, error %v, want map[1:2]", m, err)
	}
	type forest []forest
	var f forest
	data = gobMessages(t, "ff81 02 01 02 ff82 00 01 ff82 00 00", "ff82 00 01 00")
	if err := gobs.Decode(data, &f); err != nil || len(f) != 1 {
		t.Errorf("Decode: got %v, error %v, want one empty list in a list", f, err)
	}
}

func TestGobErrorsNameTheType(t *testing.T) {
	_, err := gobs.Append(nil, make(chan int))
	if err == nil || !strings.Contains(err.Error(), "encode chan int as gob: ") {
		t.Errorf("Append of a channel: got %v", err)
	}
	if err := gobs.Decode([]byte{1}, new(square)); err == nil || !strings.Contains(err.Error(), "decode gob into *serializer_test.square: ") {
		t.Errorf("Decode of garbage: got %v", err)
	}
	if errors.Unwrap(err) == nil {
		t.Error("cause: got none, want one")
	}
}

// FuzzGobDecode decodes whatever it is given: no panic, no memory that the data
// does not back, nothing left over.
func FuzzGobDecode(f *testing.F) {
	targets := []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[wide](), reflect.TypeFor[box](), reflect.TypeFor[map[string][]int](),
		reflect.TypeFor[[]any](), reflect.TypeFor[any](), reflect.TypeFor[time.Time](), reflect.TypeFor[struct{ X map[int]int }]()}
	for which, v := range []any{1, "text", wide{I: 1, Q: []any{1, square{"a"}}}, box{square{"b"}, map[string]any{"a": 1}}, map[string][]int{"a": {1}}, []any{"x"}, &box{}, time.Unix(1, 0), struct{ X map[int]int }{map[int]int{1: 2}}} {
		data, err := gobs.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		for w := range targets {
			f.Add(uint8(w), data)
		}
		f.Add(uint8(which), append(data, 0))
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		given := bytes.Clone(data)
		target := reflect.New(targets[int(which)%len(targets)])
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := gobs.Decode(given, target.Interface())
		runtime.ReadMemStats(&after)
		if spent, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+1000*len(data)); spent > most {
			t.Errorf("memory for %d bytes: got %d, want at most %d", len(data), spent, most)
		}
		if !bytes.Equal(given, data) {
			t.Errorf("data after Decode: got %x, want %x", given, data)
		}
		if err == nil && gobs.Decode(append(given, 0), target.Interface()) == nil {
			t.Errorf("Decode(%x) and a zero: got no error, want one", data)
		}
	})
}
