package config_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

func TestPrecedence(t *testing.T) {
	const file = "consumer:\n  timeout: 1s\n"
	tests := []struct {
		name string
		file string
		env  []string
		code any
		want string
		from string
	}{
		{name: "default", want: "5s", from: ""},
		{name: "file over default", file: file, want: "1s", from: "bhrpc.yaml:2:12"},
		{name: "environment over file", file: file, env: []string{"BHRPC_CONSUMER_TIMEOUT=2s"}, want: "2s", from: "env BHRPC_CONSUMER_TIMEOUT"},
		{name: "code over environment", file: file, env: []string{"BHRPC_CONSUMER_TIMEOUT=2s"}, code: "3s", want: "3s", from: "code"},
		{name: "a default that is set is set", file: file, env: []string{"BHRPC_CONSUMER_TIMEOUT=5s"}, want: "5s", from: "env BHRPC_CONSUMER_TIMEOUT"},
		{name: "an empty variable is unset", file: file, env: []string{"BHRPC_CONSUMER_TIMEOUT= "}, want: "1s", from: "bhrpc.yaml:2:12"},
		{name: "the first variable of a name", env: []string{"BHRPC_CONSUMER_TIMEOUT=2s", "BHRPC_CONSUMER_TIMEOUT=4s"}, want: "2s", from: "env BHRPC_CONSUMER_TIMEOUT"},
		{name: "spaces around a variable", env: []string{"BHRPC_CONSUMER_TIMEOUT= 2s\n"}, want: "2s", from: "env BHRPC_CONSUMER_TIMEOUT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, tt.file, tt.env...)
			if tt.code != nil {
				if err := c.Set("consumer.timeout", tt.code); err != nil {
					t.Fatal(err)
				}
			}
			if got := c.Consumer.Timeout.String(); got != tt.want {
				t.Errorf("got timeout %s, want %s", got, tt.want)
			}
			if got := c.Origin("consumer.timeout").String(); got != tt.from {
				t.Errorf("got from %q, want from %q", got, tt.from)
			}
		})
	}
}

func TestReferencesAreLaidOverEachOther(t *testing.T) {
	c := load(t, "references:\n  A: {version: '1', group: blue}\n  B: {group: red}\n",
		"BHRPC_REFERENCES={A: {version: '2'}, C: {timeout: 1s}}")
	for key, value := range map[string]any{"references.acme.D.timeout": 3 * time.Second, "references.acme.E": map[string]string{"group": "g"}, "references.F": nil,
		"references.acme.D.methods.Say.timeout": time.Second, "references.acme.D.idempotent": []string{"Say"}} {
		if err := c.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]core.Reference{
		"A":      {Version: "2", Group: "blue"},
		"B":      {Group: "red"},
		"C":      {Timeout: spi.Duration(time.Second)},
		"acme.D": {Timeout: spi.Duration(3 * time.Second), Idempotent: []string{"Say"}, Methods: map[string]core.MethodUse{"Say": {Timeout: spi.Duration(time.Second)}}},
		"acme.E": {Group: "g"},
		"F":      {},
	}
	if !reflect.DeepEqual(c.References, want) {
		t.Errorf("got %v, want %v", c.References, want)
	}
	for key, want := range map[string]string{
		"references.A":              "env BHRPC_REFERENCES",
		"references.A.version":      "env BHRPC_REFERENCES",
		"references.A.group":        "bhrpc.yaml:2:28",
		"references.B":              "bhrpc.yaml:3:3",
		"references.B.group":        "bhrpc.yaml:3:14",
		"references.B.version":      "",
		"references.acme.D.timeout": "code",

		"references.acme.D.methods.Say.timeout": "code",
	} {
		if got := c.Origin(key).String(); got != want {
			t.Errorf("%s: got from %q, want from %q", key, got, want)
		}
	}
}

