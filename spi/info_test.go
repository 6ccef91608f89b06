package spi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

func TestFields(t *testing.T) {
	type inner struct {
		Host string `json:"host" doc:"name or address"`
	}
	for _, tt := range []struct {
		name     string
		defaults any
		want     []spi.Field
	}{
		{"nothing", struct{}{}, nil},
		{"scalars", struct {
			B bool    `json:"b" doc:"yes or no"`
			I int     `json:"i"`
			U uint16  `json:"u"`
			F float32 `json:"f"`
			S string  `json:"s"`
		}{true, -1, 2, 0.5, "x"}, []spi.Field{
			{Key: "b", Type: "bool", Default: "true", Doc: "yes or no"},
			{Key: "i", Type: "int", Default: "-1"},
			{Key: "u", Type: "uint16", Default: "2"},
			{Key: "f", Type: "float", Default: "0.5"},
			{Key: "s", Type: "string", Default: `"x"`},
		}},
		{"own types", struct {
			D spi.Duration    `json:"d"`
			S spi.Size        `json:"s"`
			R spi.Ref         `json:"r"`
			A netip.Addr      `json:"a"`
			J json.RawMessage `json:"j"`
		}{spi.Duration(time.Second), 1 << 20, spi.Ref{Use: "json"}, netip.MustParseAddr("10.0.0.7"), nil}, []spi.Field{
			{Key: "d", Type: "duration", Default: `"1s"`},
			{Key: "s", Type: "size", Default: `"1MiB"`},
			{Key: "r", Type: "extension", Default: `"json"`},
			{Key: "a", Type: "string", Default: `"10.0.0.7"`},
			{Key: "j", Type: "any"},
		}},
		{"a text out of a few", struct {
			L string `json:"l" oneof:"low,high"`
		}{"low"}, []spi.Field{{Key: "l", Type: "string", Default: `"low"`, Values: []string{"low", "high"}}}},
		{"objects, maps and lists", struct {
			O inner                     `json:"o" doc:"one"`
			M map[string]int            `json:"m"`
			L []inner                   `json:"l"`
			N map[string][]inner        `json:"n"`
			D map[string]map[string]int `json:"d"`
		}{O: inner{"here"}, M: map[string]int{"a": 1}, L: []inner{}}, []spi.Field{
			{Key: "o", Type: "object", Doc: "one", Fields: []spi.Field{{Key: "host", Type: "string", Default: `"here"`, Doc: "name or address"}}},
			{Key: "m", Type: "map of int", Default: `{"a":1}`},
			{Key: "l", Type: "list of object", Default: "[]", Fields: []spi.Field{{Key: "host", Type: "string", Default: `""`, Doc: "name or address"}}},
			{Key: "n", Type: "map of list of object", Fields: []spi.Field{{Key: "host", Type: "string", Default: `""`, Doc: "name or address"}}},
			{Key: "d", Type: "map of map of int"},
		}},
		{"the same type twice side by side", struct {
			A inner   `json:"a"`
			B []inner `json:"b"`
		}{}, []spi.Field{
			{Key: "a", Type: "object", Fields: []spi.Field{{Key: "host", Type: "string", Default: `""`, Doc: "name or address"}}},
			{Key: "b", Type: "list of object", Fields: []spi.Field{{Key: "host", Type: "string", Default: `""`, Doc: "name or address"}}},
		}},
		{"embedded fields are keys of the outer struct", struct {
			inner
			Port int `json:"port,omitempty"`
		}{inner{"x"}, 1}, []spi.Field{
			{Key: "host", Type: "string", Default: `"x"`, Doc: "name or address"},
			{Key: "port", Type: "int", Default: "1"},
		}},
		{"what is no key", struct {
			Untagged   chan int
			Dash       func() `json:"-"`
			unexported int
			NoName     int `json:",omitempty"`
		}{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := spi.Fields(tt.defaults)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Fields(%+v)\ngot  %+v, %v\nwant %+v", tt.defaults, got, err, tt.want)
			}
		})
	}
}

type (
	tree struct {
		Kids []tree `json:"kids"`
	}
	ring struct {
		Next map[string]ring `json:"next"`
	}
	nest   []nest
	hosted struct {
		Host string `json:"host"`
	}
)

