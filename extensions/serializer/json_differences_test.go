package serializer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// encodeDifference is one way in which json writes otherwise than json-std. Both
// texts are pinned, so that a change of either library is noticed.
type encodeDifference struct {
	name      string                   // a heading in docs/json.md
	value     any                      // the smallest example
	standard  string                   // what json-std writes of it; "error"
	ours      string                   // what json writes of it; "error"
	normalize func(text []byte) []byte // makes both the same; nil where the fuzz test does not come across it
}

type (
	zeroed struct {
		T int `json:"t,omitzero"`
	}
	spaced  struct{}
	pointed struct{}
	broken  struct{}
	quoting struct {
		A int `json:"\"a"` //lint:ignore SA5008 the name is the point
		B int `json:"<"`
	}
	link struct{ Next *link }
)

func (spaced) MarshalJSON() ([]byte, error)   { return []byte(`{ "<": 1 }`), nil }
func (*pointed) MarshalJSON() ([]byte, error) { return []byte(`1`), nil }
func (broken) MarshalJSON() ([]byte, error)   { return []byte(`{`), nil }

// chain returns a list of n links.
func chain(n int) *link {
	var l *link
	for range n {
		l = &link{l}
	}
	return l
}

var exponent = regexp.MustCompile(`e-0(\d)`)

var encodeDifferences = []encodeDifference{
	{"Exponents", 1e-7, `1e-7`, `1e-07`, func(text []byte) []byte { return exponent.ReplaceAll(text, []byte("e-$1")) }},
	{"Backspace and form feed", "\b\f", `"\b\f"`, `"\u0008\u000c"`, func(text []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(`\u0008`), []byte(`\b`)), []byte(`\u000c`), []byte(`\f`))
	}},
	{"omitzero", zeroed{}, `{}`, `{"t":0}`, nil},
	{"Raw messages are not compacted", json.RawMessage(`{ "<": 1 }`), `{"\u003c":1}`, `{ "<": 1 }`, nil},
	{"MarshalJSON is taken as it comes", spaced{}, `{"\u003c":1}`, `{ "<": 1 }`, nil},
	{"MarshalJSON is not checked", broken{}, `error`, `{`, nil},
	{"MarshalJSON of pointers", map[string]pointed{"a": {}}, `{"a":{}}`, `{"a":1}`, nil},
	{"Keys of maps", map[bool]int{true: 1}, `error`, `{"true":1}`, nil},
	{"Order of keys that are not UTF-8", map[string]int{"\x80": 1, "\xef\xbf\xbc": 2}, "{\"\\ufffd\":1,\"\xef\xbf\xbc\":2}", "{\"\xef\xbf\xbc\":2,\"\\ufffd\":1}", nil},
	{"Names in tags", quoting{}, `{"A":0,"\u003c":0}`, `{"\"a":0,"<":0}`, nil},
	{"Depth of recursive types", chain(1001), strings.Repeat(`{"Next":`, 1001) + `null` + strings.Repeat(`}`, 1001), `error`, nil},
}

// decodeDifference is one way in which json reads otherwise than json-std.
type decodeDifference struct {
	name     string                 // a heading in docs/json.md
	text     string                 // the smallest example
	into     any                    // what it is read into; the value may matter
	standard string                 // what json-std makes of it
	ours     string                 // what json makes of it
	applies  func(text []byte) bool // whether a text may show it; nil where the fuzz test does not come across it
}

var (
	highHigh  = regexp.MustCompile(`(?i)\\ud[89ab]..\\ud[89ab]`)
	number    = regexp.MustCompile(`-?[0-9][0-9.eE+-]*`)
	numberish = regexp.MustCompile(`[-+.0-9][-+.0-9eE]*`)
	literal   = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	nullKey   = regexp.MustCompile(`[{,]\s*null\s*:`)
	key       = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"\s*:`)
	quoted    = regexp.MustCompile(`"\s+-?[0-9]|[0-9]\s+"|"null"`)
)

type (
	pair struct{ A, B int }
	one  struct{ A int }
	text struct {
		S string `json:",string"`
	}
	plain    struct{ S string }
	hidden   struct{ X int }
	embedder struct{ *hidden }
)

var decodeDifferences = []decodeDifference{
	{"Text that is not UTF-8", "\"\xff\"", "", `"�"`, `"\xff"`, func(text []byte) bool { return !utf8.Valid(text) }},
	{"Half a surrogate pair before a whole one", `"\ud800\ud83d\ude00"`, "", `"�😀"`, `"���"`, highHigh.Match},
	{"After a wrong type", `{"A":"x","B":1}`, pair{}, `error and {A:0 B:1}`, `error and {A:0 B:0}`, nil},
	{"Control characters", "\"\\n\x01\"", "", `error and ""`, `"\n\x01"`, controlInString},
	{"Null as a key", `{null:1}`, map[string]int(nil), `error and map[]`, `map[:1]`, nullKey.Match},
	{"Quoted numbers", `{" 1":1}`, map[int]int(nil), `error and map[]`, `map[1:1]`, quoted.Match},
	{"Quoted strings", `{"S":"a"}`, text{}, `error and {S:}`, `{S:}`, nil},
	{"Malformed numbers", `+0`, 1.5, `error and 1.5`, `0`, malformedNumber},
	{"Malformed numbers nobody reads", `{"X":-01}`, one{}, `error and {A:0}`, `{A:0}`, malformedNumber},
	{"Large numbers nobody reads", `{"A":1,"X":1e400}`, one{}, `{A:1}`, `error and {A:1}`, largeNumber},
	{"Large numbers nobody reads, after a zero", `{"A":1,"X":0.1e40}`, one{}, `{A:1}`, `error and {A:1}`, largeNumber},
	{"Null into a string", `{"S":"x","S":null}`, plain{}, `{S:x}`, `{S:}`, func(text []byte) bool { return bytes.Contains(text, []byte("null")) && repeatedKey(text) }},
	{"Short arrays", `[1]`, [2]int{7, 8}, `[1 0]`, `[1 8]`, nil},
	{"Embedded pointers to unexported structs", `{"X":1}`, embedder{}, `error and nil`, `1`, nil},
	{"Depth of recursive types", strings.Repeat(`{"Next":`, 1001) + `{}` + strings.Repeat(`}`, 1001), link{}, `a chain`, `error and a chain`, nil},
}

