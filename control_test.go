//go:build unix

package bhrpc_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/control"
)

// ask returns what the processes with a socket in the test's directory say.
func ask(t *testing.T) []control.Report {
	t.Helper()
	reports, err := control.Ask(t.Context(), control.Directories(os.Getenv("XDG_RUNTIME_DIR"))[:1], 0)
	if err != nil {
		t.Fatal(err)
	}
	return reports
}

func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

// An App shows the connections of its consumer and its providers until it is closed.
func TestControlSocket(t *testing.T) {
	runtimeDir(t)
	cfg, _ := load(t, map[string]any{"provider.listen": "127.0.0.1:0", "provider.heartbeat": "none"}) // frames are counted
	provider, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider.Provide(t.Context(), Hello{})
	if err != nil {
		t.Fatal(err)
	}
	address := p.Addr().String()
	consumer := dial(t, map[string]any{"consumer.heartbeat": "none"}, address)
	if _, err := bhrpc.Call[string](t.Context(), consumer, "Hello.Say", "world"); err != nil {
		t.Fatal(err)
	}
	reports := ask(t)
	if len(reports) != 2 || len(reports[0].Conns) != 1 || len(reports[1].Conns) != 1 {
		t.Fatalf("got %+v, want two Apps with a connection each", reports)
	}
	in, out := reports[0].Conns[0], reports[1].Conns[0]
	if in.Side != "provider" || in.State != core.ConnUp || out.Side != "consumer" || out.Peer != address || out.FramesOut != in.FramesIn+1 {
		t.Errorf("got %+v and %+v, want the two ends", in, out)
	}
	if err := provider.Close(); err != nil {
		t.Error(err)
	}
	if reports := ask(t); len(reports) != 1 {
		t.Errorf("after Close: got %+v, want the other App alone", reports)
	}
}

func TestControlOff(t *testing.T) {
	runtimeDir(t)
	t.Setenv("BHRPC_CONTROL", "off")
	cfg, log := load(t, nil)
	open(t, cfg)
	if reports := ask(t); len(reports) != 0 || log.String() != "" {
		t.Errorf("got %+v, log %s, want neither", reports, log)
	}
}

// That there can be no socket is one warning.
func TestControlImpossible(t *testing.T) {
	file := filepath.Join(runtimeDir(t), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", file)
	t.Setenv("TMPDIR", file)
	cfg, log := load(t, nil)
	open(t, cfg)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=warning") || !strings.Contains(got, "control: off leaves it out") {
		t.Errorf("got %s, want one warning", got)
	}
}
