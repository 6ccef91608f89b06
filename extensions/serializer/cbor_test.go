package serializer_test

import (
	"bytes"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// allocates returns how many bytes f and whatever runs beside it allocate.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestCBORHostileData(t *testing.T) {
	type forest []forest
	tests := []struct {
		name string
		data []byte
		into any
		want string
	}{
		{"nothing", nil, new(int), "EOF"},
		{"a list of billions", unhex(t, "9b 000000007fffffff f6"), new([]int), "EOF"},
		{"a list beyond the limit", unhex(t, "9b 7fffffffffffffff f6"), new([]int), "exceeded max number of elements"},
		{"a map of billions", unhex(t, "bb 000000007fffffff f6 f6"), new(map[string]int), "EOF"},
		{"text longer than the data", unhex(t, "7b 00000000ffffffff 61"), new(string), "EOF"},
		{"bytes longer than the data", unhex(t, "5b 7fffffffffffffff 61"), new([]byte), "EOF"},
		{"a second value", unhex(t, "01 02"), new(int), "extraneous"},
		{"a break outside", unhex(t, "ff"), new(int), "unexpected"},
		{"endless lists", append(bytes.Repeat([]byte{0x81}, 1<<20), 0xf6), new(forest), "exceeded max nested level"},
		{"endless tags", append(bytes.Repeat([]byte{0xc1}, 1<<20), 0xf6), new(any), "exceeded max nested level"},
		{"a key twice", unhex(t, "a2 6161 01 6161 02"), new(map[string]int), "duplicate map key"},
		{"a key twice in a struct", unhex(t, "a2 6141 01 6141 02"), new(struct{ A int }), "duplicate map key"},
		{"text that is none", unhex(t, "61 ff"), new(string), "invalid UTF-8"},
		{"a number as a key of anything", unhex(t, "a1 01 02"), new(any), "cannot"},
		{"a list as a key", unhex(t, "a1 81 01 02"), new(map[any]int), "invalid map key"},
		{"a number too large", unhex(t, "19 0100"), new(uint8), "overflow"},
		{"text for a number", unhex(t, "61 61"), new(int), "cannot unmarshal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			used := allocates(func() { err = cbors.Decode(tt.data, tt.into) })
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "decode cbor into ") {
				t.Errorf("Decode(%.60x): got error %v, want one with %q", tt.data, err, tt.want)
			}
			if used > 4<<20 {
				t.Errorf("memory: got %d MiB, want less", used>>20)
			}
		})
	}
}

// The forms that other libraries write.
func TestCBORForms(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       any
	}{
		{"list without a length", "9f 01 02 ff", []int{1, 2}}, {"map without a length", "bf 6161 01 ff", map[string]int{"a": 1}},
		{"text in parts", "7f 6161 6162 ff", "ab"}, {"half a float", "f9 3e00", 1.5}, {"undefined", "f7", (*int)(nil)},
		{"text time", "c0 74 323032362d31312d32325430313a30323a30335a", time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)},
		{"number time", "c1 1a 80000001", time.Unix(0x80000001, 0)}, {"time without a tag", "1a 80000001", time.Unix(0x80000001, 0)},
		{"anything", "82 01 a1 6161 20", []any{int64(1), map[string]any{"a": int64(-1)}}},
		{"a large number of anything", "81 1b ffffffffffffffff", []any{*new(big.Int).SetUint64(1<<64 - 1)}},
		{"long list", "99 0001 01", []int{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := reflect.New(reflect.TypeOf(tt.want))
			if err := cbors.Decode(unhex(t, tt.data), target.Interface()); err != nil || !reflect.DeepEqual(target.Elem().Interface(), tt.want) {
				t.Errorf("Decode(%s): got %v, error %v, want %v", tt.data, target.Elem(), err, tt.want)
			}
		})
	}
	long, err := cbors.Append(nil, make([]float64, 200_000))
	if err != nil {
		t.Fatal(err)
	}
	var back []float64
	if err := cbors.Decode(long, &back); err != nil || len(back) != 200_000 {
		t.Errorf("a list of 200,000: got %d, error %v", len(back), err)
	}
}

func FuzzCBORDecode(f *testing.F) {
	fuzzDecode(f, cbors, "9f 01 02 ff", "a2 6161 01 6161 02", "c1 fb 41d0000000000000", "c2 49 010000000000000000", "a1 81 01 02")
}

// fuzzDecode decodes whatever it is given: no panic, no memory that the data does not
// back, nothing left over, and what was read can be written and read again.
func fuzzDecode(f *testing.F, s spi.Serializer, more ...string) {
	targets := []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[string](), reflect.TypeFor[tagged](), reflect.TypeFor[map[string][]int](), reflect.TypeFor[[]any](),
		reflect.TypeFor[any](), reflect.TypeFor[time.Time](), reflect.TypeFor[map[any]any](), reflect.TypeFor[deepMap](), reflect.TypeFor[[]byte](), reflect.TypeFor[map[[2]byte]string](),
		reflect.TypeFor[*big.Int](), reflect.TypeFor[[3]float32](), reflect.TypeFor[map[string]any](), reflect.TypeFor[[]string]()}
	seed := func(data []byte) {
		for which := range targets {
			f.Add(uint8(which), data)
		}
	}
	for _, v := range []any{1, "text", tagged{Name: "a", Nested: map[string]tagged{"b": {}}}, map[string][]int{"a": {1}}, []any{"x", 1.5, nil}, time.Unix(1, 2),
		deepMap{"a": {"b": nil}}, []byte{1, 2}, map[[2]byte]string{{1, 2}: "x"}, big.NewInt(1 << 60)} {
		data, err := s.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		seed(data)
	}
	for _, text := range more {
		seed(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		typ := targets[int(which)%len(targets)]
		given := bytes.Clone(data)
		target := reflect.New(typ)
		var err error
		used := allocates(func() { err = s.Decode(given, target.Interface()) })
		if most := uint64(4<<20 + 1000*len(data)); used > most {
			t.Errorf("memory for %d bytes: got %d, want at most %d", len(data), used, most)
		}
		if !bytes.Equal(given, data) {
			t.Errorf("data after Decode: got %x, want %x", given, data)
		}
		if err != nil {
			return
		}
		if s.Decode(append(bytes.Clone(data), 0), reflect.New(typ).Interface()) == nil {
			t.Errorf("Decode(%x) and a zero: got no error, want one", data)
		}
		again, err := s.Append(nil, target.Interface())
		if err != nil && strings.Contains(err.Error(), "year outside of range") { // a number of seconds that no text form has
			return
		}
		if err != nil {
			t.Fatalf("Append of what Decode(%x) made, %#v: %v", data, target.Elem(), err)
		}
		if err := s.Decode(again, reflect.New(typ).Interface()); err != nil {
			t.Errorf("Decode of what Append wrote for %#v, %x: %v", target.Elem(), again, err)
		}
	})
}
