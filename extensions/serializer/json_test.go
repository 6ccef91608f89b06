package serializer_test

import (
	"encoding/json"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	jsoniter "github.com/json-iterator/go"
)

// What json-iterator itself would make of these is pinned too: where it has
// changed, a correction may have become superfluous.
var bare = jsoniter.ConfigCompatibleWithStandardLibrary

func TestJSONIntegersDoNotWrapAround(t *testing.T) {
	tests := []struct {
		name string
		text string
		into any
		bare any // what json-iterator alone makes of it; nil: an error
	}{
		{"int32", "9999999999", int32(0), int32(1410065407)},
		{"uint32", "9999999999", uint32(0), uint32(1410065407)},
		{"int64", "45000000000000000000", int64(0), int64(8106511852580896768)},
		{"uint64", "30000000000000000000", uint64(0), uint64(11553255926290448384)},
		{"negative int64", "-45000000000000000000", int64(0), int64(-8106511852580896768)},
		{"in a struct", `{"N":9999999999}`, struct{ N int32 }{}, struct{ N int32 }{1410065407}},
		{"as a key", `{"9999999999":1}`, map[int32]int(nil), map[int32]int{1410065407: 1}},
		{"int8", "128", int8(0), nil},
		{"negative int8", "-129", int8(0), nil},
		{"uint8", "256", uint8(0), nil},
		{"negative uint8", "-1", uint8(0), nil},
		{"int64 by one", "9223372036854775808", int64(0), nil},
		{"negative int64 by one", "-9223372036854775809", int64(0), nil},
		{"uint64 by one", "18446744073709551616", uint64(0), nil},
		{"many digits", strings.Repeat("9", 400), int64(0), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := reflect.New(reflect.TypeOf(tt.into))
			if err := iterator.Decode([]byte(tt.text), target.Interface()); err == nil {
				t.Errorf("Decode(%s): got %v, want an error", tt.text, target.Elem())
			}
			target = reflect.New(reflect.TypeOf(tt.into))
			if err := bare.Unmarshal([]byte(tt.text), target.Interface()); tt.bare != nil && (err != nil || !reflect.DeepEqual(target.Elem().Interface(), tt.bare)) {
				t.Errorf("json-iterator alone on %s: got %v, error %v, want %v", tt.text, target.Elem(), err, tt.bare)
			}
		})
	}
}

func TestJSONLargeIntegers(t *testing.T) {
	type record struct {
		ID   uint64
		Low  int64
		Text string
		Real float64
	}
	for _, want := range []record{
		{ID: math.MaxUint64, Low: math.MinInt64},
		{ID: math.MaxUint64/10 - 1}, {ID: math.MaxUint64 / 10},
		{ID: 1, Text: "99999999999999999999999"},
		{ID: math.MaxUint64, Text: "99999999999999999999999", Real: 1e20}, // looks as if an integer had wrapped around
	} {
		data, err := iterator.Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		var got record
		if err := iterator.Decode(data, &got); err != nil || got != want {
			t.Errorf("Decode(%s): got %+v, error %v, want %+v", data, got, err, want)
		}
	}
}

type (
	list  []list
	tree  map[string]tree
	graph struct {
		Name string
		Next *graph `json:",omitempty"`
		Any  any    `json:",omitempty"`
	}
)

func TestJSONDeepDataIsAnError(t *testing.T) {
	const deep = 1 << 20
	for _, tt := range []struct {
		name string
		text string
		into any
	}{
		{"lists", strings.Repeat("[", deep), new(list)},
		{"maps", strings.Repeat(`{"a":`, deep), new(tree)},
		{"structs", strings.Repeat(`{"Next":`, deep), new(graph)},
		{"anything", strings.Repeat("[", deep), new(any)},
		{"raw", strings.Repeat("[", deep), new(json.RawMessage)},
		{"unknown", `{"x":` + strings.Repeat("[", deep), new(graph)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := iterator.Decode([]byte(tt.text), tt.into)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Errorf("Decode of %d levels: got no error, want one", deep)
			} else if len(err.Error()) > 1000 {
				t.Errorf("error of Decode of %d levels: got %d bytes, want a readable one: %.200s…", deep, len(err.Error()), err)
			}
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<20 {
				t.Errorf("memory for %d levels: got %d MiB, want less", deep, spent>>20)
			}
		})
	}
}