// controlInString reports whether a string in text holds a control character.
func controlInString(text []byte) bool {
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			inside = !inside
		case inside && c == '\\':
			i++
		case inside && c < ' ':
			return true
		}
	}
	return false
}

// malformedNumber reports whether text holds something like a number that is none.
func malformedNumber(text []byte) bool {
	for _, n := range numberish.FindAll(literal.ReplaceAll(text, nil), -1) {
		if !json.Valid(n) {
			return true
		}
	}
	return false
}

// largeNumber reports whether text holds a number beyond a float64, or one that
// begins with 0 beyond a float32.
func largeNumber(text []byte) bool {
	for _, n := range number.FindAll(literal.ReplaceAll(text, nil), -1) {
		bits := 64
		if n[0] == '0' {
			bits = 32
		}
		if _, err := strconv.ParseFloat(string(n), bits); errors.Is(err, strconv.ErrRange) {
			return true
		}
	}
	return false
}

// repeatedKey reports whether some key appears twice in text, in whatever case.
func repeatedKey(text []byte) bool {
	seen := map[string]bool{}
	for _, m := range key.FindAllSubmatch(text, -1) {
		k := strings.ToLower(string(m[1]))
		if seen[k] {
			return true
		}
		seen[k] = true
	}
	return false
}

func TestJSONEncodeDifferences(t *testing.T) {
	for _, d := range encodeDifferences {
		t.Run(d.name, func(t *testing.T) {
			got, err := iterator.Append(nil, d.value)
			if err != nil {
				got = []byte("error")
			}
			if string(got) != d.ours {
				t.Errorf("json of %#v: got %s, want %s (%v)", d.value, got, d.ours, err)
			}
			want, err := standard.Append(nil, d.value)
			if err != nil {
				want = []byte("error")
			}
			if string(want) != d.standard {
				t.Errorf("json-std of %#v: got %s, want %s (%v)", d.value, want, d.standard, err)
			}
			if d.normalize != nil && !bytes.Equal(d.normalize(got), d.normalize(want)) {
				t.Errorf("normalized: got %s, want %s", d.normalize(got), d.normalize(want))
			}
		})
	}
}

// render writes the outcome of decoding the way the table does.
func render(v any, err error) string {
	var s string
	switch v := v.(type) {
	case string:
		s = strconv.Quote(v)
		if utf8.ValidString(v) && !controlInString([]byte(`"`+v+`"`)) {
			s = `"` + v + `"`
		}
	case embedder:
		s = "nil"
		if v.hidden != nil {
			s = fmt.Sprint(v.X)
		}
	case link:
		s = "a chain"
	default:
		s = fmt.Sprintf("%+v", v)
	}
	if err != nil {
		return "error and " + s
	}
	return s
}

func TestJSONDecodeDifferences(t *testing.T) {
	for _, d := range decodeDifferences {
		t.Run(d.name, func(t *testing.T) {
			target := reflect.New(reflect.TypeOf(d.into))
			target.Elem().Set(reflect.ValueOf(d.into))
			err := iterator.Decode([]byte(d.text), target.Interface())
			if got := render(target.Elem().Interface(), err); got != d.ours {
				t.Errorf("json of %.50s: got %s, want %s (%v)", d.text, got, d.ours, err)
			}
			target.Elem().Set(reflect.ValueOf(d.into))
			err = standard.Decode([]byte(d.text), target.Interface())
			if got := render(target.Elem().Interface(), err); got != d.standard {
				t.Errorf("json-std of %.50s: got %s, want %s (%v)", d.text, got, d.standard, err)
			}
			if d.applies != nil && !d.applies([]byte(d.text)) {
				t.Errorf("predicate on %s: got false, want true", d.text)
			}
		})
	}
}

// A predicate that holds for ordinary texts would switch the fuzz test off.
func TestJSONDifferencesAreNarrow(t *testing.T) {
	ordinary := []byte(`{"a": [1, -2.5e3, 0.1, "text\n", "\ud83d\ude00", null, true], "b": {"1": {}, "c": "2020-01-02 é"}}`)
	for _, d := range decodeDifferences {
		if d.applies != nil && d.applies(ordinary) {
			t.Errorf("%s applies to %s: got true, want false", d.name, ordinary)
		}
	}
}

// Whoever meets a difference finds it in the documentation.
func TestJSONDifferencesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range encodeDifferences {
		names = append(names, d.name)
	}
	for _, d := range decodeDifferences {
		names = append(names, d.name)
	}
	for _, name := range names {
		if !bytes.Contains(page, []byte("| "+name+" |")) {
			t.Errorf("docs/json.md: got no row %q, want one", name)
		}
	}
}
