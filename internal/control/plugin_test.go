//go:build unix

package control_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/spi"
)

// appWith is an App that has a plugin, whose generation counts restarts.
func appWith(restart func(context.Context) error) control.App {
	var generation atomic.Uint64
	return control.App{
		Conns: func() []core.ConnInfo { return nil },
		Plugins: func() []spi.PluginStatus {
			return []spi.PluginStatus{{Name: "acme", State: "ready", Generation: generation.Load()}}
		},
		Restart: func(ctx context.Context, name, sha256 string) error {
			if name != "acme" || sha256 != "ff" {
				return fmt.Errorf("restart %s as %s: no such plugin", name, sha256)
			}
			generation.Add(1)
			return restart(ctx)
		},
	}
}

func TestPlugins(t *testing.T) {
	dir := directory(t)
	s, err := control.Listen([]string{dir}, appWith(func(context.Context) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reports, err := control.AskPlugins(t.Context(), []string{dir}, 0)
	if err != nil || len(reports) != 1 || reports[0].PID != os.Getpid() || reports[0].Conns != nil || len(reports[0].Plugins) != 1 || reports[0].Plugins[0].Name != "acme" {
		t.Fatalf("got %+v, %v, want acme of this process", reports, err)
	}
	after, err := reports[0].Restart(t.Context(), "acme", "ff")
	if err != nil || len(after.Plugins) != 1 || after.Plugins[0].Generation != 1 {
		t.Errorf("Restart: got %+v, %v, want generation 1", after, err)
	}
	_, err = reports[0].Restart(t.Context(), "other", "")
	if want := fmt.Sprintf("ask process %d: restart other as : no such plugin", os.Getpid()); err == nil || err.Error() != want {
		t.Errorf("Restart of another: got %v, want %s", err, want)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	_, err = reports[0].Restart(t.Context(), "acme", "ff")
	if want := fmt.Sprintf("ask process %d: it has ended", os.Getpid()); err == nil || err.Error() != want {
		t.Errorf("Restart after Close: got %v, want %s", err, want)
	}
}

// Close ends the context of a restart under way, and waits for it.
func TestCloseEndsRestart(t *testing.T) {
	entered, left := make(chan struct{}), false
	dir := directory(t)
	s, err := control.Listen([]string{dir}, appWith(func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		left = true
		return ctx.Err()
	}))
	if err != nil {
		t.Fatal(err)
	}
	reports, err := control.AskPlugins(t.Context(), []string{dir}, 0)
	if err != nil || len(reports) != 1 {
		t.Fatalf("got %+v, %v, want one", reports, err)
	}
	asked := make(chan error)
	go func() {
		_, err := reports[0].Restart(context.Background(), "acme", "ff")
		asked <- err
	}()
	<-entered
	if err := errors.Join(s.Close(), s.Close()); err != nil || !left {
		t.Errorf("Close: got %v, the restart ended: %t", err, left)
	}
	if err := <-asked; err == nil {
		t.Error("Restart: got no error, want one")
	}
}
