package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

const defaults = `
provider.listen: 127.0.0.1:7070
provider.advertise: ""
provider.serializers: []
provider.compressors: []
provider.heartbeat: three-strike
provider.registry: none
provider.interceptors: []
provider.max_requests: 10000
provider.handshake_timeout: 3s
provider.write_timeout: 0s
provider.drain_timeout: 30s
provider.introspection: true
provider.weight: 1
provider.limits.message: 16MiB
provider.limits.metadata: 64KiB
provider.limits.methods: 4096
provider.limits.write_queue: 4MiB
provider.limits.reassembly: 64MiB
provider.limits.unpacked: 64MiB
provider.http.enabled: true
provider.http.origins: []
provider.http.hosts: []
provider.max_conns: 20000
provider.max_handshakes: 1024
provider.tls.cert: ""
provider.tls.key: ""
provider.tls.client_ca: ""
provider.tls.min_version: "1.2"
provider.frame_timeout: 30s
provider.checksum: false
provider.compress_above: 1KiB
consumer.addresses: []
consumer.serializer: json
consumer.compressor: none
consumer.loadbalancer: p2c
consumer.proxy: reflect
consumer.heartbeat: three-strike
consumer.registry: none
consumer.interceptors: []
consumer.timeout: 5s
consumer.dial_timeout: 3s
consumer.handshake_timeout: 3s
consumer.write_timeout: 0s
consumer.reconnect.first: 200ms
consumer.reconnect.base: 500ms
consumer.reconnect.factor: 1.6
consumer.reconnect.cap: 30s
consumer.reconnect.stable: 10s
consumer.limits.message: 16MiB
consumer.limits.metadata: 64KiB
consumer.limits.methods: 4096
consumer.limits.write_queue: 4MiB
consumer.limits.reassembly: 64MiB
consumer.limits.unpacked: 64MiB
consumer.retry.attempts: 3
consumer.retry.backoff.base: 10ms
consumer.retry.backoff.cap: 200ms
consumer.retry.budget.ratio: 0.1
consumer.retry.budget.burst: 100
consumer.drain_timeout: 5s
consumer.tls.enabled: false
consumer.tls.ca: ""
consumer.tls.cert: ""
consumer.tls.key: ""
consumer.tls.server_name: ""
consumer.tls.min_version: "1.2"
consumer.frame_timeout: 30s
consumer.checksum: false
consumer.compress_above: 1KiB
references: {}
log.level: info
log.format: text
control: on
plugins: []
`

func TestDefaultExplainsItself(t *testing.T) {
	var b strings.Builder
	for _, e := range config.Default().Entries() {
		b.WriteString("\n" + e.Key + ": " + e.Value)
		if e.From != (spi.Pos{}) {
			t.Errorf("%s: got from %s, want the zero place", e.Key, e.From)
		}
	}
	if got := b.String() + "\n"; got != defaults {
		t.Errorf("got\n%s\nwant\n%s", got, defaults)
	}
	if err := config.Default().Validate(); err != nil {
		t.Errorf("got %v, want valid defaults", err)
	}
}

// keys returns the full names of the keys among fields that hold a value, and their
// types, in order.
func keys(fields []spi.Field, prefix string) (names, types []string) {
	for _, f := range fields {
		if f.Type == "object" {
			n, t := keys(f.Fields, prefix+f.Key+".")
			names, types = append(names, n...), append(types, t...)
			continue
		}
		names, types = append(names, prefix+f.Key), append(types, f.Type)
	}
	return names, types
}