func TestListReplacesList(t *testing.T) {
	c := load(t, "consumer:\n  addresses:\n    - a:1\n    - b:2\n    - c:3\n")
	if got, want := c.Origin("consumer.addresses.1").String(), "bhrpc.yaml:4:7"; got != want {
		t.Errorf("got the second from %q, want from %q", got, want)
	}
	if err := c.Set("consumer.addresses", []string{"d:4"}); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(c.Consumer.Addresses), "[d:4]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for key, want := range map[string]string{"consumer.addresses": "code", "consumer.addresses.0": "code", "consumer.addresses.1": "", "consumer.addresses.2": ""} {
		if got := c.Origin(key).String(); got != want {
			t.Errorf("%s: got from %q, want from %q", key, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	tests := []struct {
		name string
		env  string
		want string // the error, or the value of key
		key  string
	}{
		{name: "list with commas", env: "BHRPC_CONSUMER_ADDRESSES=a:1, b:2", key: "consumer.addresses", want: "['a:1', 'b:2']"},
		{name: "list in YAML", env: `BHRPC_CONSUMER_ADDRESSES=["a:1", 'b:2']`, key: "consumer.addresses", want: "['a:1', 'b:2']"},
		{name: "list of one host in brackets", env: "BHRPC_CONSUMER_ADDRESSES=[::1]:7070", key: "consumer.addresses", want: "['[::1]:7070']"},
		{name: "empty list", env: "BHRPC_PROVIDER_SERIALIZERS=[]", key: "provider.serializers", want: "[]"},
		{name: "text that YAML would not read", env: "BHRPC_PROVIDER_LISTEN=[::1]:7070", key: "provider.listen", want: "'[::1]:7070'"},
		{name: "name of an extension", env: "BHRPC_CONSUMER_LOADBALANCER=round-robin", key: "consumer.loadbalancer", want: "round-robin"},
		{name: "no registry", env: "BHRPC_CONSUMER_REGISTRY=none", key: "consumer.registry", want: "none"},
		{name: "somebody else's", env: "BHRPC_EXPLAIN=1", key: "log.level", want: "info"},
		{name: "somebody else's with a like name", env: "BHRPC_LOGGING=1", key: "log.level", want: "info"},
		{name: "another program's", env: "LOG_LEVEL=debug", key: "log.level", want: "info"},
		{name: "without a value", env: "BHRPC_LOG_LEVLE=", key: "log.level", want: "info"},
		{name: "no equals sign", env: "BHRPC_LOG_LEVEL", key: "log.level", want: "info"},
		{
			name: "unknown, near",
			env:  "BHRPC_CONSUMER_SERIALISER=gob",
			want: "BHRPC_CONSUMER_SERIALISER: no key has this variable; did you mean BHRPC_CONSUMER_SERIALIZER?",
		},
		{
			name: "unknown, not near",
			env:  "BHRPC_LOG_COLOUR=on",
			want: "BHRPC_LOG_COLOUR: no key has this variable\n  known: BHRPC_LOG_LEVEL, BHRPC_LOG_FORMAT",
		},
		{
			name: "object",
			env:  "BHRPC_CONSUMER_RECONNECT={cap: 1s}",
			want: "BHRPC_CONSUMER_RECONNECT: no key has this variable\n  known: BHRPC_CONSUMER_RECONNECT_FIRST, BHRPC_CONSUMER_RECONNECT_BASE, BHRPC_CONSUMER_RECONNECT_FACTOR, BHRPC_CONSUMER_RECONNECT_CAP, BHRPC_CONSUMER_RECONNECT_STABLE",
		},
		{
			name: "one reference",
			env:  "BHRPC_REFERENCES_GREETER_TIMEOUT=1s",
			want: "BHRPC_REFERENCES_GREETER_TIMEOUT: no key has this variable\n  known: BHRPC_REFERENCES",
		},
		{
			name: "wrong type",
			env:  "BHRPC_CONSUMER_TIMEOUT=20",
			want: "consumer.timeout (from env BHRPC_CONSUMER_TIMEOUT): 20 has no unit; write a duration such as 250ms, 5s or 2m",
		},
		{
			name: "out of range",
			env:  "BHRPC_CONSUMER_RECONNECT_CAP=50ms",
			want: "consumer.reconnect.cap (from env BHRPC_CONSUMER_RECONNECT_CAP): 50ms is not between 500ms and 1h0m0s",
		},
		{
			name: "syntax error",
			env:  "BHRPC_CONSUMER_PROXY={use: x",
			want: "consumer.proxy (from env BHRPC_CONSUMER_PROXY): not readable as YAML: did not find expected ',' or '}'",
		},
		{
			name: "unknown key",
			env:  "BHRPC_CONSUMER_PROXY={use: x, wiht: {}}",
			want: "consumer.proxy.wiht (from env BHRPC_CONSUMER_PROXY): unknown key; did you mean \"with\"?\n  keys of consumer.proxy: use, with",
		},
		{
			name: "duplicate key",
			env:  "BHRPC_REFERENCES={A: {}, A: {}}",
			want: "references.A (from env BHRPC_REFERENCES): given twice; remove one",
		},
		{
			name: "alias",
			env:  "BHRPC_REFERENCES={A: &a {}, B: *a}",
			want: "references.A (from env BHRPC_REFERENCES): anchor &a is not accepted" + inPlace + "\n" +
				"references.B (from env BHRPC_REFERENCES): alias *a is not accepted" + inPlace,
		},
		{
			name: "no value",
			env:  "BHRPC_CONSUMER_PROXY=~",
			want: "consumer.proxy (from env BHRPC_CONSUMER_PROXY): has no value; want a name or {use: name, with: {…}}, or remove the key",
		},
		{
			name: "bad address",
			env:  "BHRPC_CONSUMER_ADDRESSES=a:1,b",
			want: `consumer.addresses.1 (from env BHRPC_CONSUMER_ADDRESSES): "b" is not host:port; add :7070`,
		},
		{
			name: "forgotten address",
			env:  "BHRPC_CONSUMER_ADDRESSES=a:1,",
			want: `consumer.addresses.1 (from env BHRPC_CONSUMER_ADDRESSES): "" is not host:port; write one, as 127.0.0.1:7070`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Load("", []string{tt.env})
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = strings.ReplaceAll(value(c, tt.key), `"`, "'")
			}
			if got != tt.want {
				t.Errorf("%s\ngot  %s\nwant %s", tt.env, got, tt.want)
			}
		})
	}
}

