package serializer_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The json serializer must do what encoding/json does, except where a difference
// of json_differences_test.go says otherwise.

// FuzzJSONEncode makes a value of bytes and compares how the two write it.
func FuzzJSONEncode(f *testing.F) {
	for which := range writable {
		f.Add(uint8(which), []byte("\x01\x02abc\x7f\xff\xfe<>&\x08\x0c\u2028 1e-7 \x00\x00\x80\x3e\x10\x20\x30\x40\x50\x60\x70\x80"))
		f.Add(uint8(which), bytes.Repeat([]byte{3, 0, 200, 1, 0x7f, 0xf0}, 40))
	}
	f.Fuzz(func(t *testing.T, which uint8, program []byte) {
		v := reflect.New(writable[int(which)%len(writable)]).Elem()
		(&filler{program}).fill(v, 0)
		want, wantErr := json.Marshal(v.Interface())
		got, err := iterator.Append(nil, v.Interface())
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("encode %#v: got %s, error %v; want %s, error %v", v, got, err, want, wantErr)
		}
		for _, d := range encodeDifferences {
			if d.normalize != nil {
				got, want = d.normalize(got), d.normalize(want)
			}
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("encode %#v: got\n%s, want\n%s", v, got, want)
		}
	})
}

// FuzzJSONDecode decodes a text into a value of some type and compares what the two
// read.
func FuzzJSONDecode(f *testing.F) {
	texts := []string{
		`null`, `true`, `"a\u00e9\n\ud83d\ude00"`, `-12.5e3`, `9007199254740993`, `18446744073709551615`, `-9223372036854775808`, `[]`, `{}`, ` [1, 2 ,3] `, `[[1],[2,[3]]]`,
		`{"name":"x","price":1.5,"tags":["a"],"next":{"name":"y"},"any":{"b":[null,1]},"at":"2020-01-02T03:04:05Z","raw":{"a":[1]},"number":12,"counts":{"a":1},"unknown":[{}]}`,
		`{"1":"a","-2":"b"}`, `{"a":{"a":{"a":null}}}`, `"aGVsbG8="`, `{"NAME":"upper"}`, `[1,"a",{"b":false},null]`, `1e400`, `1.`, `01`, `{"a":1,}`, "\"\xff\"", "1\x00", "\"\\n\x01\"",
	}
	for _, text := range texts {
		for which := range readable {
			f.Add(uint8(which), []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		compareDecode(t, readable[int(which)%len(readable)], data)
	})
}

// compareDecode decodes data into a new value of type typ, both ways.
func compareDecode(t *testing.T, typ reflect.Type, data []byte) {
	t.Helper()
	want, got := reflect.New(typ), reflect.New(typ)
	wantErr := json.Unmarshal(data, want.Interface())
	given := bytes.Clone(data)
	err := iterator.Decode(given, got.Interface())
	if !bytes.Equal(given, data) {
		t.Fatalf("data after decoding %q into %s: got %q", data, typ, given)
	}
	if (err == nil) == (wantErr == nil) && (err != nil || reflect.DeepEqual(got.Interface(), want.Interface())) {
		return
	}
	for _, d := range decodeDifferences {
		if d.applies != nil && d.applies(data) {
			return
		}
	}
	t.Fatalf("decode %q into %s: got %s, error %v; want %s, error %v", data, typ, show(got), err, show(want), wantErr)
}

// TestJSONDecodeRandom is FuzzJSONDecode with texts that are JSON or nearly so.
func TestJSONDecodeRandom(t *testing.T) {
	w := &writer{rand.New(rand.NewPCG(5, 6))}
	for range 20_000 {
		compareDecode(t, readable[w.IntN(len(readable))], w.damage([]byte(w.text(0))))
	}
}

// writer writes random JSON that the types of readable half understand.
type writer struct{ *rand.Rand }

func (w *writer) one(of ...string) string { return of[w.IntN(len(of))] }

func (w *writer) text(depth int) string {
	space := w.one("", "", "", " ", "\n")
	kind := w.IntN(14)
	switch {
	case kind < 5 && depth < 5:
		var members []string
		for range w.IntN(4) {
			members = append(members, `"`+w.key()+`"`+space+":"+space+w.text(depth+1))
		}
		return "{" + space + strings.Join(members, ",") + space + "}"
	case kind < 7 && depth < 5:
		var elements []string
		for range w.IntN(5) {
			elements = append(elements, w.text(depth+1))
		}
		return "[" + space + strings.Join(elements, ","+space) + "]"
	case kind < 9:
		return `"` + w.one("a", "", "aGk=", "1", "-12", `\u00e9`, `\ud83d\ude00`, `\ud83d`, "2020-01-02T03:04:05Z", "1.2.3.4", "null", "true", `\"q\"`, `\/\b`, "1e3", "é", " 1", `\ude00`, "1.5", "aGk") + `"`
	case kind < 12:
		return w.one("0", "1", "-1", "127", "128", "-128", "-129", "255", "256", "32768", "65535", "65536", "2147483647", "2147483648", "-2147483649", "4294967295", "4294967296", "9999999999",
			"9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "45000000000000000000", "1.0", "1.5", "-0", "-0.0", "1e2", "1E-2", "1e+2", "0.1", "123456789.123456",
			"16777217.000001", "3.4e38", "3.5e38", "1.7e308", "4.9e-324", "1e-400", "0e0", "12345678901234567890123", "0.30000000000000004", "8388608.5", "16777217", "33554433.0")
	}
	return w.one("null", "true", "false")
}

func (w *writer) key() string {
	return w.one("name", "price", "small", "tags", "next", "kids", "any", "counts", "bytes", "quoted", "Plain", "PLAIN", "Skip", "lost", "A", "b", "B", "Code", "text", "at", "ip", "m", "P", "M",
		"1", "-2", "x", "", "1.5", " 1", "null", `\u0041`, "a", "C", "d")
}

// damage changes nothing, or a byte or two.
func (w *writer) damage(text []byte) []byte {
	for range max(0, w.IntN(5)-2) {
		if len(text) == 0 {
			break
		}
		at := w.IntN(len(text))
		with := w.one("{", "}", "[", "]", ",", ":", `"`, "0", "7", ".", "-", "+", "e", "n", " ", "\\", "u", "t")
		switch w.IntN(4) {
		case 0:
			text = slices.Delete(text, at, at+1)
		case 1:
			text[at] = with[0]
		case 2:
			text = slices.Insert(text, at, with[0])
		case 3:
			text = text[:at]
		}
	}
	return text
}

func show(p reflect.Value) string { return fmt.Sprintf("%+v", p.Elem().Interface()) }

type (
	named  string
	nested []nested
	node   struct {
		Name  named            `json:"name,omitempty"`
		Price float64          `json:"price"`
		Small float32          `json:"small,omitempty"`
		Tags  []string         `json:"tags"`
		Next  *node            `json:"next,omitempty"`
		Kids  []node           `json:"kids,omitempty"`
		Any   any              `json:"any"`
		Count map[string]int32 `json:"counts"`
		Byte  []byte           `json:"bytes,omitempty"`
		Quote int              `json:"quoted,string"`
		Skip  int              `json:"-"`
		Plain bool
		_     int
	}
	inner struct {
		A int8
		B uint16
	}
	Base  struct{ Code, Text string }
	outer struct {
		inner
		*Base
		A  string
		At time.Time           `json:"at"`
		IP netip.Addr          `json:"ip"`
		M  map[netip.Addr]bool `json:"m,omitempty"`
	}
	single  struct{ P *int }
	pointer struct{ M map[string]*single }
)

var writable = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](), reflect.TypeFor[float32](), reflect.TypeFor[float64](),
	reflect.TypeFor[string](), reflect.TypeFor[named](), reflect.TypeFor[[]byte](), reflect.TypeFor[[]string](), reflect.TypeFor[[4]uint8](), reflect.TypeFor[[1]*int](),
	reflect.TypeFor[map[string]string](), reflect.TypeFor[map[named]int](), reflect.TypeFor[map[int]float64](), reflect.TypeFor[map[uint8][]int](),
	reflect.TypeFor[any](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](), reflect.TypeFor[node](), reflect.TypeFor[*node](), reflect.TypeFor[[]*node](),
	reflect.TypeFor[outer](), reflect.TypeFor[*outer](), reflect.TypeFor[single](), reflect.TypeFor[pointer](), reflect.TypeFor[nested](), reflect.TypeFor[time.Duration](),
	reflect.TypeFor[**string](), reflect.TypeFor[[][]bool](), reflect.TypeFor[struct{}](), reflect.TypeFor[[0]int](), reflect.TypeFor[map[string]map[string]single](),
}

