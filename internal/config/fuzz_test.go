package config_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

// FuzzLoad reads arbitrary bytes as a file and as variables of every kind. What is
// refused must be refused as promised; what is accepted must say itself again.
func FuzzLoad(f *testing.F) {
	for _, tt := range refused {
		f.Add([]byte(tt.file), tt.file)
	}
	f.Add([]byte("consumer:\n  loadbalancer:\n    use: x\n    with: {a: [1, {b: ~}], \"\\u00e9\": .5e3}\n"), "{use: x, with: {a: 1}}")
	f.Add([]byte("provider:\n  serializers: ['a', |\n b, \"\\x7f\"]\nreferences: {a.b: {version: \"\\n\"}}\n"), "[a, b]")
	f.Add([]byte("provider: {serializers: [\"\\x7f\\u0085\", '7}\n b']}\nconsumer: {proxy: '7}\n b'}\n"), "7}")
	f.Add([]byte("\ufeff%YAML 1.1\n---\n? log\n: # x\n  level: >-\n   info\n"), "a:1,b:2")
	path := filepath.Join(f.TempDir(), "fuzz.yaml")
	f.Fuzz(func(t *testing.T, file []byte, value string) {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, path)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, path,

			"BHRPC_CONSUMER_PROXY="+value, "BHRPC_CONSUMER_ADDRESSES="+value, "BHRPC_PROVIDER_LISTEN="+value,
			"BHRPC_REFERENCES="+value, "BHRPC_CONSUMER_TIMEOUT="+value, "BHRPC_PROVIDER_WEIGHT="+value)
		check(t, path, "BHRPC_REFERENCES="+value, "BHRPC_PROVIDER_SERIALIZERS="+value, "BHRPC_PROVIDER_REGISTRY="+value)
	})
}

// check loads the file at path and tries what came out of it.
func check(t *testing.T, path string, environ ...string) {
	c, err := config.Load(path, environ)
	if err != nil {
		checkRefused(t, c, err)
		return
	}
	for _, ref := range []spi.Ref{c.Provider.Registry, c.Consumer.Serializer, c.Consumer.LoadBalancer, c.Consumer.Proxy, c.Consumer.Registry} {
		if raw := ref.With.JSON; ref.Use == "" || len(raw) > 0 && !json.Valid(raw) {
			t.Errorf("got %s %q with %q, want a name and JSON", ref.Key, ref.Use, raw)
		}
	}
	again := filepath.Join(filepath.Dir(path), "again.yaml")
	for _, e := range c.Entries() {
		if e.From.Source == "" || strings.HasPrefix(e.Key, "references.") { // a service may be called anything
			continue
		}
		text := nest(e.Key, e.Value)
		if err := os.WriteFile(again, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := config.Load(again, nil); err != nil || value(c, e.Key) != e.Value {
			t.Errorf("%s\ngot %v, error %v, want the same value", text, c, err)
		}
	}
}

func checkRefused(t *testing.T, c *config.Config, err error) {
	if c != nil {
		t.Errorf("got a configuration with the error %v", err)
	}
	faults := flatten(err)
	if len(faults) == 0 {
		t.Errorf("got %#v, want joined errors", err)
	}
	last := spi.Pos{}
	for _, err := range faults {
		var fault *spi.ConfigError
		if !errors.As(err, &fault) || fault.Cause == nil {
			t.Errorf("got %#v, want a ConfigError with a cause", err)
			continue
		}
		at := fault.At
		if at.Line > 0 && (at.Line < last.Line || at.Line == last.Line && at.Column < last.Column || at.Column < 1) {
			t.Errorf("got %v after %v, want errors by position", at, last)
		}
		if at.Line > 0 {
			last = at
		}
	}
}
