package plugins

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

// quick is a schedule for tests that end processes on purpose.
func quick(maxStarts int) spi.PluginRestart {
	return spi.PluginRestart{Base: spi.Duration(time.Millisecond), Cap: spi.Duration(time.Millisecond), MaxStarts: maxStarts, Window: spi.Duration(time.Hour)}
}

// opened opens the test binary as a plugin whose life the test ends.
func opened(t *testing.T, cfg spi.PluginConfig) (*Plugin, *test.Hook) {
	t.Helper()
	log, hook := test.NewNullLogger()
	log.Level = logrus.DebugLevel
	p, err := Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: got %v, want nothing", err)
		}
	})
	return p, hook
}

// kill ends the process of a generation and waits for that.
func kill(t *testing.T, g *generation) {
	t.Helper()
	if err := syscall.Kill(g.process.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.exited()
}

// awaitState waits until the plugin is in a state.
func awaitState(t *testing.T, p *Plugin, want string) {
	t.Helper()
	for {
		p.mu.Lock()
		state, changed := p.state, p.changed
		p.mu.Unlock()
		if state == want {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("got state %s, want %s", state, want)
		}
	}
}

// next waits for a generation after one.
func next(t *testing.T, p *Plugin, after uint64) *generation {
	t.Helper()
	g, err := p.await(t.Context(), after)
	if err != nil {
		t.Fatal(err)
	}
	g.release()
	return g
}

// gone reports whether there is no process of that number that does anything.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return errors.Is(err, fs.ErrNotExist) || strings.HasPrefix(rest, "Z")
}

func TestRestartsWhatEnds(t *testing.T) {
	cfg, tmp := asPlugin(t, "plugin")
	cfg.Restart = quick(100)
	p, hook := opened(t, cfg)
	for number := uint64(1); number <= 3; number++ {
		g := next(t, p, number-1)
		if g.number != number {
			t.Fatalf("got generation %d, want %d", g.number, number)
		}
		if got, err := p.Configure(t.Context(), "loadbalancer", "first", nil); err != nil || string(got) != `{"share":3}` {
			t.Errorf("generation %d: got %s, %v, want its configuration", number, got, err)
		}
		kill(t, g)
	}
	g := next(t, p, 3)
	s := p.Status()
	if s.State != stateReady || s.PID != g.process.cmd.Process.Pid || s.Generation != 4 || s.LastExit != "signal: killed" || s.Calls != 3 || s.Errors != 0 || s.P50 == 0 ||
		s.RSS < 1<<20 || s.Files < 3 || s.SHA256 != cfg.SHA256 || !s.Verified || len(s.Extensions) != 1 {
		t.Errorf("Status: got %+v, want the fourth process, ready", s)
	}
	if err := p.Close(); err != nil || p.Status().State != stateStopped || p.Status().PID != 0 {
		t.Errorf("Close: got %v, then %+v, want it stopped", err, p.Status())
	}
	exits, restarts := 0, 0
	for _, e := range hook.AllEntries() {
		switch e.Message {
		case "plugin exited":
			exits++
			if e.Data["plugin"] != "acme" || e.Data["exit"] != "signal: killed" || e.Data["pid"] == nil || e.Data["generation"] != uint64(exits) {
				t.Errorf("log: got %v, want plugin, pid, generation %d and exit", e.Data, exits)
			}
		case "plugin restarted":
			restarts++
		}
	}
	if exits != 3 || restarts != 3 {
		t.Errorf("log: got %d exits and %d restarts, want 3 and 3", exits, restarts)
	}
	for name, end := range map[string]*os.File{"stdout": g.process.stdout.file, "stderr": g.process.stderr.file, "lifeline": g.process.lifeline} {
		if err := end.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: got %v, want it closed already", name, err)
		}
	}
	if _, err := p.use(); !errors.Is(err, errNotReady) {
		t.Errorf("use after Close: got %v, want %v", err, errNotReady)
	}
	if _, err := p.await(t.Context(), 0); !errors.Is(err, errNotReady) {
		t.Errorf("await after Close: got %v, want %v", err, errNotReady)
	}
	wantEmpty(t, tmp)
}

