package serializer_test

import (
	"encoding/json"
	"maps"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

type (
	embedded struct {
		Inner int `json:"inner"`
	}
	tagged struct {
		Name   string            `json:"name"`
		Hidden string            `json:"-"`
		Empty  string            `json:"empty,omitempty"`
		None   *int              `json:"none"`
		Plain  int               // by its own name
		Nested map[string]tagged `json:"nested,omitempty"`
		embedded
		secret int
	}
)

// The serializers that read json tags give a struct the same keys.
func TestJSONTags(t *testing.T) {
	v := tagged{Name: "a", Hidden: "b", Plain: 7, Nested: map[string]tagged{"x": {Name: "y"}}, embedded: embedded{3}, secret: 1}
	want := []string{"Plain", "inner", "name", "nested", "none"}
	for name, s := range map[string]spi.Serializer{"json": iterator, "json-std": standard, "msgpack": msgpacks, "cbor": cbors} {
		t.Run(name, func(t *testing.T) {
			data, err := s.Append(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			var loose map[string]any
			if err := s.Decode(data, &loose); err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(loose)); !slices.Equal(got, want) {
				t.Errorf("keys: got %q, want %q", got, want)
			}
			var back tagged
			if err := s.Decode(data, &back); err != nil {
				t.Fatal(err)
			}
			v := v
			v.Hidden, v.secret = "", 0
			if !reflect.DeepEqual(back, v) {
				t.Errorf("Decode: got %+v, want %+v", back, v)
			}
		})
	}
}

// What docs/serializers.md says about types that are more than plain data.
func TestSpecialTypes(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 2, 3, 456789123, time.FixedZone("", 3600))
	for name, s := range map[string]spi.Serializer{"msgpack": msgpacks, "cbor": cbors} {
		t.Run(name, func(t *testing.T) {
			roundTrip := func(v any) any {
				t.Helper()
				data, err := s.Append(nil, v)
				if err != nil {
					t.Fatalf("Append(%v): %v", v, err)
				}
				target := reflect.New(reflect.TypeOf(v))
				if err := s.Decode(data, target.Interface()); err != nil {
					t.Fatalf("Decode of %x into %T: %v", data, v, err)
				}
				return target.Elem().Interface()
			}
			if got := roundTrip(at).(time.Time); !got.Equal(at) {
				t.Errorf("time: got %v, want %v", got, at)
			}
			if got := roundTrip(time.Time{}).(time.Time); !got.IsZero() {
				t.Errorf("zero time: got %v, want zero", got)
			}
			if got := roundTrip(struct{ At []time.Time }{[]time.Time{at}}).(struct{ At []time.Time }); !got.At[0].Equal(at) {
				t.Errorf("time in a list: got %v, want %v", got.At, at)
			}
			if got, want := roundTrip(netip.MustParseAddr("::1")), netip.MustParseAddr("::1"); got != want {
				t.Errorf("address: got %v, want %v", got, want)
			}
			if got, want := roundTrip(map[netip.Addr]int{netip.MustParseAddr("::1"): 1}), (map[netip.Addr]int{netip.MustParseAddr("::1"): 1}); !reflect.DeepEqual(got, want) {
				t.Errorf("map of addresses: got %v, want %v", got, want)
			}
			if got, want := roundTrip(big.NewInt(1<<60)).(*big.Int), big.NewInt(1<<60); got.Cmp(want) != 0 {
				t.Errorf("big number: got %v, want %v", got, want)
			}
			page := struct{ At url.URL }{url.URL{Scheme: "https", Host: "bhrpc.example"}} // its methods belong to the pointer
			if got := roundTrip(page); got != page {
				t.Errorf("struct with a URL: got %v, want %v", got, page)
			}
			if got := roundTrip(json.RawMessage(`{"a":1}`)).(json.RawMessage); string(got) != `{"a":1}` {
				t.Errorf("raw JSON: got %s, want its bytes", got)
			}
		})
	}
}

// Every serializer but gob reads null into nil, and writes nil as null.
func TestNil(t *testing.T) {
	for name, s := range map[string]spi.Serializer{"json": iterator, "json-std": standard, "msgpack": msgpacks, "cbor": cbors} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []any{nil, (*int)(nil), []int(nil), map[string]int(nil)} {
				data, err := s.Append(nil, v)
				if err != nil {
					t.Fatalf("Append(%#v): %v", v, err)
				}
				n := 7
				p := &n
				if err := s.Decode(data, &p); err != nil || p != nil {
					t.Errorf("Decode of %#v into a pointer: got %v, error %v, want nil", v, p, err)
				}
			}
		})
	}
}