func TestFieldsAndEntriesAgree(t *testing.T) {
	fields, err := config.Fields()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := keys(fields, "")
	var got []string
	for _, e := range config.Default().Entries() {
		got = append(got, e.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got entries %q\nwant the fields %q", got, want)
	}
	seen := make(map[string]string)
	for _, key := range got {
		if other, ok := seen[variable(key)]; ok {
			t.Errorf("%s and %s have the same variable", key, other)
		}
		seen[variable(key)] = key
	}
}

func variable(key string) string {
	return "BHRPC_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// samples holds, by type or by key, a value that is not the default: as the
// environment gives it, as code gives it, and as the file would write it.
var samples = map[string]struct {
	env  string
	code any
	file string
}{
	"duration":                    {"7s", "7s", "7s"},
	"size":                        {"128KiB", "128KiB", "128KiB"},
	"int":                         {"7", 7, "7"},
	"bool":                        {"false", false, "false"},
	"float":                       {"2.5", 2.5, "2.5"},
	"list of string":              {"a:1, [::1]:2", []string{"a:1", "[::1]:2"}, `['a:1', '[::1]:2']`},
	"list of extension":           {"{use: x, with: {a: 1, b: 2}}, y", []any{map[string]any{"use": "x", "with": map[string]int{"a": 1, "b": 2}}, "y"}, "[{use: x, with: {a: 1, b: 2}}, y]"},
	"extension":                   {"{use: x, with: {a: 1}}", map[string]any{"use": "x", "with": map[string]int{"a": 1}}, "{use: x, with: {a: 1}}"},
	"references":                  {"{S: {group: g}}", map[string]any{"S": map[string]any{"group": "g"}}, "{S: {group: g}}"},
	"provider.listen":             {"[::1]:0", "[::1]:0", "'[::1]:0'"},
	"provider.advertise":          {"a:1", "a:1", "a:1"},
	"consumer.retry.budget.ratio": {"0.5", 0.5, "0.5"},
	"provider.checksum":           {"true", true, "true"},
	"consumer.checksum":           {"true", true, "true"},
	"log.level":                   {"debug", "debug", "debug"},
	"log.format":                  {"json", "json", "json"},
	"control":                     {"off", "off", "off"},
	"string":                      {"x.pem", "x.pem", "x.pem"},
	"provider.tls.min_version":    {"1.3", "1.3", "'1.3'"},
	"consumer.tls.min_version":    {"1.3", "1.3", "'1.3'"},
	"consumer.tls.enabled":        {"true", true, "true"},
	"provider.http.origins":       {"https://a, http://b:1", []string{"https://a", "http://b:1"}, `['https://a', 'http://b:1']`},
	"plugins": {"{name: acme, path: /bin/acme, allow_unverified: true}", []spi.PluginConfig{{Name: "acme", Path: "/bin/acme", AllowUnverified: true}},
		"[{name: acme, path: /bin/acme, allow_unverified: true}]"},
	"provider.http.hosts": {"a, b.c", []string{"a", "b.c"}, "[a, b.c]"},
}

// beside is what must be in the environment too for a key to be valid.
var beside = map[string][]string{
	"provider.tls.cert":        {"BHRPC_PROVIDER_TLS_KEY=k"},
	"provider.tls.key":         {"BHRPC_PROVIDER_TLS_CERT=c"},
	"provider.tls.client_ca":   {"BHRPC_PROVIDER_TLS_CERT=c", "BHRPC_PROVIDER_TLS_KEY=k"},
	"consumer.tls.ca":          {"BHRPC_CONSUMER_TLS_ENABLED=true"},
	"consumer.tls.server_name": {"BHRPC_CONSUMER_TLS_ENABLED=true"},
	"consumer.tls.cert":        {"BHRPC_CONSUMER_TLS_ENABLED=true", "BHRPC_CONSUMER_TLS_KEY=k"},
	"consumer.tls.key":         {"BHRPC_CONSUMER_TLS_ENABLED=true", "BHRPC_CONSUMER_TLS_CERT=c"},
}

// TestEveryKeyFromEverySource sets every key that there is, by the schema, in each
// of the three ways.
func TestEveryKeyFromEverySource(t *testing.T) {
	fields, err := config.Fields()
	if err != nil {
		t.Fatal(err)
	}
	names, types := keys(fields, "")
	for i, key := range names {
		sample, ok := samples[key]
		if !ok {
			sample, ok = samples[types[i]]
		}
		if !ok {
			t.Errorf("%s: no sample for this key or for a %s", key, types[i])
			continue
		}
		file, env := nest(key, sample.file), variable(key)
		inCode := config.Default()
		if err := inCode.Set(key, sample.code); err != nil {
			t.Errorf("set %s to %v: got %v, want no error", key, sample.code, err)
			continue
		}
		inFile := load(t, file, beside[key]...)
		inEnv, err := config.Load("", append([]string{env + "=" + sample.env}, beside[key]...))
		if err != nil {
			t.Errorf("%s=%s: got %v, want no error", env, sample.env, err)
			continue
		}
		if key == "references" { // an entry for each of its keys, from here on
			key = "references.S.group"
		}
		want := value(inFile, key)
		if want == value(config.Default(), key) {
			t.Errorf("%s: got the default %s from the file", key, want)
		}
		if got := inFile.Origin(key); got.Source != "bhrpc.yaml" || got.Line == 0 {
			t.Errorf("%s: got from %q, want from a line of bhrpc.yaml", key, got)
		}
		for _, from := range []struct {
			c    *config.Config
			want string
		}{{inEnv, "env " + env}, {inCode, "code"}} {
			if got := value(from.c, key); got != want {
				t.Errorf("%s from %s: got %s, want %s", key, from.want, got, want)
			}
			if got := from.c.Origin(key); got != (spi.Pos{Source: from.want}) {
				t.Errorf("%s: got from %q, want from %s", key, got, from.want)
			}
		}
	}
}

// TestEntriesRoundTrip reads what Entries writes.
func TestEntriesRoundTrip(t *testing.T) {
	c := load(t, `
provider:
  serializers: ["3", "true", "~", "a, b", "#", " x", "é", "- a", "a: b", "0o17", "0o7777777777777777777777777", "1_000", "{", "tab\there", "two\nlines", "&a", "yes"]
consumer:
  addresses: ["[::1]:7070", "127.0.0.1:7070"]
  interceptors: [a, {use: b, with: {c: [1, "2"]}}, "true"]
  loadbalancer: {use: weighted-random, with: {weights: {"127.0.0.1:7071": 3}, on: yes, "7": "8", f: 1.50, list: [{a: ~}, true], text: "1.50", lines: "a\nb"}}
references:
  acme.Greeter: {version: "1.0", timeout: 1h}
  Zebra: {group: "", version: "two\nlines"}
  acme.Store: {idempotent: [Read, "7"], methods: {Read: {timeout: 1s}, "8": {timeout: 2s}}}
plugins:
  - {name: a, path: /a, args: ["--x", "1"], env: {A: "1"}, allow_unverified: true, provides: {heartbeat: [h]}, restart: {base: 1s}, limits: {memory: 64MiB}, on_failure: {heartbeat: fail}}
  - {name: b, path: /b, sha256: "0000000000000000000000000000000000000000000000000000000000000007", required: true, per_call: true, mtls: off}
`)
	for _, e := range c.Entries() {
		file := nest(e.Key, e.Value)
		if got := value(load(t, file), e.Key); got != e.Value {
			t.Errorf("%s\ngot %s, want %s", file, got, e.Value)
		}
		if strings.Contains(e.Value, "\n") {
			t.Errorf("%s: got %q, want one line", e.Key, e.Value)
		}
	}
	want := `{use: weighted-random, with: {weights: {'127.0.0.1:7071': 3}, on: yes, "7": "8", f: 1.5, list: [{a: null}, true], text: "1.50", lines: "a\nb"}}`
	got := value(c, "consumer.loadbalancer")
	for _, quotes := range []string{"'", `"`} { // which quotes is the writer's choice
		got, want = strings.ReplaceAll(got, quotes, ""), strings.ReplaceAll(want, quotes, "")
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// nest returns a file that sets only key.
func nest(key, value string) string {
	parts := strings.Split(key, ".")
	if name, ok := strings.CutPrefix(key, "references."); ok {
		service, method, of := strings.Cut(name, ".methods.")
		if of {
			method, last, _ := strings.Cut(method, ".")
			parts = []string{"references", service, "methods", method, last}
		} else {
			dot := strings.LastIndexByte(name, '.')
			parts = []string{"references", name[:dot], name[dot+1:]}
		}
	}
	var b strings.Builder
	for i, part := range parts {
		b.WriteString("\n" + strings.Repeat("  ", i) + part + ":")
	}
	return b.String() + " " + value + "\n"
}