var readable = append([]reflect.Type{
	reflect.TypeFor[json.RawMessage](), reflect.TypeFor[json.Number](), reflect.TypeFor[map[string]json.RawMessage](), reflect.TypeFor[[]json.Number](),
	reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](), reflect.TypeFor[uint32](), reflect.TypeFor[uint8](), reflect.TypeFor[[]int64](), reflect.TypeFor[[]uint32](),
	reflect.TypeFor[[3]int](), reflect.TypeFor[map[int32]int](), reflect.TypeFor[time.Time](), reflect.TypeFor[map[string]nested](),
	reflect.TypeFor[struct{ A, B, C, D, E, F, G, H, I, J, K, L int }](),
}, writable...)

// filler fills values from bytes; when they end, with zeros.
type filler struct{ rest []byte }

func (f *filler) byte() byte {
	if len(f.rest) == 0 {
		return 0
	}
	b := f.rest[0]
	f.rest = f.rest[1:]
	return b
}

func (f *filler) uint64() uint64 {
	var b [8]byte
	f.rest = f.rest[copy(b[:], f.rest):]
	return binary.LittleEndian.Uint64(b[:])
}

func (f *filler) bytes() []byte {
	n := min(int(f.byte()%32), len(f.rest))
	b := bytes.Clone(f.rest[:n])
	f.rest = f.rest[n:]
	return b
}