// TestRanForAWindow: the times between starts begin with base again.
func TestRanForAWindow(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.Restart = quick(100)
	cfg.Restart.Window = spi.Duration(time.Millisecond)
	p, _ := opened(t, cfg)
	for number := range uint64(3) {
		g := next(t, p, number)
		for time.Since(g.since) < cfg.Restart.Window.D() {
			runtime.Gosched()
		}
		kill(t, g)
	}
	next(t, p, 3)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := p.schedule.tries; got != 1 {
		t.Errorf("tries: got %d after each process ran for a window, want 1", got)
	}
}

// TestRestartForgetsStarts: those before it do not open the circuit.
func TestRestartForgetsStarts(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %t", running), func(t *testing.T) {
			cfg, _ := asPlugin(t, "plugin")
			cfg.Restart = quick(2)
			p, _ := opened(t, cfg)
			kill(t, next(t, p, 0))
			kill(t, next(t, p, 1))
			g := next(t, p, 2)
			want := 0
			if !running {
				kill(t, g)
				awaitState(t, p, stateOpen)
				want = 1 // the one that Restart makes
			}
			hash := strings.ToUpper(cfg.SHA256) // the same, and another text
			if err := p.Restart(t.Context(), hash); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if got := len(p.schedule.starts); got != want {
				t.Errorf("starts: got %d that count, want %d", got, want)
			}
			if p.sha256 != hash {
				t.Errorf("hash of the next start: got %s, want %s", p.sha256, hash)
			}
		})
	}
}

func TestCircuit(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.Restart = quick(2)
	p, _ := opened(t, cfg)
	for number := uint64(0); number < 3; number++ {
		kill(t, next(t, p, number))
	}
	awaitState(t, p, stateOpen)
	if _, err := p.use(); !errors.Is(err, errNotReady) {
		t.Errorf("use: got %v, want %v", err, errNotReady)
	}
	if err := p.Restart(t.Context(), ""); err != nil {
		t.Errorf("Restart: got %v, want it to close the circuit", err)
	}
	if g := next(t, p, 3); g.number != 4 {
		t.Errorf("got generation %d, want 4", g.number)
	}
}

