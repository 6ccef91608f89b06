//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/spi"
)

// hosting listens as an App with plugins does, until the test ends. It is this
// process, or that with the number pid.
func hosting(t *testing.T, pid int, plugins ...spi.PluginStatus) {
	t.Helper()
	s, err := control.Listen(control.Directories(os.Getenv("XDG_RUNTIME_DIR")), control.App{
		Conns:   func() []core.ConnInfo { return nil },
		Plugins: func() []spi.PluginStatus { return plugins },
		Restart: func(_ context.Context, name, sha256 string) error {
			for i := range plugins {
				if plugins[i].Name == name && sha256 != "bad" {
					plugins[i].Generation++
					return nil
				}
			}
			return errors.New("restart plugin: checksum\ndiffers")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if pid != os.Getpid() {
		if err := os.Rename(s.Path(), filepath.Join(filepath.Dir(s.Path()), fmt.Sprintf("%d-0.sock", pid))); err != nil {
			t.Fatal(err)
		}
	}
}

var (
	running = spi.PluginStatus{Name: "nearest", Path: "/opt/nearest", State: "ready", InState: spi.Duration(12 * time.Second), PID: 41237, Generation: 1, SHA256: helloHash, Verified: true,
		SDK: "bhrpc go 1", Protocol: 1, LastExit: "signal: killed", LastLines: []string{"one", "two\x1b"}, Calls: 120, Errors: 1, P50: spi.Duration(84 * time.Microsecond),
		P99: spi.Duration(220 * time.Microsecond), Dropped: 3, RSS: 16 << 20, CPU: spi.Duration(1200 * time.Millisecond), Files: 12,
		Extensions: []spi.PluginExtension{{Kind: "loadbalancer", Name: "nearest", Opened: 1, Fallback: true, Fallbacks: 7, PlanAge: spi.Duration(200 * time.Millisecond)},
			{Kind: "loadbalancer", Name: "farthest", PlanAge: spi.Duration(time.Second)}, {Kind: "heartbeat", Name: "slow"}}}
	failing = spi.PluginStatus{Name: "audit", Path: "/opt/audit", State: "backoff"}
)

func TestPluginLs(t *testing.T) {
	quiet(t)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	below := running
	below.Path = filepath.Join(here, "bin", "nearest")
	hosting(t, os.Getpid(), below, failing)
	const want = `NAME     KIND                     STATE    PID    STARTS  SHA256   PLAN AGE  PATH
nearest  loadbalancer, heartbeat  ready    41237  1       2cf2…ok  200ms     ./bin/nearest
audit    -                        backoff  -      0       -        -         /opt/audit
`
	if status, stdout, stderr := execute(t, "no address", "plugin", "ls"); status != 0 || stdout != want || stderr != "" {
		t.Errorf("got %d, %s\n%s\nwant\n%s", status, stderr, stdout, want)
	}
	var reports []control.Report
	status, stdout, _ := execute(t, "no address", "plugin", "ls", "--json")
	if err := json.Unmarshal([]byte(stdout), &reports); status != 0 || err != nil || len(reports) != 1 || len(reports[0].Plugins) != 2 || reports[0].Plugins[0].SHA256 != helloHash {
		t.Errorf("--json: got %d, %v, %s", status, err, stdout)
	}
	hosting(t, 1<<22+1, failing) // no process has this number
	_, stdout, _ = execute(t, "no address", "plugin", "ls")
	if lines := strings.SplitAfter(stdout, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[0], "PROCESS ") || !strings.HasPrefix(lines[3], "4194305  audit ") {
		t.Errorf("of two processes: got\n%s\nwant a column for the processes", stdout)
	}
	if status, _, stderr := execute(t, "no address", "plugin", "restart", "audit"); status != 2 || !strings.Contains(stderr, "choose one by --pid") {
		t.Errorf("restart in two processes: got %d, %s, want it refused", status, stderr)
	}
	if status, stdout, stderr := execute(t, "no address", "plugin", "restart", "audit", "--pid", "4194305"); status != 0 || !strings.Contains(stdout, "audit  -     backoff  -    1 ") {
		t.Errorf("restart in one: got %d, %s, %s, want one more start", status, stdout, stderr)
	}
}

func TestPluginInspect(t *testing.T) {
	quiet(t)
	hosting(t, os.Getpid(), running, failing)
	want := fmt.Sprintf(`plugin      nearest of %s, process %d
path        /opt/nearest
state       ready for 12.0s
process     41237, generation 1
sha256      %s ok
speaks      protocol 1, bhrpc go 1
last exit   signal: killed
exchanges   120, 1 failed
took        p50 84µs, p99 220µs
uses        16.0M resident, 1.2s of processor time, 12 files
not logged  3 lines, printed too fast

KIND          NAME      OPENED  STAND-IN  USES OF IT  PLAN AGE
loadbalancer  nearest   1       in use    7           200ms
loadbalancer  farthest  0       -         0           1.0s
heartbeat     slow      0       -         0           -

last lines that it printed:
  one
  two?
`, filepath.Base(os.Args[0]), os.Getpid(), helloHash)
	if status, stdout, stderr := execute(t, "no address", "plugin", "inspect", "nearest"); status != 0 || stdout != want || stderr != "" {
		t.Errorf("got %d, %s\n%s\nwant\n%s", status, stderr, stdout, want)
	}
	status, stdout, _ := execute(t, "no address", "plugin", "inspect", "audit")
	if status != 0 || !strings.Contains(stdout, "process    -, generation 0\n") || strings.Contains(stdout, "sha256") || strings.Contains(stdout, "last") {
		t.Errorf("one that never ran: got %d,\n%s", status, stdout)
	}
}

func TestPluginNone(t *testing.T) {
	quiet(t)
	refused := func(name string, status int, want string, args ...string) {
		t.Helper()
		got, stdout, stderr := execute(t, "no address", append([]string{"plugin"}, args...)...)
		if got != status || stdout != "" || !strings.HasPrefix(stderr, want) {
			t.Errorf("%s: got %d, %q, %q, want %d, %q", name, got, stdout, stderr, status, want)
		}
	}
	refused("no process", 1, "bhrpc: no process of this user has a control socket in ", "ls")
	hosting(t, os.Getpid())
	refused("a process without plugins", 1, "bhrpc: no process of this user has plugins\n", "ls")
	refused("a name, without plugins", 1, "bhrpc: no process of this user has plugins\n", "inspect", "nearest")
	hosting(t, os.Getpid(), failing)
	refused("another name", 1, "bhrpc: no plugin named \"audti\"; did you mean \"audit\"?\n  plugins: audit\n", "inspect", "audti")
	refused("another name to restart", 1, "bhrpc: no plugin named \"audti\"; did you mean", "restart", "audti")
	refused("refused", 1, fmt.Sprintf("bhrpc: ask process %d: restart plugin: checksum;differs\n", os.Getpid()), "restart", "audit", "--sha256", "bad")
	refused("no process number", 2, "bhrpc: --pid 0 is not the number of a process\n", "ls", "--pid", "0")
	refused("no command", 2, "bhrpc: a command is missing\n  commands of bhrpc plugin: inspect, ls, new, pin, restart, test\n")
	refused("unknown command", 2, "bhrpc: unknown command \"sl\"; did you mean \"ls\"?\n", "sl")
	refused("no name", 2, "bhrpc: accepts 1 arg(s), received 0\n", "restart")
}