func (f *filler) float() float64 {
	switch f.byte() % 4 {
	case 0:
		return float64(int8(f.byte()))
	case 1: // either side of where the format changes
		return float64(int8(f.byte())) * math.Pow(10, float64(f.byte()%60)-30)
	case 2:
		return float64(float32(f.uint64()) / 1000)
	}
	return math.Float64frombits(f.uint64())
}

func (f *filler) any(depth int) any {
	types := []reflect.Type{nil, reflect.TypeFor[bool](), reflect.TypeFor[float64](), reflect.TypeFor[int64](), reflect.TypeFor[string](), reflect.TypeFor[[]any](),
		reflect.TypeFor[map[string]any](), reflect.TypeFor[inner](), reflect.TypeFor[*single](), reflect.TypeFor[[]byte](), reflect.TypeFor[named]()}
	t := types[int(f.byte())%len(types)]
	if t == nil {
		return nil
	}
	v := reflect.New(t).Elem()
	f.fill(v, depth)
	return v.Interface()
}

func (f *filler) fill(v reflect.Value, depth int) {
	if depth++; depth > 8 || !v.CanSet() {
		return
	}
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(int64(int32(f.uint64())), 0).UTC()))
		return
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{f.byte(), f.byte(), 1, 2})))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.byte()%2 == 1)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.uint64()) >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(f.uint64() >> (64 - v.Type().Bits()))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(f.float())
	case reflect.String:
		v.SetString(string(f.bytes()))
	case reflect.Pointer:
		if f.byte()%3 != 0 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth)
		}
	case reflect.Slice:
		if n := int(f.byte() % 5); n > 0 { // 0: nil
			v.Set(reflect.MakeSlice(v.Type(), n-1, n-1))
			for i := range n - 1 {
				f.fill(v.Index(i), depth)
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i), depth)
		}
	case reflect.Map:
		if n := int(f.byte() % 5); n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n - 1 {
				key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				f.fill(key, depth)
				f.fill(elem, depth)
				if key.Kind() == reflect.String { // see "order of map keys"
					key.SetString(strings.ToValidUTF8(key.String(), "?"))
				}
				v.SetMapIndex(key, elem)
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), depth)
		}
	case reflect.Interface:
		if x := f.any(depth); x != nil {
			v.Set(reflect.ValueOf(x))
		}
	}
}
