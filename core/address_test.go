package core_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// TestUnixSocket: both protocols, by an address that says what it is, for the owner
// alone, and nothing left at the end.
func TestUnixSocket(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "p.sock")
	address := "unix://" + path
	l, err := core.Listen(t.Context(), address)
	w.must(err)
	if got := l.Addr().String(); got != address {
		t.Errorf("got address %s, want %s", got, address)
	}
	info, err := os.Stat(path)
	w.must(err)
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got mode %o, want 600", got)
	}
	p := w.newProvider(nil, echo{}, speaker{})
	w.serve(p, l)
	c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial = nil }, address)
	if got, err := invoke[string](t.Context(), c, "speaker", "Peer"); got != "unix" || err != nil {
		t.Errorf("got %q, %v, want the peer called unix", got, err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Post("http://localhost/echo/Say", "", strings.NewReader(`["x"]`))
	w.must(err)
	text, err := io.ReadAll(answer.Body)
	w.must(err)
	if answer.Body.Close(); string(text) != "\"x\"\n" {
		t.Errorf("got %s by HTTP, want x", text)
	}
	if _, err := core.Listen(t.Context(), address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v from a second Listen, want EADDRINUSE", err)
	}
	if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
		t.Errorf("got %q, %v after it, want the first one to go on", got, err)
	}
	w.must(p.Shutdown(t.Context()))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want no file left", err)
	}
	_, err = invoke[string](t.Context(), w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial = nil }, address), "echo", "Say", "x")
	w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: address, message: "no such file", hint: "is the provider started?"})
}

// TestUnixSocketLeftBehind: what a dead process left is replaced, what somebody else
// keeps there is not.
func TestUnixSocketLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := core.Listen(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatalf("got %v, want the socket replaced", err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Listen(t.Context(), "unix://"+path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v, want it to say what is there", err)
	}
	if got, err := os.ReadFile(path); string(got) != "mine" {
		t.Errorf("got %q, %v, want the file untouched", got, err)
	}
}
