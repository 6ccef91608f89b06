package serializer_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// unhex reads bytes in hexadecimal; spaces are for the reader.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type deepMap map[string]deepMap

func TestMsgpackHostileData(t *testing.T) {
	type forest []forest
	tests := []struct {
		name string
		data []byte
		into any
		want string
	}{
		{"nothing", nil, new(int), "ends before"},
		{"a list of four billion", unhex(t, "dd ffffffff c0"), new([]int), "ends before"},
		{"a list of four billion of anything", unhex(t, "dd ffffffff c0"), new(any), "ends before"},
		{"a map of four billion", unhex(t, "df ffffffff c0 c0"), new(map[string]int), "ends before"},
		{"a map of half its pairs", unhex(t, "82 01 02 03"), new(map[int]int), "ends before"},
		{"text longer than the data", unhex(t, "db ffffffff 61"), new(string), "ends before"},
		{"bytes longer than the data", unhex(t, "c6 ffffffff 61"), new([]byte), "ends before"},
		{"a length cut off", unhex(t, "dd ffff"), new([]int), "ends before"},
		{"a number cut off", unhex(t, "cf 0102"), new(uint64), "ends before"},
		{"a second value", unhex(t, "01 02"), new(int), "follows"},
		{"a byte that begins nothing", unhex(t, "91 c1"), new([]any), "begins no value"},
		{"endless lists", append(bytes.Repeat([]byte{0x91}, 1<<20), 0xc0), new(forest), "nested deeper"},
		{"endless lists nobody reads", append(append([]byte{0x81, 0xa1, 'x'}, bytes.Repeat([]byte{0x91}, 1<<20)...), 0xc0), new(struct{}), "nested deeper"},
		{"an extension nobody knows", unhex(t, "d4 05 00"), new(any), "not known"},
		{"a long extension", unhex(t, "c9 00000001 ff 00"), new(any), "not known"},
		{"a timestamp of no such length", unhex(t, "c7 05 ff 0000000000"), new(any), "not known"},
		{"a map in a timestamp", unhex(t, "d6 ff df ffffff"), new(map[string]int), "an extension stands"},
		{"maps in timestamps in maps", append(unhex(t, "dc 2710"), bytes.Repeat(unhex(t, "d6 ff 81 a1 61 c0"), 10000)...), new([]deepMap), "an extension stands"},
		{"a list as a key", unhex(t, "81 91 01 02"), new(map[any]int), "does not fit"},
		{"a map as a key of anything", unhex(t, "81 80 02"), new(any), ""},
		{"a longer list", unhex(t, "93 01 02 03"), new([2]int), "3 elements"},
		{"text for a number", unhex(t, "a1 61"), new(int), "invalid code"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			used := allocates(func() { err = msgpacks.Decode(tt.data, tt.into) })
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "decode msgpack into ") {
				t.Errorf("Decode(%.60x): got error %v, want one with %q", tt.data, err, tt.want)
			}
			if used > 4<<20 {
				t.Errorf("memory: got %d MiB, want less", used>>20)
			}
		})
	}
}

// The forms that other libraries write.
func TestMsgpackForms(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		want       any
	}{
		{"small", "7f", 127}, {"negative", "e0", -32}, {"uint8", "cc ff", 255}, {"uint16", "cd ffff", 65535}, {"uint32", "ce ffffffff", math.MaxUint32},
		{"int8", "d0 80", -128}, {"int16", "d1 8000", -32768}, {"int32", "d2 80000000", math.MinInt32}, {"int64", "d3 8000000000000000", math.MinInt},
		{"float32", "ca 3fc00000", 1.5}, {"float64", "cb 3ff8000000000000", 1.5}, {"true", "c3", true}, {"false", "c2", false},
		{"str", "a1 61", "a"}, {"str8", "d9 01 61", "a"}, {"str16", "da 0001 61", "a"}, {"str32", "db 00000001 61", "a"},
		{"bin8", "c4 01 61", []byte("a")}, {"bin16", "c5 0001 61", []byte("a")}, {"bin32", "c6 00000001 61", []byte("a")},
		{"array16", "dc 0001 01", []int{1}}, {"array32", "dd 00000001 01", []int{1}}, {"map16", "de 0001 a1 61 01", map[string]int{"a": 1}},
		{"map32", "df 00000001 a1 61 01", map[string]int{"a": 1}},
		{"timestamp 32", "d6 ff 80000001", time.Unix(0x80000001, 0)}, {"timestamp 64", "d7 ff de00000080000001", time.Unix(0x80000001&0x3ffffffff, 0xde000000>>2)},
		{"timestamp 96", "c7 0c ff 00000001 ffffffffffffffff", time.Unix(-1, 1)},
		{"anything", "93 01 a1 61 d6 ff 80000001", []any{int64(1), "a", time.Unix(0x80000001, 0)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := reflect.New(reflect.TypeOf(tt.want))
			if err := msgpacks.Decode(unhex(t, tt.data), target.Interface()); err != nil || !reflect.DeepEqual(target.Elem().Interface(), tt.want) {
				t.Errorf("Decode(%s): got %v, error %v, want %v", tt.data, target.Elem(), err, tt.want)
			}
		})
	}
}

func FuzzMsgpackDecode(f *testing.F) {
	fuzzDecode(f, msgpacks, "c7 0c ff 00000001 ffffffffffffffff", "81 d6 ff 81 a1 61 c0 01", "81 91 01 02", "dd 00000001 01")
}
