package config_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the generated pages")

// The generated pages are what the structs say.
func TestPages(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"config.md", config.WriteMarkdown},
		{"bhrpc.schema.json", config.WriteSchema},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got bytes.Buffer
			if err := tt.write(&got); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("..", "..", "docs", tt.name)
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s is not what the structs say; run: go test ./internal/config -run TestPages -update", path)
			}
			if err := tt.write(full{}); err == nil {
				t.Error("to a writer that fails: got no error, want one")
			}
		})
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// Every key has a meaning, and a row.
func TestRows(t *testing.T) {
	rows, err := config.Rows()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, row := range rows {
		seen[row.Key] = true
		if row.Doc == "" || row.Type == "" {
			t.Errorf("%s: got type %q, meaning %q, want both", row.Key, row.Type, row.Doc)
		}
	}
	for _, e := range config.Default().Entries() {
		if !seen[e.Key] && e.Key != "references" && e.Key != "plugins" { // what is in them has rows
			t.Errorf("got no row for %s", e.Key)
		}
	}
}

// compiled returns the schema as a program of somebody else reads it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	var text bytes.Buffer
	if err := config.WriteSchema(&text); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(&text)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err := compiler.AddResource("bhrpc.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("bhrpc.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// satisfies tells what the schema says of a file.
func satisfies(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	var document any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	return schema.Validate(document)
}

// The schema and Load agree about keys and types: what one takes the other takes.
func TestSchema(t *testing.T) {
	schema := compiled(t)
	for _, tt := range []struct {
		name, text string
		refused    bool
	}{
		{"empty", "", false},
		{"empty section", "consumer:\nreferences:\n", false},
		{"name of an extension", "consumer: {serializer: gob}", false},
		{"extension with configuration", "consumer: {loadbalancer: {use: weighted-random, with: {weights: {'127.0.0.1:7071': 3}}}}", false},
		{"extension without its configuration", "consumer: {loadbalancer: {use: random, with: }}", false},
		{"extension without a name", "consumer: {loadbalancer: {with: {}}}", true},
		{"extension with an empty name", "consumer: {loadbalancer: ''}", true},
		{"extension with another key", "consumer: {loadbalancer: {use: random, wiht: {}}}", true},
		{"extension that is a list", "consumer: {loadbalancer: [random]}", true},
		{"durations", "consumer: {timeout: 1m30s, dial_timeout: 1.5s, write_timeout: 900µs900ms, reconnect: {first: '0'}}", false},
		{"duration without a unit", "consumer: {timeout: 20}", true},
		{"duration that is none", "consumer: {timeout: soon}", true},
		{"duration below zero", "consumer: {timeout: -5s}", true},
		{"nothing for a duration", "consumer: {timeout: }", true},
		{"sizes", "consumer: {limits: {message: 1MiB, metadata: 65536, write_queue: '1048576'}}", false},
		{"size with another unit", "consumer: {limits: {message: 1MB}}", true},
		{"size below zero", "consumer: {limits: {message: -1}}", true},
		{"bool", "provider: {introspection: false}", false},
		{"text for a bool", "provider: {introspection: 'false'}", true},
		{"number", "consumer: {reconnect: {factor: 2}}", false},
		{"fraction for a whole number", "provider: {weight: 1.5}", true},
		{"text for a number", "provider: {weight: '1'}", true},
		{"list", "consumer: {addresses: ['127.0.0.1:7070']}", false},
		{"text for a list", "consumer: {addresses: '127.0.0.1:7070'}", true},
		{"list of what is not text", "provider: {serializers: [1]}", true},
		{"reference", "references: {acme.Greeter: {version: 1.0.0, group: blue, timeout: 2s}}", false},
		{"number for a text", "references: {Greeter: {version: 1.0}}", true},
		{"unknown key", "consumer: {serialiser: gob}", true},
		{"unknown section", "server: {}", true},
		{"unknown key of a reference", "references: {Greeter: {tiemout: 1s}}", true},
		{"unknown key in a nested section", "consumer: {reconnect: {caps: 1s}}", true},
		{"list for a section", "consumer: []", true},
		{"levels", "log: {level: warn, format: json}", false},
		{"unknown level", "log: {level: verbose}", true},
		{"plugin", "plugins: [{name: acme, path: bin/acme, allow_unverified: true, env: {TZ: UTC}, limits: {memory: 64MiB}, on_failure: {loadbalancer: p2c}, provides: {loadbalancer: [near]}}]", false},
		{"no plugin", "plugins: []", false},
		{"plugin that is no list", "plugins: {name: acme}", true},
		{"plugin that is a name", "plugins: [acme]", true},
		{"unknown key of a plugin", "plugins: [{name: acme, path: bin/acme, allow_unverified: true, sha: x}]", true},
		{"text for a number of a plugin", "plugins: [{name: acme, path: bin/acme, allow_unverified: true, max_inflight: many}]", true},
		{"list for the environment of a plugin", "plugins: [{name: acme, path: bin/acme, allow_unverified: true, env: [TZ]}]", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bhrpc.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, loaded := config.Load(path, nil)
			if err := satisfies(t, schema, tt.text); (err != nil) != tt.refused || (loaded != nil) != tt.refused {
				t.Errorf("%s\nschema %v\nLoad   %v\nwant refused: %t", tt.text, err, loaded, tt.refused)
			}
		})
	}
}

// The files of the project's own examples and pages are valid.
func TestSchemaTakesExamples(t *testing.T) {
	schema := compiled(t)
	files, err := filepath.Glob("../../examples/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got no examples, %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := satisfies(t, schema, string(text)); err != nil {
			t.Errorf("%s: got %v, want it valid", file, err)
		}
	}
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "\n```yaml\n")[1:]
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		if err := satisfies(t, schema, text); err != nil {
			t.Errorf("README.md: got %v, want it valid:\n%s", err, text)
		}
	}
}

// What is set by default is valid too: each default is one that the file could say.
func TestSchemaTakesDefaults(t *testing.T) {
	schema := compiled(t)
	for _, e := range config.Default().Entries() {
		parts := strings.Split(e.Key, ".")
		text := strings.Join(parts, ": {") + ": " + e.Value + strings.Repeat("}", len(parts)-1)
		if err := satisfies(t, schema, text); err != nil {
			t.Errorf("%s: got %v, want it valid", text, err)
		}
	}
}