func TestSet(t *testing.T) {
	tests := []struct {
		name  string
		key   string
		value any
		want  string // what the file would say
	}{
		{name: "name", key: "consumer.serializer", value: "gob", want: "gob"},
		{name: "reference", key: "consumer.serializer", value: spi.Ref{Use: "gob", With: spi.Raw{JSON: []byte(`{"a":[1]}`)}}, want: "{use: gob, with: {a: [1]}}"},
		{name: "map", key: "consumer.loadbalancer", value: map[string]any{"use": "x", "with": map[string]any{"a": "1"}}, want: `{use: x, with: {a: "1"}}`},
		{name: "time", key: "consumer.timeout", value: 2 * time.Second, want: "2s"},
		{name: "duration", key: "consumer.timeout", value: spi.Duration(time.Minute), want: "1m0s"},
		{name: "size", key: "consumer.limits.message", value: spi.Size(1 << 20), want: "1MiB"},
		{name: "bytes", key: "consumer.limits.message", value: 1 << 20, want: "1MiB"},
		{name: "list", key: "consumer.addresses", value: []string{}, want: "[]"},
		{name: "float", key: "consumer.reconnect.factor", value: 1.25, want: "1.25"},
		{name: "bool", key: "provider.introspection", value: false, want: "false"},
		{name: "text that YAML would escape", key: "references.S.group", value: "a\u0085\x7f\ufeffb\u2028\x00\n<", want: `"a\N\x7F\uFEFFb\L\0\n<"`},
		{name: "JSON with surrogates", key: "consumer.proxy", value: spi.Ref{Use: "x", With: spi.Raw{JSON: []byte(`{"a":"\ud83d\ude00\/"}`)}}, want: `{use: x, with: {a: "\U0001F600/"}}`},
		{name: "key that YAML would merge", key: "consumer.proxy", value: spi.Ref{Use: "x", With: spi.Raw{JSON: []byte(`{"<<":1}`)}}, want: `{use: x, with: {"<<": 1}}`},
		{name: "text that YAML would take for a number", key: "references.S.version", value: "010", want: `"010"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config.Default()
			if err := c.Set(tt.key, tt.value); err != nil {
				t.Fatalf("set %s to %v: %v", tt.key, tt.value, err)
			}
			if got := value(c, tt.key); got != tt.want {
				t.Errorf("set %s to %v: got %s, want %s", tt.key, tt.value, got, tt.want)
			}
			if got := c.Origin(tt.key).String(); got != "code" {
				t.Errorf("set %s: got from %q, want from code", tt.key, got)
			}
		})
	}
}

func TestSetSection(t *testing.T) {
	c := load(t, "consumer: {reconnect: {base: 1s, cap: 2s}}")
	if err := c.Set("consumer.reconnect", map[string]any{"cap": "9s"}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Consumer.Reconnect.Base.D(), time.Second; got != want {
		t.Errorf("got base %v, want the file's %v", got, want)
	}
	if got, want := c.Consumer.Reconnect.Cap.D(), 9*time.Second; got != want {
		t.Errorf("got cap %v, want %v", got, want)
	}
}

func TestSetOnTheZeroConfig(t *testing.T) {
	var c config.Config
	if err := c.Set("log.level", "warn"); err != nil {
		t.Fatal(err)
	}
	if c.Log.Level != "warn" || c.Origin("log.level").String() != "code" {
		t.Errorf("got %q from %q, want warn from code", c.Log.Level, c.Origin("log.level"))
	}
}

func TestSetRefuses(t *testing.T) {
	tests := []struct {
		name  string
		key   string
		value any
		want  string
	}{
		{
			name: "unknown key", key: "consumer.serialiser", value: "gob",
			want: "consumer.serialiser (from code): unknown key; did you mean \"serializer\"?\n  keys of consumer: " + consumerKeys,
		},
		{
			name: "unknown key further in", key: "consumer.reconnects.cap", value: "1s",
			want: "consumer.reconnects (from code): unknown key; did you mean \"reconnect\"?\n  keys of consumer: " + consumerKeys,
		},
		{
			name: "key below a value", key: "consumer.timeout.write", value: "1s",
			want: "consumer.timeout (from code): want a duration, as 250ms, 5s or 2m, not keys and values",
		},
		{
			name: "half an extension", key: "consumer.proxy.with", value: map[string]int{"a": 1},
			want: "consumer.proxy (from code): names no extension; write {use: name, with: {…}}",
		},
		{
			name: "wrong type", key: "consumer.timeout", value: 20,
			want: "consumer.timeout (from code): 20 has no unit; write a duration such as 250ms, 5s or 2m",
		},
		{
			name: "nil", key: "consumer.timeout", value: nil,
			want: "consumer.timeout (from code): has no value; want a duration, as 250ms, 5s or 2m, or remove the key",
		},
		{
			name: "value without a form", key: "consumer.timeout", value: make(chan int),
			want: "consumer.timeout (from code): a chan int cannot be a value of the configuration",
		},
		{
			name: "infinity", key: "consumer.reconnect.factor", value: math.Inf(1),
			want: "consumer.reconnect.factor (from code): a float64 cannot be a value of the configuration",
		},
		{
			name: "duplicate key", key: "consumer.proxy", value: spi.Ref{Use: "x", With: spi.Raw{JSON: []byte(`{"a":{"b":1,"b":2}}`)}},
			want: "consumer.proxy.with.a.b (from code): given twice; remove one",
		},
		{
			name: "no JSON", key: "consumer.proxy", value: spi.Ref{Use: "x", With: spi.Raw{JSON: []byte(`{`)}},
			want: "consumer.proxy (from code): a spi.Ref cannot be a value of the configuration",
		},
		{
			name: "good and bad", key: "consumer", value: map[string]any{"addresses": []string{"a:1"}, "timeout": 1},
			want: "consumer.timeout (from code): 1 has no unit; write a duration such as 250ms, 5s or 2m",
		},
		{
			name: "name of a section", key: "references", value: map[string]any{"A": map[string]string{"group": "g"}, "B": 1},
			want: "references.B (from code): want keys and values, not the number 1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, "consumer: {addresses: [x:1]}\nreferences: {A: {group: f}}\n")
			before := c.Entries()
			err := c.Set(tt.key, tt.value)
			if err == nil || err.Error() != tt.want {
				t.Errorf("set %s to %v\ngot  %v\nwant %s", tt.key, tt.value, err, tt.want)
			}
			if after := c.Entries(); !reflect.DeepEqual(after, before) {
				t.Errorf("set %s: got %v, want it unchanged: %v", tt.key, after, before)
			}
		})
	}
}

func TestRefCarriesItsPlaces(t *testing.T) {
	file := `consumer:
  loadbalancer:
    use: weighted-random
    with:
      weights: {"10.0.0.7:7070": 3}
      zones:
        - name: eu
        - name: us
  serializer: gob
`
	c := load(t, file, "BHRPC_CONSUMER_PROXY={use: generated, with: {a: {b: 1}}}")
	at := func(line, column int) spi.Pos { return spi.Pos{Source: "bhrpc.yaml", Line: line, Column: column} }
	proxy := spi.Pos{Source: "env BHRPC_CONSUMER_PROXY"}
	tests := []struct {
		name string
		got  spi.Ref
		want spi.Ref
	}{
		{
			name: "long form",
			got:  c.Consumer.LoadBalancer,
			want: spi.Ref{
				Use: "weighted-random", Key: "consumer.loadbalancer", At: at(3, 5),
				With: spi.Raw{
					JSON: []byte(`{"weights":{"10.0.0.7:7070":3},"zones":[{"name":"eu"},{"name":"us"}]}`),
					At: map[string]spi.Pos{
						"weights": at(5, 7), "weights.10.0.0.7:7070": at(5, 17),
						"zones": at(6, 7), "zones.0": at(7, 11), "zones.0.name": at(7, 11), "zones.1": at(8, 11), "zones.1.name": at(8, 11),
					},
				},
			},
		},
		{name: "short form", got: c.Consumer.Serializer, want: spi.Ref{Use: "gob", Key: "consumer.serializer", At: at(9, 15)}},
		{
			name: "environment",
			got:  c.Consumer.Proxy,
			want: spi.Ref{
				Use: "generated", Key: "consumer.proxy", At: proxy,
				With: spi.Raw{JSON: []byte(`{"a":{"b":1}}`), At: map[string]spi.Pos{"a": proxy, "a.b": proxy}},
			},
		},
		{name: "default", got: c.Consumer.Registry, want: spi.Ref{Use: config.None, Key: "consumer.registry"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !reflect.DeepEqual(tt.got, tt.want) {
				t.Errorf("got  %+v %s\nwant %+v %s", tt.got, tt.got.With.JSON, tt.want, tt.want.With.JSON)
			}
		})
	}
}

func TestRefConvertsScalars(t *testing.T) {
	tests := []struct{ name, yaml, want string }{
		{"int", "3", "3"},
		{"int with sign and zeros", "+007", "7"},
		{"negative int", "-40", "-40"},
		{"zero", "-0", "0"},
		{"large int", "123456789012345678901234567890", "123456789012345678901234567890"},
		{"octal", "0o17", "15"},
		{"hexadecimal", "0xfF", "255"},
		{"large hexadecimal", "0x1ffffffffffffffff", "36893488147419103231"},
		{"YAML 1.1 number with underscores", "1_000", `"1_000"`},
		{"YAML 1.1 binary", "0b11", `"0b11"`},
		{"float", "1.50", "1.5"},
		{"float without an end", "1.", "1"},
		{"float without a beginning", "-.5", "-0.5"},
		{"exponent", "1e3", "1000"},
		{"large exponent", "2E+300", "2e+300"},
		{"bool", "true", "true"},
		{"shouted bool", "FALSE", "false"},
		{"YAML 1.1 bool", "yes", `"yes"`},
		{"null", "null", "null"},
		{"tilde", "~", "null"},
		{"nothing", "", "null"},
		{"text", "a b", `"a b"`},
		{"double quotes", `"3"`, `"3"`},
		{"single quotes", `'true'`, `"true"`},
		{"literal", "|-\n      3\n", `"3"`},
		{"folded", ">-\n      3\n", `"3"`},
		{"folded lines", ">\n      a\n      b\n", `"a b\n"`},
		{"date", "2001-01-01", `"2001-01-01"`},
		{"escapes", `"\u00e9\t\x01"`, `"é\t\u0001"`},
		{"empty mapping", "{}", "{}"},
		{"empty list", "[]", "[]"},
		{"nested", "{a: [1, {b: ~}], c: x}", `{"a":[1,{"b":null}],"c":"x"}`},
		{"key that is a number", "{7: x}", `{"7":"x"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := load(t, "consumer:\n  proxy:\n    use: x\n    with:\n     k: "+tt.yaml+"\n")
			got, want := string(c.Consumer.Proxy.With.JSON), `{"k":`+tt.want+"}"
			if got != want || !json.Valid([]byte(got)) {
				t.Errorf("%s\ngot %s, want %s", tt.yaml, got, want)
			}
		})
	}
}

func TestExtensionErrorsHaveThePlaceOfTheirKey(t *testing.T) {
	type settings struct {
		Zone string `json:"zone"`
	}
	point := spi.NewPoint[spi.LoadBalancer]("loadbalancer")
	open := func(context.Context, spi.Env, settings) (spi.LoadBalancer, error) { return nil, nil }
	if err := spi.Register(point, "nearest", "", settings{}, open); err != nil {
		t.Fatal(err)
	}
	c := load(t, "consumer:\n  loadbalancer:\n    use: nearest\n    with:\n      zoen: eu\n")
	_, err := point.Resolve(c.Consumer.LoadBalancer)
	want := "bhrpc.yaml:5:7: unknown key consumer.loadbalancer.with.zoen; did you mean \"zone\"?"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s…", err, want)
	}
}
