package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// asPlugin returns the configuration of this test binary in a role, in a directory
// and with a TMPDIR of its own.
func asPlugin(t testing.TB, role string) (cfg spi.PluginConfig, tmp string) {
	t.Helper()
	sum, err := ownSum()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "acme")
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := copyOf(os.Args[0], path); err != nil {
		t.Fatal(err)
	}
	if tmp, err = os.MkdirTemp(tempDir, "p"); err != nil { // short enough for a socket
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)
	return spi.PluginConfig{Name: "acme", Path: path, SHA256: sum, StartTimeout: spi.Duration(time.Minute), CallTimeout: spi.Duration(30 * time.Second), Env: map[string]string{roleEnv: role, "GORACE": "atexit_sleep_ms=0"}}, tmp
}

// tempDir is that of the tests, before one of them has a TMPDIR of its own.
var tempDir = os.TempDir()

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.Out = io.Discard
	return log
}

// ownSum is the hash of the test binary.
var ownSum = sync.OnceValues(func() (string, error) {
	program, err := os.Open(os.Args[0])
	if err != nil {
		return "", err
	}
	defer program.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, program)
	return hex.EncodeToString(hash.Sum(nil)), err
})

// copyOf makes another name for a file, or a copy where that cannot be. It is not to be
// written to.
func copyOf(file, path string) error {
	if os.Link(file, path) == nil {
		return nil
	}
	program, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(path, program, 0o700)
}

// wantEmpty checks that nothing was left behind.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("directory of temporary files: got %v, %v, want nothing in it", left, err)
	}
}

func TestOpen(t *testing.T) {
	cfg, tmp := asPlugin(t, "plugin")
	cfg.Args = []string{"--zone", "eu1"}
	p, err := Open(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Status().PID)); string(got) != cfg.Path+"\x00--zone\x00eu1\x00" || err != nil {
		t.Errorf("command line: got %q, %v, want its path and arguments", got, err)
	}
	if got := p.Extensions(); len(got) != 1 || got[0].Kind != "loadbalancer" || got[0].Name != "first" || got[0].Source != "plugin acme" ||
		len(got[0].Fields) != 1 || got[0].Fields[0].Default != "3" {
		t.Errorf("Extensions: got %+v, want loadbalancer first of plugin acme with the key share, 3", got)
	}
	if got := p.ready.Load().hash; got != cfg.SHA256 {
		t.Errorf("hash: got %s, want %s", got, cfg.SHA256)
	}
	tests := []struct {
		name, kind, extension, with string
		want, err                   string
		invalid                     bool
	}{
		{"defaults", "loadbalancer", "first", "", `{"share":3}`, "", false},
		{"given", "loadbalancer", "first", `{"share":5}`, `{"share":5}`, "", false},
		{"refused by Validate", "loadbalancer", "first", `{"share":-1}`, "", "share: is negative", true},
		{"misspelt key", "loadbalancer", "first", `{"shar":1}`, "", `did you mean "share"?`, true},
		{"unknown name", "loadbalancer", "frist", "", "", `did you mean "first"?`, true},
		{"unknown kind", "teapot", "first", "", "", `no kind "teapot"`, true},
		{"panic", "loadbalancer", "first", `{"share":666}`, "", "panic: as the test asked", false},
		{"after the panic", "loadbalancer", "first", "", `{"share":3}`, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := p.Configure(t.Context(), tt.kind, tt.extension, []byte(tt.with))
			if string(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || errors.Is(err, spi.ErrInvalid) != tt.invalid {
				t.Errorf("Configure: got %s, %v, want %s, %q", got, err, tt.want, tt.err)
			}
		})
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: got %v, want nothing", err)
		}
	}
	wantEmpty(t, tmp)
}

func TestOpenFails(t *testing.T) {
	tests := []struct {
		name, role string
		change     func(c *spi.PluginConfig)
		want       string
	}{
		{"another program", "plugin", func(c *spi.PluginConfig) { c.SHA256 = strings.Repeat("0", 64) }, "checksum differs"},
		{"ends without a handshake", "environment", nil, "start plugin \"acme\""},
		{"never answers", "wait", func(c *spi.PluginConfig) { c.StartTimeout = spi.Duration(200 * time.Millisecond) }, "within 200ms (start_timeout)"},
		{"without an inner contract", "picker", nil, `it printed: panic: loadbalancer "own" does not plan, so it cannot live in a plugin: its open must return what spi.FromPlanner makes`},
		{"another version", "another version", nil, "another version of the plugin protocol"},
		{"listens elsewhere", "listens elsewhere", nil, "handshake refused: the plugin listens on unix"},
		{"listens on TCP", "listens on TCP", nil, `handshake refused: the plugin listens on tcp "127.0.0.1:1"; want a unix socket in the directory that PLUGIN_UNIX_SOCKET_DIR names`},
		{"a certificate that nobody asked for", "has a certificate", func(c *spi.PluginConfig) { c.MTLS = "off" }, "handshake refused: it has a certificate, and mtls: off wants none"},
		{"no program", "plugin", func(c *spi.PluginConfig) { c.Path += ".gone" }, "no such file"},
		{"ends at once", "environment", nil, "it ended, exit status 0, without saying that it is ready"},
		{"no configuration", "plugin", func(c *spi.PluginConfig) { c.Path = "acme" }, "absolute path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, tmp := asPlugin(t, tt.role)
			if tt.change != nil {
				tt.change(&cfg)
			}
			p, err := Open(t.Context(), cfg, quiet())
			if err == nil {
				p.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: got %v, want %q", err, tt.want)
			}
			wantEmpty(t, tmp)
		})
	}
}

// TestNoBroker: what go-plugin would keep of every message of a plugin is not opened.
func TestNoBroker(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	p, _ := opened(t, cfg)
	_, err := p.ready.Load().conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, brokerMethod)
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("%s: got %v, want %v", brokerMethod, err, codes.Unimplemented)
	}
}

// TestWithoutMTLS: for plugins whose language cannot do it.
func TestWithoutMTLS(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.MTLS = "off"
	p, _ := opened(t, cfg)
	if got, err := p.Configure(t.Context(), "loadbalancer", "first", nil); err != nil || string(got) != `{"share":3}` {
		t.Errorf("Configure: got %s, %v, want its configuration", got, err)
	}
}

func TestCloseOfOneThatDoesNotAnswer(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			cfg, tmp := asPlugin(t, "plugin")
			p, err := Open(context.Background(), cfg, quiet())
			if err != nil {
				t.Fatal(err)
			}
			g := p.ready.Load()
			if err := syscall.Kill(g.process.cmd.Process.Pid, signal); err != nil {
				t.Fatal(err)
			}
			if signal == syscall.SIGKILL {
				<-g.exited()
			}
			if err := p.Close(); err != nil {
				t.Errorf("Close: got %v, want nothing", err)
			}
			<-g.exited()
			wantEmpty(t, tmp)
		})
	}
}

func TestServeWithoutAHost(t *testing.T) {
	if err := Serve(spi.NewCatalog()); !errors.Is(err, ErrNoHost) {
		t.Errorf("Serve: got %v, want %v", err, ErrNoHost)
	}
}

func TestServeEndsWithTheHost(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	p, err := Open(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	g := p.ready.Load()
	g.process.lifeline.Close() // as the end of the host does
	<-g.exited()
	if got := g.process.exitText(); got != "exit status 0" {
		t.Errorf("end: got %q, want %q", got, "exit status 0")
	}
}
