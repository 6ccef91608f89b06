package plugins

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// serveSecond is a plugin that brings loadbalancer second.
func serveSecond() {
	cat := spi.NewCatalog()
	if err := spi.Register(cat.LoadBalancers, "second", "Sends everything to the first.", firstConfig{Share: 3}, openFirst); err != nil {
		panic(err)
	}
	if err := Serve(cat); err != nil {
		panic(err)
	}
}

// lines is what several goroutines log to.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(text)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// loading returns a catalog with the loader, and an environment that logs to text.
func loading(t *testing.T) (cat *spi.Catalog, env spi.Env, text *lines) {
	t.Helper()
	cat, text = spi.NewCatalog(), new(lines)
	if err := Loader(cat); err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.Out = text
	return cat, spi.Env{Log: log}, text
}

// as returns cfg by another name and in another role.
func as(cfg spi.PluginConfig, name, role string) spi.PluginConfig {
	cfg.Name, cfg.Env = name, maps.Clone(cfg.Env)
	cfg.Env[roleEnv] = role
	return cfg
}

func TestLoaderTwice(t *testing.T) {
	cat, _, _ := loading(t)
	if err := Loader(cat); !errors.Is(err, spi.ErrDuplicate) {
		t.Errorf("got %v, want %v", err, spi.ErrDuplicate)
	}
}

func TestLoad(t *testing.T) {
	cfg, tmp := asPlugin(t, "plugin")
	cfg.Provides = map[string][]string{"loadbalancer": {"first"}}
	cat, env, _ := loading(t)
	other := as(cfg, "other", "second plugin")
	other.Provides = nil
	all, err := cat.PluginLoader.Load(t.Context(), env, cat, []spi.PluginConfig{cfg, other})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	infos := cat.List()
	if len(infos) != 2 || infos[0].Name != "first" || infos[0].Source != "plugin acme" || infos[1].Name != "second" || infos[1].Source != "plugin other" {
		t.Errorf("catalog: got %+v, want first of acme and second of other", infos)
	}
	before := all.Status()
	if len(before) != 2 || before[0].Name != "acme" || before[1].Name != "other" || before[0].State != "ready" || before[0].SHA256 != cfg.SHA256 || !before[0].Verified || before[0].PID == 0 {
		t.Fatalf("Status: got %+v, want acme and other, ready", before)
	}
	if err := all.Restart(t.Context(), "acme", cfg.SHA256); err != nil {
		t.Fatal(err)
	}
	after := all.Status()
	if after[0].State != "ready" || after[0].Generation != 2 || after[0].PID == before[0].PID || after[1].PID != before[1].PID {
		t.Errorf("after Restart: got %+v, want another process of acme", after)
	}
	err = all.Restart(t.Context(), "acem", "")
	if want := `no plugin named "acem"; did you mean "acme"?` + "\n  plugins: acme, other"; !errors.Is(err, spi.ErrUnknown) || !strings.Contains(err.Error(), want) {
		t.Errorf("Restart of another name: got %v, want %s", err, want)
	}
	for range 2 {
		if err := all.Close(); err != nil {
			t.Errorf("Close: got %v, want nothing", err)
		}
	}
	wantEmpty(t, tmp)
}

func TestLoadFails(t *testing.T) {
	good, tmp := asPlugin(t, "plugin")
	wrong := good
	wrong.Name, wrong.SHA256, wrong.Required = "wrong", strings.Repeat("0", 64), true
	promising := good
	promising.Provides = map[string][]string{"loadbalancer": {"first", "frist"}, "heartbeat": {"h"}}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		cfgs []spi.PluginConfig
		want []string // in the error
		key  string   // of the first [spi.PluginError]
	}{
		{"one that is required", t.Context(), []spi.PluginConfig{good, wrong}, []string{`start plugin "wrong"`, "checksum differs"}, ""},
		{"one name twice", t.Context(), []spi.PluginConfig{good, as(good, "other", "plugin")}, []string{`loadbalancer "first", by plugin acme and by plugin other`}, ""},
		{"less than provided", t.Context(), []spi.PluginConfig{promising},
			[]string{`plugin "acme" brings no heartbeat named "h"`, `no loadbalancer named "frist"; did you mean "first"?`, "it brings: loadbalancer first"}, "provides.heartbeat.0"},
		{"no configuration", t.Context(), []spi.PluginConfig{{Name: "acme"}}, []string{`configuration of plugin "acme"`, "path: is missing"}, ""},
		{"nobody waits any more", over, []spi.PluginConfig{good}, []string{`start plugin "acme"`}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cat, env, _ := loading(t)
			all, err := cat.PluginLoader.Load(tt.ctx, env, cat, tt.cfgs)
			if err == nil {
				all.Close()
				t.Fatalf("got no error, want %q", tt.want)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			if failed, ok := errors.AsType[*spi.PluginError](err); !ok || failed.Key != tt.key {
				t.Errorf("got %+v, want one of key %q", failed, tt.key)
			}
			wantEmpty(t, tmp)
		})
	}
}

// An optional plugin that does not start stops nothing; its names are known if the
// configuration says them, and otherwise the error says why they are not.
func TestLoadOptional(t *testing.T) {
	cfg, tmp := asPlugin(t, "plugin")
	cfg.SHA256 = strings.Repeat("0", 64)
	cfg.Provides = map[string][]string{"loadbalancer": {"zoned"}}
	cfg.Restart.Base, cfg.Restart.Cap = spi.Duration(3600e9), spi.Duration(3600e9) // the test ends before
	cat, env, log := loading(t)
	all, err := cat.PluginLoader.Load(t.Context(), env, cat, []spi.PluginConfig{cfg})
	if err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "level=error") || !strings.Contains(got, "plugin=acme") || !strings.Contains(got, "checksum differs") {
		t.Errorf("log: got %s, want an error of acme that says why", got)
	}
	found, err := cat.LoadBalancers.Resolve(spi.Ref{Use: "zoned", With: spi.Raw{JSON: []byte(`{"zone":"eu1"}`)}})
	if err != nil || found.Info.Source != "plugin acme" {
		t.Errorf("got %+v, %v, want zoned of acme, with any key", found, err)
	}
	_, err = cat.LoadBalancers.Resolve(spi.Ref{Use: "nearest"})
	if want := `plugin "acme", which is optional, did not start: start plugin "acme": checksum differs`; !errors.Is(err, spi.ErrUnknown) || !strings.Contains(err.Error(), want) {
		t.Errorf("another name: got %v, want %s", err, want)
	}
	if got := all.Status(); len(got) != 1 || got[0].State == "ready" || len(got[0].Extensions) != 1 || got[0].Extensions[0].Name != "zoned" {
		t.Errorf("Status: got %+v, want acme, not ready, with zoned", got)
	}
	if err := all.Close(); err != nil {
		t.Errorf("Close: got %v, want nothing", err)
	}
	wantEmpty(t, tmp)
}