func TestJSONDeepValues(t *testing.T) {
	for _, n := range []int{1, 100, 1000} {
		want := list{}
		for range n - 1 {
			want = list{want}
		}
		data, err := iterator.Append(nil, want)
		if err != nil {
			t.Fatalf("Append of %d levels: got %v, want no error", n, err)
		}
		var got list
		if err := iterator.Decode(data, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Decode of %d levels: got error %v, want the same value", n, err)
		}
	}
}

func TestJSONCyclesAreErrors(t *testing.T) {
	ring := &graph{Name: "ring"}
	ring.Next = ring
	throughAny := &graph{}
	throughAny.Any = map[string]any{"a": throughAny, "b": throughAny} // doubles at every level
	bite := list{nil}
	bite[0] = bite
	branches := tree{}
	branches["a"], branches["b"] = branches, branches
	self := []any{nil, nil}
	self[0], self[1] = self, self
	for _, tt := range []struct {
		name  string
		value any
	}{{"pointer", ring}, {"interface", throughAny}, {"slice", bite}, {"map", branches}, {"slice of interfaces", self}} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := iterator.Append([]byte("kept"), tt.value)
			if err == nil || !strings.Contains(err.Error(), "cycle") {
				t.Errorf("Append: got %d bytes, error %v, want an error about a cycle", len(out), err)
			}
		})
	}
}

func TestJSONRawMessages(t *testing.T) {
	type envelope struct {
		R json.RawMessage  `json:"r"`
		P *json.RawMessage `json:"p,omitempty"`
	}
	raw := json.RawMessage(`[1,{"a":null}]`)
	for _, tt := range []struct {
		name string
		v    any
		want string // "error"
	}{
		{"value", raw, `[1,{"a":null}]`},
		{"pointer", &raw, `[1,{"a":null}]`},
		{"in a struct", envelope{R: raw, P: &raw}, `{"r":[1,{"a":null}],"p":[1,{"a":null}]}`},
		{"in a map", map[string]json.RawMessage{"a": raw}, `{"a":[1,{"a":null}]}`},
		{"in a list", []any{raw}, `[[1,{"a":null}]]`},
		{"nil", json.RawMessage(nil), `null`},
		{"nil in a struct", envelope{}, `{"r":null}`},
		{"empty", json.RawMessage(""), `error`},
		{"cut off", json.RawMessage(`{"a":`), `error`},
		{"two values", json.RawMessage(`1 2`), `error`},
		{"breaking out", envelope{R: json.RawMessage(`1,"admin":true`)}, `error`},
	} {
		t.Run("encode "+tt.name, func(t *testing.T) {
			got, err := iterator.Append(nil, tt.v)
			if err != nil {
				got = []byte("error")
			}
			if string(got) != tt.want {
				t.Errorf("Append(%s): got %s, error %v, want %s", tt.v, got, err, tt.want)
			}
		})
	}
	for _, text := range []string{`1`, `"a"`, `null`, `true`, `-1.5e3`, ` {"a" : [ 1 ] } `, `[]`} {
		var got json.RawMessage
		if err := iterator.Decode([]byte(text), &got); err != nil || string(got) != strings.TrimSpace(text) {
			t.Errorf("Decode(%q) into a raw message: got %q, error %v", text, got, err)
		}
		var inside envelope
		if err := iterator.Decode([]byte(`{"r":`+text+`}`), &inside); err != nil || string(inside.R) != strings.TrimSpace(text) {
			t.Errorf("Decode(%q) into a raw message inside: got %q, error %v", text, inside.R, err)
		}
	}
	for _, text := range []string{``, `{`, `{null:1}`, `-01`, "\"\\n\x01\"", `1 2`, `nul`} {
		got := json.RawMessage("before")
		if err := iterator.Decode([]byte(text), &got); err == nil {
			t.Errorf("Decode(%q) into a raw message: got %q, want an error", text, got)
		}
	}
	if got, err := bare.Marshal(json.RawMessage(`{"a":`)); err != nil || string(got) != "null" {
		t.Errorf("json-iterator alone on an invalid raw message: got %s, error %v, want null", got, err)
	}
	if got, err := bare.Marshal(json.RawMessage(`1 2`)); err != nil || string(got) != "1 2" {
		t.Errorf("json-iterator alone on two values: got %s, error %v, want 1 2", got, err)
	}
}

