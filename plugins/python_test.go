//go:build fault && linux

package plugins_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

const python = "/usr/bin/python3"

// pythonPlugin packs examples/plugin-python as its README says.
func pythonPlugin(t *testing.T) (path string) {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import grpc, google.protobuf").CombinedOutput(); err != nil {
		if os.Getenv("BHRPC_PYTHON") == "must" {
			t.Fatalf("%s -c 'import grpc, google.protobuf': %v\n%s", python, err, out)
		}
		t.Skipf("%s has no gRPC (apt-get install python3-grpcio python3-protobuf): %v", python, err)
	}
	path = filepath.Join(t.TempDir(), "least-busy.pyz")
	if out, err := exec.Command(python, "-m", "zipapp", "../examples/plugin-python/least_busy", "-p", python, "-o", path).CombinedOutput(); err != nil {
		t.Fatalf("zipapp: %v\n%s", err, out)
	}
	if err := errors.Join(os.Chmod(filepath.Dir(path), 0o700), os.Chmod(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	return path
}

// lines collects what is logged.
type lines struct{ entries []string }

func (*lines) Levels() []logrus.Level { return logrus.AllLevels }

// Fire is called with the logger's lock held.
func (l *lines) Fire(e *logrus.Entry) error {
	l.entries = append(l.entries, e.Message)
	return nil
}

func TestPython(t *testing.T) {
	path := pythonPlugin(t)
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	log, logged := logrus.New(), new(lines)
	log.Out = io.Discard
	log.AddHook(logged)
	cfg := spi.PluginConfig{Name: "least-busy", Path: path, SHA256: hex.EncodeToString(sum[:]), MTLS: "off",
		StartTimeout: spi.Duration(time.Minute), CallTimeout: spi.Duration(time.Minute)}
	p, err := plugins.Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = p.Close()
		}
	}()
	cat := spi.NewCatalog()
	if err := p.Register(cat); err != nil {
		t.Fatal(err)
	}
	for with, want := range map[string]string{`{"bias": 11}`: "bias: 11 is not a number from 0 to 10", `{"bais": 1}`: `did you mean "bias"?`} {
		if _, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "least-busy", With: spi.Raw{JSON: []byte(with)}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open with %s: got %v, want %q", with, err, want)
		}
	}
	lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "least-busy", With: spi.Raw{JSON: []byte(`{"bias": 2}`)}})
	if err != nil {
		t.Fatal(err)
	}
	endpoints := []spi.Endpoint{{Address: "a:1", Weight: 1, Load: new(spi.Load)}, {Address: "b:1", Weight: 1, Load: new(spi.Load)}}
	for range 99 {
		endpoints[0].Load.Begin() // so that its share is 1/100²
	}
	busy := 1000
	for try := 0; try < 20 && busy > 100; try++ { // 0.1 are expected; without a plan in time 500
		picker, err := lb.Build(endpoints)
		if err != nil {
			t.Fatal(err)
		}
		busy = 0
		for range 1000 {
			i, err := picker.Pick(&spi.CallInfo{})
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				busy++
			}
		}
	}
	if busy > 100 {
		t.Errorf("picks of the endpoint that is busy: got %d of 1000, want nearly none", busy)
	}
	spitest.LoadBalancer(t, lb)
	closed = true
	if err := errors.Join(lb.(io.Closer).Close(), p.Close()); err != nil {
		t.Errorf("Close: got %v, want nothing", err)
	}
	if i := slices.IndexFunc(logged.entries, func(line string) bool { return strings.Contains(line, "Traceback") }); i >= 0 {
		t.Errorf("log: got a fault of the plugin, want none:\n%s", strings.Join(logged.entries, "\n"))
	}
}

// The plugin ends by itself when its host is gone, and when nobody started it.
func TestPythonEnds(t *testing.T) {
	path := pythonPlugin(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer write.Close()
	dir, err := os.MkdirTemp("", "p") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(path)
	cmd.Env = []string{"BHRPC_PLUGIN=extensions", "BHRPC_LIFELINE_FD=3", "PLUGIN_UNIX_SOCKET_DIR=" + dir}
	cmd.ExtraFiles = []*os.File{read}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	read.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.HasPrefix(line, "1|1|unix|"+dir) {
		t.Fatalf("handshake: got %q, %v, want 1|1|unix|%s…", line, err, dir)
	}
	write.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("after the end of the host: got %v, want no error", err)
	}

	alone := exec.Command(path)
	alone.Env = []string{}
	if out, err := alone.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("is run by the program that uses it")) {
		t.Errorf("without a host: got %v, %s, want an error that says so", err, out)
	}
}