func TestRestartLetsExchangesFinish(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	p, _ := opened(t, cfg)
	if err := p.Restart(t.Context(), strings.Repeat("0", 64)); !errors.Is(err, ErrChecksum) {
		t.Errorf("Restart with another hash: got %v, want %v", err, ErrChecksum)
	}
	if err := p.Restart(t.Context(), "abc"); err == nil || !strings.Contains(err.Error(), "64 hexadecimal digits") {
		t.Errorf("Restart with no hash: got %v, want what a hash is", err)
	}
	old, err := p.use()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	program = append(program, "a new version"...)
	if err := errors.Join(os.Remove(cfg.Path), os.WriteFile(cfg.Path, program, 0o700)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	hash := hex.EncodeToString(sum[:])
	done := make(chan error)
	go func() { done <- p.Restart(t.Context(), hash) }()
	g := next(t, p, old.number)
	if got := p.Status().SHA256; got != hash {
		t.Errorf("got hash %s, want the new one", got)
	}
	if isClosed(old.exited()) {
		t.Error("the old process ended while it was in use")
	}
	old.release()
	if err := <-done; err != nil || !isClosed(old.exited()) {
		t.Errorf("Restart: got %v, old process ended %t, want it ended", err, isClosed(old.exited()))
	}
	kill(t, g) // the new hash is the one that restarts look for
	if g := next(t, p, g.number); g.hash != hash {
		t.Errorf("got hash %s after the end of the new one, want %s", g.hash, hash)
	}
}

func TestAnswersThatAreLate(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.CallTimeout, cfg.Restart = spi.Duration(50*time.Millisecond), quick(100)
	p, _ := opened(t, cfg)
	for range lateStrikes {
		if _, err := p.Configure(t.Context(), "loadbalancer", "first", []byte(`{"share":777}`)); err == nil || !strings.Contains(err.Error(), "DeadlineExceeded") {
			t.Errorf("got %v, want that there was no answer in time", err)
		}
	}
	next(t, p, 1)
	if got := p.Status().LastExit; !strings.Contains(got, "not answered in time") {
		t.Errorf("last exit: got %q, want that answers were late", got)
	}
}

func TestPluginLogs(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	p, hook := opened(t, cfg)
	lb := openedFirst(t, p)
	if _, err := lb.Build(endpoints("a", "b", "c")); err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	var opened, printed *logrus.Entry
	for _, e := range hook.AllEntries() {
		switch e.Message {
		case "opened":
			opened = e
		case "a line":
			printed = e
		}
	}
	if opened == nil || opened.Level != logrus.InfoLevel || opened.Data["share"] != 3.0 || opened.Data["name"] != "first" || opened.Data["plugin"] != "acme" ||
		opened.Data["generation"] != uint64(1) || opened.Data["pid"] == nil {
		t.Errorf("log line of an extension: got %+v, want it with its fields and those of the plugin", opened)
	}
	if printed == nil || printed.Level != logrus.WarnLevel || printed.Data["plugin"] != "acme" {
		t.Errorf("print: got %+v, want it at the level warn", printed)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	cfg, tmp := asPlugin(t, "wait")
	cfg.StartTimeout = spi.Duration(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	log, hook := test.NewNullLogger()
	log.AddHook(onEntry(func(*logrus.Entry) { cancel() })) // what it prints first
	if _, err := Open(ctx, cfg, log); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: got %v, want %v", err, context.Canceled)
	}
	_ = hook
	wantEmpty(t, tmp)
}

// onEntry is a hook for every level.
type onEntry func(*logrus.Entry)

func (onEntry) Levels() []logrus.Level       { return logrus.AllLevels }
func (f onEntry) Fire(e *logrus.Entry) error { f(e); return nil }

func TestOpenLater(t *testing.T) {
	cfg, tmp := asPlugin(t, "plugin")
	cfg.Restart, cfg.Provides = quick(1000), map[string][]string{"loadbalancer": {"first"}}
	moved := cfg.Path + ".moved"
	if err := os.Rename(cfg.Path, moved); err != nil {
		t.Fatal(err)
	}
	log, hook := test.NewNullLogger()
	failed := make(chan struct{}, 1000)
	log.AddHook(onEntry(func(*logrus.Entry) { failed <- struct{}{} }))
	p, err := openLater(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	<-failed
	if e := hook.LastEntry(); e == nil || e.Message != "plugin does not start" || e.Level != logrus.ErrorLevel {
		t.Errorf("log: got %v, want that it does not start", e)
	}
	if err := os.Rename(moved, cfg.Path); err != nil {
		t.Fatal(err)
	}
	next(t, p, 0)
	if got, err := p.Configure(t.Context(), "loadbalancer", "first", nil); err != nil || string(got) != `{"share":3}` {
		t.Errorf("got %s, %v, want its configuration", got, err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: got %v, want nothing", err)
	}
	wantEmpty(t, tmp)
}

// TestPluginEndsWithItsHost: also one that is stopped, which cannot read its lifeline;
// what the host left behind is swept by the next one.
func TestPluginEndsWithItsHost(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		t.Run(fmt.Sprintf("stopped %t", stopped), func(t *testing.T) {
			cfg, tmp := asPlugin(t, "plugin")
			document, err := json.Marshal(cfg)
			if err != nil {
				t.Fatal(err)
			}
			host := exec.Command(os.Args[0])
			host.Env = []string{roleEnv + "=host", "TMPDIR=" + tmp}
			host.Stdin, host.Stderr = strings.NewReader(string(document)), os.Stderr
			out, err := host.StdoutPipe()
			if err == nil {
				err = host.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			var pid int
			if _, err := fmt.Fscanf(out, "plugin %d\n", &pid); err != nil {
				t.Fatal(err)
			}
			if stopped {
				if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			_ = host.Process.Kill()
			_ = host.Wait()
			for !gone(pid) {
				select {
				case <-t.Context().Done():
					t.Fatal("the plugin outlives its host")
				case <-time.After(10 * time.Millisecond):
				}
			}
			p, _ := opened(t, cfg)
			if err := p.Close(); err != nil {
				t.Errorf("Close: got %v, want nothing", err)
			}
			wantEmpty(t, tmp)
		})
	}
}

// openedFirst opens the load balancer of the tests' plugin; the test closes it.
func openedFirst(t *testing.T, p *Plugin) spi.LoadBalancer {
	t.Helper()
	cat := spi.NewCatalog()
	if err := p.Register(cat); err != nil {
		t.Fatal(err)
	}
	lb, err := cat.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "first"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lb.(io.Closer).Close() })
	return lb
}
