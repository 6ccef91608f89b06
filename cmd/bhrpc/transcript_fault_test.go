//go:build fault && linux

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// TestPluginFromNothing is the way of an author, and of who uses what came of it: a new
// repository, its tests, its program, the conformance run, one key in a configuration,
// and a kill -9 under 5,000 calls per second.
func TestPluginFromNothing(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{ // what is done here
		"$ bhrpc plugin new loadbalancer nearest --module example.org/you/nearest\n",
		"$ cd nearest && go test ./... && go build -o bin/nearest ./cmd/nearest\n",
		"$ bhrpc plugin test ./bin/nearest\nPASS ",
		"$ bhrpc plugin pin ./bin/nearest --config bhrpc.yaml --name nearest\n",
		"$ bhrpc plugin ls\nNAME     KIND          STATE  PID    STARTS  SHA256    PLAN AGE  PATH\n",
	} {
		if !strings.Contains(string(page), shown) {
			t.Errorf("README.md does not show %q", shown)
		}
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	tool(t, "plugin", "new", "loadbalancer", "nearest", "--module", "example.org/you/nearest", "--framework", root)
	t.Chdir("nearest")
	shell(t, "go", "test", "./...")
	shell(t, "go", "build", "-o", "bin/nearest", "./cmd/nearest")
	tested := tool(t, "plugin", "test", "./bin/nearest")
	if !regexp.MustCompile(`^PASS handshake · describe · config · \d+ contract cases · .*kill -9 · SIGSTOP · stdout noise · host death +p50 .* p99 .*\n$`).MatchString(tested) {
		t.Errorf("plugin test: got %s", tested)
	}

	file := "plugins:\n  - {name: nearest, path: bin/nearest, restart: {base: 50ms, cap: 50ms}}\nconsumer:\n  loadbalancer: nearest\n  addresses: [" +
		provide(t, map[string]any{}) + ", " + provide(t, map[string]any{}) + "]\n"
	if err := os.WriteFile("bhrpc.yaml", []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "plugin", "pin", "./bin/nearest", "--config", "bhrpc.yaml", "--name", "nearest")
	app, logged := openLogged(t, "bhrpc.yaml")
	table := tool(t, "plugin", "ls")
	row := regexp.MustCompile(`(?m)^NAME +KIND +STATE +PID +STARTS +SHA256 +PLAN AGE +PATH\nnearest +loadbalancer +ready +(\d+) +1 +[0-9a-f]{4}…ok +\S+ +\S+bin/nearest\n$`).FindStringSubmatch(table)
	if row == nil {
		t.Fatalf("plugin ls: got\n%s", table)
	}

	var calls, failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() { callOften(ctx, app, 5000, &calls, &failed) })
	pid, err := strconv.Atoi(row[1])
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	exited, restarted := logged.await(t, "plugin exited"), logged.await(t, "plugin restarted")
	for calls.Load() < 5000 {
		<-time.After(10 * time.Millisecond)
	}
	stop()
	load.Wait()
	if failed.Load() > 0 {
		t.Errorf("got %d of %d calls failed, want none", failed.Load(), calls.Load())
	}
	if exited.Level != logrus.WarnLevel || exited.Data["plugin"] != "nearest" || exited.Data["exit"] != "signal: killed" || exited.Data["fallback"] != "last-good" {
		t.Errorf("got %v %v, want the plugin, how it ended and what stands in", exited.Level, exited.Data)
	}
	if restarted.Level != logrus.InfoLevel || restarted.Data["plugin"] != "nearest" || restarted.Data["attempt"] != 1 || restarted.Data["after"] == nil {
		t.Errorf("got %v %v, want the plugin and the first attempt", restarted.Level, restarted.Data)
	}
	inspected := tool(t, "plugin", "inspect", "nearest")
	if !strings.Contains(inspected, "signal: killed") || !strings.Contains(inspected, "ready") {
		t.Errorf("plugin inspect: got\n%s\nwant how it ended and that it is ready", inspected)
	}
	t.Logf("row 19a: a new plugin, killed under 5000 calls/s: calls=%d failed=%d, restarted after %v", calls.Load(), failed.Load(), restarted.Data["after"])
}

// tool runs the command, which must succeed, and returns what it prints.
func tool(t *testing.T, args ...string) string {
	t.Helper()
	status, stdout, stderr := execute(t, "no address", args...)
	if status != 0 {
		t.Fatalf("bhrpc %s: got %d, %s%s, want 0", strings.Join(args, " "), status, stdout, stderr)
	}
	return stdout
}

func shell(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}

// awaited is a log whose entries are waited for.
type awaited struct{ entries chan *logrus.Entry }

func (awaited) Levels() []logrus.Level { return logrus.AllLevels }

func (a awaited) Fire(e *logrus.Entry) error {
	select {
	case a.entries <- e:
	default:
	}
	return nil
}

func (a awaited) await(t *testing.T, message string) *logrus.Entry {
	t.Helper()
	for {
		select {
		case e := <-a.entries:
			if e.Message == message {
				return e
			}
		case <-t.Context().Done():
			t.Fatalf("%q was not logged", message)
		}
	}
}

// openLogged opens a configuration until the test ends.
func openLogged(t *testing.T, path string) (*bhrpc.App, awaited) {
	t.Helper()
	cfg, err := bhrpc.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	log, _ := logtest.NewNullLogger()
	logged := awaited{make(chan *logrus.Entry, 10_000)}
	log.AddHook(logged)
	cfg.Log = log
	app, err := cfg.Open(t.Context(), plugins.Loader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Close(); err != nil {
			t.Errorf("Close: got %v, want nothing", err)
		}
	})
	return app, logged
}

// callOften calls at a rate per second until ctx ends.
func callOften(ctx context.Context, app *bhrpc.App, rate int, calls, failed *atomic.Int64) {
	var under sync.WaitGroup
	defer under.Wait()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	begun := 0
	for start := time.Now(); ; {
		for due := int(time.Since(start).Seconds() * float64(rate)); begun < due; begun++ {
			under.Go(func() {
				price, err := bhrpc.Call[int](context.Background(), app, "Shop.Price", Order{Item: "tea", Count: 2})
				calls.Add(1)
				if err != nil || price != 500 {
					failed.Add(1)
				}
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
