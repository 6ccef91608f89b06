package toml_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	toml "github.com/bhrpc/bhrpc/examples/plugin-toml"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

// open opens the serializer as a program does that has it linked in.
func open(t testing.TB, with string) spi.Serializer {
	t.Helper()
	cat := spi.NewCatalog()
	if err := toml.Register(cat); err != nil {
		t.Fatal(err)
	}
	s, err := cat.Serializers.Open(context.Background(), spi.Env{}, spi.Ref{Use: "toml", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) { spitest.Serializer(t, open(t, "")) }

type tea struct {
	Name  string     `json:"name"`
	Cents int        `json:"cents,omitempty"`
	From  *time.Time `json:"from,omitempty"`
}

func TestDocument(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"struct", tea{"green", 250, &noon}, "cents = 250\nfrom = '2026-11-23T12:00:00Z'\nname = 'green'\n"},
		{"nested", map[string]any{"teas": []tea{{Name: "a"}, {Name: "b"}}}, "teas = [{name = 'a'}, {name = 'b'}]\n"},
		{"text", "hello", "value = 'hello'\n"},
		{"list", []int{1, 2}, "value = [1, 2]\n"},
		{"null", nil, ""},
		{"empty table", map[string]int{}, "value = {}\n"},
		{"table of nothing but null", map[string]any{"a": nil}, "value = {}\n"},
		{"table that looks wrapped", map[string]int{"value": 1}, "value = {value = 1}\n"},
		{"table with value and more", map[string]int{"value": 1, "x": 2}, "value = 1\nx = 2\n"},
		{"beyond int64", uint64(math.MaxUint64), "value = {'$number' = '18446744073709551615'}\n"},
		{"beyond int64 within", map[string]uint64{"a": math.MaxUint64, "b": 1}, "a = {'$number' = '18446744073709551615'}\nb = 1\n"},
		{"minus zero", math.Copysign(0, -1), "value = -0.0\n"},
	}
	s := open(t, "")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.Append(nil, tt.value)
			if err != nil || string(got) != tt.want {
				t.Fatalf("Append: got %q, %v, want %q", got, err, tt.want)
			}
			var back any
			if err := s.Decode(got, &back); err != nil {
				t.Fatal(err)
			}
			if again, err := s.Append(nil, back); err != nil || string(again) != tt.want {
				t.Errorf("Append of what was read without a type, as a plugin does: got %q, %v, want %q", again, err, tt.want)
			}
		})
	}
}

// What others write is read, too.
func TestDecode(t *testing.T) {
	s := open(t, "")
	var got any
	const document = "# a comment\na.b = 1\n[c]\nd = 1979-05-27T07:32:00Z\ne = 1979-05-27\n[[f]]\ng = true\n"
	want := map[string]any{
		"a": map[string]any{"b": int64(1)}, "c": map[string]any{"d": "1979-05-27T07:32:00Z", "e": "1979-05-27"}, "f": []any{map[string]any{"g": true}},
	}
	if err := s.Decode([]byte(document), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Decode: got %v, %v, want %v", got, err, want)
	}
}

func deep(n int) any {
	var v any = 1
	for range n {
		v = []any{v}
	}
	return v
}

func TestRefuses(t *testing.T) {
	s := open(t, `{"max_keys": 3}`)
	encode := []struct {
		name  string
		value any
		want  string
	}{
		{"null in a list", []any{1, nil}, "element 1 of a list is null"},
		{"reserved key", map[string]any{"a": map[string]int{"$number": 1}}, "$number is kept"},
		{"too many keys", map[string]any{"a": map[string]int{"b": 1, "c": 2}, "d": 3}, "more keys than max_keys"},
		{"too deep", deep(1001), "nested deeper"},
		{"not a number", math.NaN(), "unsupported value"},
	}
	for _, tt := range encode {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := s.Append(nil, tt.value); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Append: got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	decode := []struct{ name, document, want string }{
		{"too many keys", "a=1\nb=1\nc=1\nd=1", "more keys than max_keys"},
		{"too many keys in one", "a.b.c.d=1", "more keys than max_keys"},
		{"too many keys in a header", "[a.b.c.d]", "more keys than max_keys"},
		{"too many keys inline", "a=[{b=1},{c=1,d=1}]", "more keys than max_keys"},
		{"a key twice", "a=1\na=1", "a"},
		{"endless", "a=inf", "JSON has no number +Inf"},
		{"no number", "a={'$number'='x'}", "is no number"},
		{"a list for a number", "a={'$number'='[1]'}", "is no number"},
		{"more than a number", "a={'$number'='1 2'}", "is no number"},
		{"too deep", "a=" + strings.Repeat("[", 1001) + strings.Repeat("]", 1001), "nested deeper"},
		{"far too deep", "a=" + strings.Repeat("[", 1<<20), "nested"},
		{"no document", "{}", "toml"},
	}
	for _, tt := range decode {
		t.Run(tt.name, func(t *testing.T) {
			var got any
			if err := s.Decode([]byte(tt.document), &got); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode of %.40q: got %v, %v, want %q", tt.document, got, err, tt.want)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	cat := spi.NewCatalog()
	if err := toml.Register(cat); err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Serializers.Resolve(spi.Ref{Use: "toml", With: spi.Raw{JSON: []byte(`{"max_keys": 0}`)}}); err == nil || !strings.Contains(err.Error(), "max_keys: 0") {
		t.Errorf("Resolve: got %v, want an error about max_keys", err)
	}
}

// Every JSON document that is taken comes back as it was, but for nulls in tables.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-0,1e99,18446744073709551615,"\u0000"],"":{}}`, `{"value":{"value":null}}`, `"\ud800"`, `1e999`, `{"a.b":{"\n":" "}}`} {
		f.Add([]byte(seed))
	}
	s := open(f, "")
	f.Fuzz(func(t *testing.T, document []byte) {
		var before any
		if json.Unmarshal(document, &before) != nil {
			return
		}
		out, err := s.Append(nil, json.RawMessage(document))
		if err != nil {
			return
		}
		var raw json.RawMessage
		if err := s.Decode(out, &raw); err != nil {
			t.Fatalf("Decode of %q, which Append wrote for %s: got %v", out, document, err)
		}
		var after any
		if err := json.Unmarshal(raw, &after); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(withoutNulls(after)), fmt.Sprint(withoutNulls(before)); got != want {
			t.Fatalf("%s by %q: got %s, want %s", document, out, got, want)
		}
	})
}

func withoutNulls(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutNulls(v[i])
		}
	case map[string]any:
		for key, element := range v {
			if element == nil {
				delete(v, key)
			} else {
				v[key] = withoutNulls(element)
			}
		}
	}
	return v
}

// Whatever is read, Decode returns.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"a=1", "[a]\nb=[{c=1},{}]", "value={'$number'='1'}", "a=1979-05-27", "a.b=1\na.c=2", "a={'$number'=1}"} {
		f.Add([]byte(seed))
	}
	s := open(f, "")
	f.Fuzz(func(t *testing.T, document []byte) {
		var v any
		_ = s.Decode(document, &v)
	})
}