func TestFieldsErrors(t *testing.T) {
	for _, tt := range []struct {
		name     string
		defaults any
		want     string
	}{
		{"nil", nil, "configuration <nil> is not a struct"},
		{"pointer", &struct{}{}, "configuration *struct {} is not a struct"},
		{"map", map[string]int{}, "configuration map[string]int is not a struct"},
		{"channel", struct {
			C chan int `json:"c"`
		}{}, "c: a chan int cannot be configured"},
		{"interface", struct {
			A any `json:"a"`
		}{}, "a: a interface {} cannot be configured"},
		{"pointer field", struct {
			P *int `json:"p"`
		}{}, "p: a *int cannot be configured"},
		{"array", struct {
			A [2]int `json:"a"`
		}{}, "a: a [2]int cannot be configured"},
		{"bytes", struct {
			B []byte `json:"b"`
		}{}, "b: a []uint8 cannot be configured"},
		{"map with keys that are no text", struct {
			M map[int]string `json:"m"`
		}{}, "m: a map[int]string cannot be configured"},
		{"duration without unit", struct {
			D time.Duration `json:"d"`
		}{}, "d: a time.Duration has no unit in a file; use spi.Duration"},
		{"deep inside", struct {
			M map[string][]struct {
				C complex128 `json:"c"`
			} `json:"m"`
		}{}, "m: c: a complex128 cannot be configured"},
		{"list of itself", tree{}, "kids: spi_test.tree contains itself and cannot be described"},
		{"map of itself", ring{}, "next: spi_test.ring contains itself and cannot be described"},
		{"list type of itself", struct {
			N nest `json:"n"`
		}{}, "n: spi_test.nest contains itself and cannot be described"},
		{"no number", struct {
			F float64 `json:"f"`
		}{math.NaN()}, "f: json: unsupported value: NaN"},
		{"a key twice", struct {
			hosted
			Host string `json:"host"`
		}{}, "host: two fields of struct { spi_test.hosted; Host string \"json:\\\"host\\\"\" } have this key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fields, err := spi.Fields(tt.defaults)
			if got := fmt.Sprint(err); got != tt.want || fields != nil {
				t.Errorf("Fields(%T)\ngot  %v, %s\nwant %s", tt.defaults, fields, got, tt.want)
			}
		})
	}
}

func TestWriteMarkdown(t *testing.T) {
	cat := spi.NewCatalog()
	type config struct {
		Key     string       `json:"key" doc:"what is hashed: arg0|service"`
		Sep     string       `json:"sep" doc:"between\nparts"`
		Every   spi.Duration `json:"every"`
		TLS     files        `json:"tls" doc:"files"`
		Servers []server     `json:"servers"`
	}
	open := func(context.Context, spi.Env, config) (spi.LoadBalancer, error) { return nil, nil }
	if err := errors.Join(
		spi.Register(cat.LoadBalancers, "hash", "Hashes.", config{Sep: "|", Every: spi.Duration(time.Second)}, open),
		cat.LoadBalancers.Alias("hash", "iphash", "consistent_hash"),
		cat.Proxies.Add(spi.Info{Name: "plain", Doc: "Takes nothing.", Source: "plugin acme"}, func(context.Context, spi.Env, []byte) (spi.Proxy, error) { return nil, nil }),
		cat.LoadBalancers.Add(spi.Info{Name: "own", Doc: "Ships with it.", Source: "built-in"}, func(context.Context, spi.Env, []byte) (spi.LoadBalancer, error) { return nil, nil }),
	); err != nil {
		t.Fatal(err)
	}
	const want = "## loadbalancer\n\n" +
		"### `hash`\n\nHashes. Also called `consistent_hash`, `iphash`. (package github.com/bhrpc/bhrpc/spi_test)\n\n" +
		"| key | type | default | meaning |\n|---|---|---|---|\n" +
		"| `key` | string | `\"\"` | what is hashed: arg0\\|service |\n" +
		"| `sep` | string | `\"\\|\"` | between parts |\n" +
		"| `every` | duration | `\"1s\"` |  |\n" +
		"| `tls` | object |  | files |\n" +
		"| `tls.ca` | string | `\"\"` | authority |\n" +
		"| `tls.cert` | string | `\"\"` |  |\n" +
		"| `servers` | list of object |  |  |\n" +
		"| `servers.host` | string | `\"\"` |  |\n" +
		"| `servers.port` | int | `0` |  |\n\n" +
		"### `own`\n\nShips with it.\n\n" +
		"## proxy\n\n### `plain`\n\nTakes nothing. (plugin acme)\n\n"
	var b strings.Builder
	if err := spi.WriteMarkdown(&b, cat.List()); err != nil || b.String() != want {
		t.Errorf("got\n%s%v\nwant\n%s", b.String(), err, want)
	}
	if err := spi.WriteMarkdown(full{}, cat.List()); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("to a writer that is full: got %v, want its error", err)
	}
	if err := spi.WriteMarkdown(io.Discard, nil); err != nil {
		t.Errorf("of nothing: got %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// TestInfoJSON: an Info crosses the process boundary unchanged.
func TestInfoJSON(t *testing.T) {
	for _, info := range probes(t).List() {
		text, err := json.Marshal(info)
		if err != nil {
			t.Fatal(err)
		}
		var got spi.Info
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, info) {
			t.Errorf("through %s\ngot  %+v, %v\nwant %+v", text, got, err, info)
		}
	}
}
