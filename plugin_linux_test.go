package bhrpc_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// tempDir is that of the tests, before one of them has a TMPDIR of its own.
var tempDir = os.TempDir()

// writePlugin writes a configuration file beside a copy of the test binary as
// bin/acme, whose place and hash the text names PATH and HASH.
func writePlugin(t *testing.T, text string) (file string) {
	t.Helper()
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	file = filepath.Join(dir, "bhrpc.yaml")
	sum := sha256.Sum256(program)
	text = strings.NewReplacer("PATH", "bin/acme", "HASH", hex.EncodeToString(sum[:])).Replace(text)
	if err := errors.Join(os.Chmod(dir, 0o700), os.Mkdir(bin, 0o700), os.WriteFile(filepath.Join(bin, "acme"), program, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(tempDir, "p") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
			t.Errorf("directory of temporary files: got %v, %v, want nothing in it", left, err)
		}
		_ = os.RemoveAll(tmp)
	})
	t.Setenv("TMPDIR", tmp)
	return file
}

// acme is a plugin; a process with the race detector would otherwise sleep before it ends.
const acme = `plugins:
  - {name: acme, path: PATH, sha256: HASH, env: {BHRPC_TEST_PLUGIN: nearest, GORACE: atexit_sleep_ms=0}, start_timeout: 1m, call_timeout: 1m}
`

// A plugin's extension is chosen, configured and explained by one key, as a built-in.
func TestOpenWithPlugin(t *testing.T) {
	runtimeDir(t)
	address, _ := provide(t, nil, Hello{})
	file := writePlugin(t, acme+"consumer: {addresses: ["+address+"], loadbalancer: {use: nearest, with: {zone: eu1}}}\n")
	cfg, err := bhrpc.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	if err := cfg.Explain(t.Context(), &table, plugins.Loader); err != nil || !strings.Contains(table.String(), "plugin acme   zone=eu1") {
		t.Errorf("Explain: got %v\n%s\nwant plugin acme with zone=eu1", err, &table)
	}
	app := open(t, cfg, plugins.Loader)
	if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "plugin"); err != nil || got != "hello, plugin" {
		t.Errorf("call: got %q, %v", got, err)
	}
	if got := app.Plugins(); len(got) != 1 || got[0].Name != "acme" || got[0].State != "ready" || got[0].Path != filepath.Join(filepath.Dir(file), "bin", "acme") {
		t.Errorf("Plugins: got %+v, want acme, ready", got)
	}
	reports, err := control.AskPlugins(t.Context(), control.Directories(os.Getenv("XDG_RUNTIME_DIR"))[:1], 0)
	if err != nil || len(reports) != 2 || len(reports[0].Plugins)+len(reports[1].Plugins) != 1 {
		t.Errorf("control: got %+v, %v, want the plugin of one App of two", reports, err)
	}
	before := app.Plugins()[0]
	if err := app.RestartPlugin(t.Context(), "acme", ""); err != nil {
		t.Error(err)
	}
	if after := app.Plugins()[0]; after.PID == before.PID || after.Generation != before.Generation+1 {
		t.Errorf("after RestartPlugin: got %+v, want another process than %+v", after, before)
	}
	if err := app.RestartPlugin(t.Context(), "acne", ""); !errors.Is(err, spi.ErrUnknown) || !strings.HasPrefix(err.Error(), "bhrpc: ") {
		t.Errorf("RestartPlugin of another: got %v, want %v", err, spi.ErrUnknown)
	}
	if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "again"); err != nil || got != "hello, again" {
		t.Errorf("call after the restart: got %q, %v", got, err)
	}
}

// withPlugin opens a configuration that has acme, with these keys of the plugin and
// this text behind it.
func withPlugin(t *testing.T, keys, text string) *bhrpc.App {
	t.Helper()
	cfg, err := bhrpc.Load(writePlugin(t, strings.Replace(acme, "{name:", "{"+keys+"name:", 1)+text))
	if err != nil {
		t.Fatal(err)
	}
	return open(t, cfg, plugins.Loader)
}

// A plugin's serializer carries calls, at both ends.
func TestSerializerOfAPlugin(t *testing.T) {
	for _, tt := range []struct{ name, offered string }{{"by name", ", serializers: [marked]"}, {"with all others", ""}} {
		t.Run(tt.name, func(t *testing.T) {
			runtimeDir(t)
			p, err := withPlugin(t, "per_call: true, ", "provider: {listen: '127.0.0.1:0'"+tt.offered+"}\n").Provide(t.Context(), Hello{})
			if err != nil {
				t.Fatal(err)
			}
			app := withPlugin(t, "per_call: true, ", "consumer: {addresses: ['"+p.Addr().String()+"'], serializer: marked}\n")
			if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "both"); err != nil || got != "hello, both" {
				t.Errorf("call: got %q, %v", got, err)
			}
		})
	}
}