func TestJSONNumbers(t *testing.T) {
	for _, tt := range []struct {
		number json.Number
		want   string
	}{{"1", "1"}, {"-1.5e3", "-1.5e3"}, {"", "0"}, {"1e400", "1e400"}, {"abc", "error"}, {"1,2", "error"}, {" 1", "error"}, {"1 ", "error"}, {`"1"`, "error"}, {"null", "error"}, {"01", "error"}} {
		got, err := iterator.Append(nil, tt.number)
		if err != nil {
			got = []byte("error")
		}
		if string(got) != tt.want {
			t.Errorf("Append(json.Number(%q)): got %s, error %v, want %s", tt.number, got, err, tt.want)
		}
	}
	for _, text := range []string{`1.2.3`, `--1`, `"abc"`, `"1,2"`, `true`, `-`, `[]`} {
		var got json.Number
		if err := iterator.Decode([]byte(text), &got); err == nil {
			t.Errorf("Decode(%s) into a json.Number: got %q, want an error", text, got)
		}
	}
	if got, err := bare.Marshal(json.Number("1,2")); err != nil || string(got) != "1,2" {
		t.Errorf("json-iterator alone on what is no number: got %s, error %v, want 1,2", got, err)
	}
}

func TestJSONArraysOfLengthZero(t *testing.T) {
	type framed struct {
		A [0]int
		B int
	}
	got := framed{B: 7}
	if err := iterator.Decode([]byte(`{"A":[5,6]}`), &got); err != nil || got.B != 7 {
		t.Errorf("Decode: got %+v, error %v, want B 7", got, err)
	}
	if err := iterator.Decode([]byte(`{"A":5}`), &got); err == nil {
		t.Error("Decode of a number into an array: got no error, want one")
	}
	if err := bare.Unmarshal([]byte(`{"A":[5]}`), &got); err != nil || got.B != 5 {
		t.Errorf("json-iterator alone: got %+v, error %v, want the neighbour to be overwritten with 5", got, err)
	}
}

func TestJSONRefusesWhatFollows(t *testing.T) {
	for _, tt := range []struct {
		text string
		ok   bool
	}{{`{}`, true}, {" {} \r\n\t", true}, {"{}\x00", false}, {"{} \x00x", false}, {`{}{}`, false}, {`{},`, false}, {`{}]`, false}} {
		var v struct{}
		if err := iterator.Decode([]byte(tt.text), &v); (err == nil) != tt.ok {
			t.Errorf("Decode(%q): got error %v, want ok %v", tt.text, err, tt.ok)
		}
	}
	var v struct{}
	if err := bare.Unmarshal([]byte("{}\x00x"), &v); err != nil {
		t.Errorf("json-iterator alone on {} and a zero: got %v, want no error", err)
	}
}

type angry struct{}

func (angry) MarshalJSON() ([]byte, error) { panic("angry") }

func TestJSONAfterAPanic(t *testing.T) {
	dst := append(make([]byte, 0, 100), "mine"...)
	func() {
		defer func() {
			if got := recover(); got != "angry" {
				t.Errorf("panic of MarshalJSON: got %v, want angry", got)
			}
		}()
		_, _ = iterator.Append(dst, []any{1, angry{}})
	}()
	for range 10 {
		out, err := iterator.Append(nil, "later")
		if err != nil || string(out) != `"later"` {
			t.Errorf("Append after a panic: got %s, error %v", out, err)
		}
	}
	if string(dst) != "mine" {
		t.Errorf("dst: got %q, want mine", dst)
	}
}

func TestJSONErrorsNameTheType(t *testing.T) {
	_, err := iterator.Append(nil, make(chan int))
	if err == nil || !strings.Contains(err.Error(), "encode chan int as json") {
		t.Errorf("Append of a channel: got %v", err)
	}
	for _, s := range []struct {
		name string
		err  error
	}{{"json", iterator.Decode([]byte("x"), new(graph))}, {"json-std", standard.Decode([]byte("x"), new(graph))}} {
		if s.err == nil || !strings.Contains(s.err.Error(), "decode json into *serializer_test.graph: ") {
			t.Errorf("%s, Decode of x: got %v", s.name, s.err)
		}
	}
}
