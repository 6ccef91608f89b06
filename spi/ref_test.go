package spi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

func TestPosString(t *testing.T) {
	for _, tt := range []struct {
		name string
		pos  spi.Pos
		want string
	}{
		{"unknown", spi.Pos{}, ""},
		{"file", spi.Pos{Source: "conf/bhrpc.yaml", Line: 3, Column: 15}, "conf/bhrpc.yaml:3:15"},
		{"line only", spi.Pos{Source: "bhrpc.yaml", Line: 3}, "bhrpc.yaml:3"},
		{"environment", spi.Pos{Source: "env BHRPC_CONSUMER_PROXY"}, "env BHRPC_CONSUMER_PROXY"},
		{"code", spi.Pos{Source: "code"}, "code"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.pos.String(); got != tt.want {
				t.Errorf("String of %#v: got %q, want %q", tt.pos, got, tt.want)
			}
		})
	}
}

func TestConfigErrorText(t *testing.T) {
	file := spi.Pos{Source: "bhrpc.yaml", Line: 3, Column: 15}
	env := spi.Pos{Source: "env BHRPC_CONSUMER_PROXY"}
	code := spi.Pos{Source: "code"}
	const key, message = "consumer.proxy", "no such thing"
	for _, tt := range []struct {
		name, key, message string
		at                 spi.Pos
		want               string
	}{
		{"file", key, message, file, "bhrpc.yaml:3:15: no such thing"},
		{"file, line only", key, message, spi.Pos{Source: "bhrpc.yaml", Line: 3}, "bhrpc.yaml:3: no such thing"},
		{"file without key", "", message, file, "bhrpc.yaml:3:15: no such thing"},
		{"environment", key, message, env, "consumer.proxy (from env BHRPC_CONSUMER_PROXY): no such thing"},
		{"environment without key", "", message, env, "env BHRPC_CONSUMER_PROXY: no such thing"},
		{"code", key, message, code, "consumer.proxy (from code): no such thing"},
		{"code without key", "", message, code, "code: no such thing"},
		{"nowhere", key, message, spi.Pos{}, "consumer.proxy: no such thing"},
		{"nothing known", "", message, spi.Pos{}, "no such thing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := &spi.ConfigError{At: tt.at, Key: tt.key, Message: tt.message, Cause: spi.ErrUnknown}
			if got := err.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !errors.Is(err, spi.ErrUnknown) {
				t.Errorf("errors.Is(%v, ErrUnknown): got false, want true", err)
			}
		})
	}
}

func TestRefJSON(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       spi.Ref
		back       string // what it is written as
	}{
		{"name", `"p2c"`, spi.Ref{Use: "p2c"}, `"p2c"`},
		{"empty name", `""`, spi.Ref{}, `""`},
		{"name with escapes", `"p\u0032c\"<"`, spi.Ref{Use: `p2c"<`}, `"p2c\"\u003c"`},
		{"use only", `{"use":"p2c"}`, spi.Ref{Use: "p2c"}, `"p2c"`},
		{"space around", " {\n\"use\" : \"p2c\" } ", spi.Ref{Use: "p2c"}, `"p2c"`},
		{"use and with", `{"with":{"a":[1, 2]},"use":"p2c"}`, spi.Ref{Use: "p2c", With: spi.Raw{JSON: []byte(`{"a":[1, 2]}`)}}, `{"use":"p2c","with":{"a":[1,2]}}`},
		{"with of no keys", `{"use":"p2c","with":{}}`, spi.Ref{Use: "p2c", With: spi.Raw{JSON: []byte(`{}`)}}, `{"use":"p2c","with":{}}`},
		{"with null", `{"use":"p2c","with":null}`, spi.Ref{Use: "p2c"}, `"p2c"`},
		{"use null", `{"use":null}`, spi.Ref{}, `""`},
		{"no keys", `{}`, spi.Ref{}, `""`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := spi.Ref{Use: "old", Key: "old", With: spi.Raw{JSON: []byte(`{"old":1}`)}}
			if err := json.Unmarshal([]byte(tt.text), &got); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Fatalf("Unmarshal %s\ngot  %+v, %v\nwant %+v", tt.text, got, err, tt.want)
			}
			if back, err := json.Marshal(got); err != nil || string(back) != tt.back {
				t.Errorf("Marshal %+v: got %s, %v, want %s", got, back, err, tt.back)
			}
		})
	}
	kept := spi.Ref{Use: "default"}
	if err := json.Unmarshal([]byte(`null`), &kept); err != nil || kept.Use != "default" {
		t.Errorf("Unmarshal null: got %+v, %v, want the Ref as it was", kept, err)
	}
}

func TestRefJSONErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"number", `3`, `invalid: want the name of an extension, or {use: name, with: {…}}, not the number 3`},
		{"bool", `true`, `invalid: want the name of an extension, or {use: name, with: {…}}, not true`},
		{"list", `["p2c"]`, `invalid: want the name of an extension, or {use: name, with: {…}}, not a list`},
		{"use that is no name", `{"use":["p2c"]}`, `use: want text, not a list`},
		{"unknown key", `{"use":"p2c","wiht":{}}`, "wiht: unknown key; did you mean \"with\"?\n  keys of an extension: use, with"},
		{"configuration in the wrong place", `{"use":"p2c","key":"arg0"}`, "key: unknown key\n  keys of an extension: use, with"},
		{"wrong case", `{"Use":"p2c"}`, "Use: unknown key; did you mean \"use\"?\n  keys of an extension: use, with"},
		{"duplicate", `{"use":"p2c","use":"random"}`, `use: given twice; remove one`},
		{"duplicate inside", `{"use":"p2c","with":{"a":1,"a":2}}`, `with.a: given twice; remove one`},
		{"no JSON", `{"use"`, `unexpected end of JSON input`},
		{"more than one", `"a" "b"`, `invalid character '"' after top-level value`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := spi.Ref{Use: "default"}
			err := got.UnmarshalJSON([]byte(tt.text))
			if fmt.Sprint(err) != tt.want {
				t.Errorf("Unmarshal %s\ngot  %v\nwant %s", tt.text, err, tt.want)
			}
			if !reflect.DeepEqual(got, spi.Ref{Use: "default"}) {
				t.Errorf("Unmarshal %s with an error: got %+v, want the Ref as it was", tt.text, got)
			}
		})
	}
	if text, err := json.Marshal(spi.Ref{Use: "p2c", With: spi.Raw{JSON: []byte("null")}}); string(text) != `"p2c"` || err != nil {
		t.Errorf("Marshal without configuration: got %s, %v, want the short form", text, err)
	}
	if text, err := json.Marshal(spi.Ref{Use: "p2c", With: spi.Raw{JSON: []byte(`{`)}}); err == nil {
		t.Errorf("Marshal of what is no JSON: got %s, want an error", text)
	}
}