// A program serves beside a plugin whose serializer must not be used.
func TestProvideBesideASerializer(t *testing.T) {
	runtimeDir(t)
	p, err := withPlugin(t, "", "provider: {listen: '127.0.0.1:0'}\n").Provide(t.Context(), Hello{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bhrpc.Call[string](t.Context(), dial(t, nil, p.Addr().String()), "Hello.Say", "json"); err != nil || got != "hello, json" {
		t.Errorf("call: got %q, %v", got, err)
	}
	_, err = withPlugin(t, "", "provider: {listen: '127.0.0.1:0', serializers: [marked]}\n").Provide(t.Context(), Hello{})
	if err == nil || !strings.Contains(err.Error(), "set per_call: true of the plugin") {
		t.Errorf("Provide of it by name: got %v, want what allows it", err)
	}
}

func TestPluginsOfNone(t *testing.T) {
	cfg, _ := load(t, nil)
	app := open(t, cfg)
	if got := app.Plugins(); got != nil {
		t.Errorf("Plugins: got %+v, want nil", got)
	}
	if err := app.RestartPlugin(t.Context(), "acme", ""); !errors.Is(err, spi.ErrUnknown) {
		t.Errorf("RestartPlugin: got %v, want %v", err, spi.ErrUnknown)
	}
}

// What is wrong with plugins, and with what names their extensions, stops the start
// at its place; nothing is left running.
func TestOpenRefusesPlugins(t *testing.T) {
	loader := []bhrpc.Option{plugins.Loader}
	for _, tt := range []struct {
		name, file string
		options    []bhrpc.Option
		want       string // FILE is the path of the file
		cause      error
	}{
		{"no loader", acme, nil, `FILE:2:3: plugins: this program cannot load them; import "github.com/bhrpc/bhrpc/plugins" and pass plugins.Loader to bhrpc.Open`, spi.ErrNotLinked},
		{"misspelt key", acme + "consumer: {loadbalancer: {use: nearest, with: {zon: eu1}}}\n", loader, `FILE:3:48: unknown key consumer.loadbalancer.with.zon; did you mean "zone"?`, spi.ErrUnknown},
		{"misspelt name", acme + "consumer: {loadbalancer: nearst}\n", loader, `FILE:3:26: no loadbalancer named "nearst"; did you mean "nearest"?`, spi.ErrUnknown},
		{"stand-in", strings.ReplaceAll(acme, "env:", "on_failure: {loadbalancer: p2d}, env:"), loader, `no loadbalancer named "p2d"; did you mean "p2c"?`, spi.ErrUnknown},
		{"another program", strings.ReplaceAll(acme, "HASH", "'"+strings.Repeat("0", 64)+"', required: true"), loader, `FILE:2:5: start plugin "acme": checksum differs`, plugins.ErrChecksum},
		{"no program", "plugins: [{name: acme, path: bin/none, allow_unverified: true, required: true}]\n", loader, `FILE:1:11: start plugin "acme": open plugin program`, os.ErrNotExist},
		{"optional, and needed", strings.ReplaceAll(acme, "HASH", "'"+strings.Repeat("0", 64)+"'") + "consumer: {loadbalancer: nearest}\n", loader,
			`plugin "acme", which is optional, did not start: start plugin "acme": checksum differs`, spi.ErrUnknown},
		{"name of a built-in", strings.ReplaceAll(acme, ": nearest", ": p2c"), loader, `loadbalancer "p2c", by package `, spi.ErrDuplicate},
		{"two loaders", acme, []bhrpc.Option{plugins.Loader, plugins.Loader}, "pass plugins.Loader once", spi.ErrDuplicate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := writePlugin(t, tt.file)
			cfg, err := bhrpc.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			silent, _ := load(t, nil)
			cfg.Log = silent.Log
			app, err := cfg.Open(t.Context(), tt.options...)
			if err == nil {
				app.Close()
			}
			want := strings.ReplaceAll(tt.want, "FILE", file)
			if err == nil || !strings.Contains(err.Error(), want) || tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("got  %v\nwant %s (%v)", err, want, tt.cause)
			}
		})
	}
}
