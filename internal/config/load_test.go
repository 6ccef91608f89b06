package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

// write makes a directory that holds bhrpc.yaml the working directory.
func write(t *testing.T, text string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("bhrpc.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// load returns the configuration that text in bhrpc.yaml gives.
func load(t *testing.T, text string, environ ...string) *config.Config {
	t.Helper()
	write(t, text)
	c, err := config.Load("bhrpc.yaml", environ)
	if err != nil {
		t.Fatalf("%s\ngot error %v", text, err)
	}
	return c
}

// flatten returns the errors that err joins.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return nil
}

func TestLoadAccepts(t *testing.T) {
	tests := []struct {
		name string
		file string
		key  string
		want string
	}{
		{name: "empty file", file: "", key: "log.level", want: "info"},
		{name: "a unix socket", file: "provider: {listen: 'unix:///run/orders.sock'}\nconsumer: {addresses: ['unix:///run/orders.sock', 'unix:7070']}", key: "provider.listen", want: "unix:///run/orders.sock"},
		{name: "comments only", file: "# log:\n#   level: debug\n", key: "log.level", want: "info"},
		{name: "empty document", file: "---\n...\n", key: "log.level", want: "info"},
		{name: "empty mapping", file: "{}", key: "log.level", want: "info"},
		{name: "byte order mark", file: "\ufefflog: {level: debug}\n", key: "log.level", want: "debug"},
		{name: "byte order mark alone", file: "\ufeff", key: "log.level", want: "info"},
		{name: "carriage returns", file: "log:\r\n  level: debug\r\n", key: "log.level", want: "debug"},
		{name: "JSON", file: `{"log": {"level": "debug"}}`, key: "log.level", want: "debug"},
		{name: "section with everything commented out", file: "log:\n  # level: debug\n", key: "log.level", want: "info"},
		{name: "references with everything commented out", file: "references:\n", key: "references", want: "{}"},
		{name: "reference with defaults", file: "references: {Greeter: }", key: "references.Greeter.timeout", want: "0s"},
		{name: "empty list", file: "consumer: {addresses: []}", key: "consumer.addresses", want: "[]"},
		{name: "quoted duration", file: "consumer: {timeout: '20s'}", key: "consumer.timeout", want: "20s"},
		{name: "size in bytes", file: "consumer: {limits: {message: 131072}}", key: "consumer.limits.message", want: "128KiB"},
		{name: "whole number for a number", file: "consumer: {reconnect: {factor: 2}}", key: "consumer.reconnect.factor", want: "2"},
		{name: "hexadecimal number", file: "provider: {weight: 0x10}", key: "provider.weight", want: "16"},
		{name: "octal number", file: "provider: {weight: 0o17}", key: "provider.weight", want: "15"},
		{name: "decimal number with a zero before it", file: "provider: {weight: 010}", key: "provider.weight", want: "10"},
		{name: "text that looks like a number", file: "references: {Greeter: {version: '1.0'}}", key: "references.Greeter.version", want: `"1.0"`},
		{name: "service with dots", file: "references: {acme.Greeter: {timeout: 1s}}", key: "references.acme.Greeter.timeout", want: "1s"},
		{name: "extension with nothing under with", file: "consumer: {proxy: {use: x, with: }}", key: "consumer.proxy", want: "x"},
		{name: "any host and port", file: "provider: {listen: ':0'}", key: "provider.listen", want: ":0"},
		{name: "registry instead of addresses", file: "consumer: {registry: local}", key: "consumer.registry", want: "local"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := value(load(t, tt.file), tt.key); got != tt.want {
				t.Errorf("%s\ngot %s %s, want %s", tt.file, tt.key, got, tt.want)
			}
		})
	}
}

// value returns what the file would say for key, "" if there is no such key.
func value(c *config.Config, key string) string {
	for _, e := range c.Entries() {
		if e.Key == key {
			return e.Value
		}
	}
	return ""
}

func TestLoadReadsNoFile(t *testing.T) {
	tests := []struct {
		name string
		path string
		want string // %dir% is the working directory
		is   error
	}{
		{name: "missing", path: "conf/bhrpc.yaml", want: "read conf/bhrpc.yaml: no such file; the working directory is %dir%", is: fs.ErrNotExist},
		{name: "other extension", path: "there.yaml", want: "read there.yaml: no such file; there is there.yml: rename it, or give its name", is: fs.ErrNotExist},
		{name: "other extension the other way", path: "./here.yml", want: "read ./here.yml: no such file; there is ./here.yaml: rename it, or give its name", is: fs.ErrNotExist},
		{name: "directory", path: "folder", want: "read folder: it is a directory; give the file in it, such as " + filepath.Join("folder", "bhrpc.yaml")},
		{name: "too large", path: "large.yaml", want: "read large.yaml: more than 1MiB; a configuration is smaller"},
	}
	t.Chdir(t.TempDir())
	if err := errors.Join(
		os.WriteFile("there.yml", nil, 0o600),
		os.WriteFile("here.yaml", nil, 0o600),
		os.WriteFile("large.yaml", []byte(strings.Repeat("# x\n", 1<<18)+"#"), 0o600),
		os.WriteFile("full.yaml", []byte(strings.Repeat("# x\n", 1<<18)), 0o600),
		os.Mkdir("folder", 0o700),
	); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := strings.ReplaceAll(tt.want, "%dir%", dir)
			_, err := config.Load(tt.path, nil)
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got %#v, want one that is %v", err, tt.is)
			}
		})
	}
	t.Run("just small enough", func(t *testing.T) {
		if _, err := config.Load("full.yaml", nil); err != nil {
			t.Errorf("got %v, want none", err)
		}
	})
	t.Run("missing, by its full path", func(t *testing.T) {
		path := filepath.Join(dir, "bhrpc.yaml")
		want := "read " + path + ": no such file"
		if _, err := config.Load(path, nil); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

func TestLoadTellsTheFirstHundredFaults(t *testing.T) {
	write(t, strings.Repeat("x: 1\n", 1000)+"y: 1\n")
	_, err := config.Load("bhrpc.yaml", nil)
	faults := flatten(err)
	if len(faults) != 101 || faults[100].Error() != "and 901 more faults" {
		t.Errorf("got %d faults, the last %v, want 101, the last counting 901 more", len(faults), faults[len(faults)-1])
	}
}

func TestErrorsHaveCauses(t *testing.T) {
	write(t, "log: {levle: info, format: 1}\n")
	_, err := config.Load("bhrpc.yaml", []string{"BHRPC_LOG_FORMART=json"})
	var causes []error
	for _, err := range flatten(err) {
		var fault *spi.ConfigError
		if !errors.As(err, &fault) {
			t.Fatalf("got %#v, want a ConfigError", err)
		}
		causes = append(causes, fault.Cause)
	}
	if want := []error{spi.ErrUnknown, spi.ErrInvalid, spi.ErrUnknown}; !slices.Equal(causes, want) {
		t.Errorf("got causes %v, want %v", causes, want)
	}
}
