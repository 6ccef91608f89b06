//go:build fault

package plugins

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// TestStoppedPlugin: a process that is stopped fails its health checks, and is
// replaced. Until then an exchange ends at its own time.
func TestStoppedPlugin(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.Restart, cfg.CallTimeout = quick(10), spi.Duration(200*time.Millisecond)
	p, _ := opened(t, cfg)
	g := next(t, p, 0)
	pid := g.process.cmd.Process.Pid
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if status, err := syscall.Wait4(pid, nil, syscall.WUNTRACED, nil); err != nil || status != pid { // until it has stopped
		t.Fatal(status, err)
	}
	start := time.Now()
	if _, err := p.Configure(t.Context(), "loadbalancer", "first", nil); err == nil || !strings.Contains(err.Error(), "DeadlineExceeded") {
		t.Errorf("Configure: got %v, want that there was no answer in time", err)
	}
	next(t, p, 1)
	t.Logf("row 19b: a stopped process was replaced after %v", time.Since(start).Round(time.Millisecond))
	if got := p.Status().LastExit; !strings.Contains(got, "health checks in a row failed") {
		t.Errorf("last exit: got %q, want that health checks failed", got)
	}
}

// TestPanicsUpToTheBudget: a process whose extensions panic too often says that it is
// not well.
func TestPanicsUpToTheBudget(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.Restart = quick(10)
	p, _ := opened(t, cfg)
	for range panicBudget {
		if _, err := p.Configure(t.Context(), "loadbalancer", "first", []byte(`{"share":666}`)); err == nil || !strings.Contains(err.Error(), "panic: as the test asked") {
			t.Errorf("Configure: got %v, want the panic", err)
		}
	}
	next(t, p, 1)
	if got := p.Status().LastExit; !strings.Contains(got, "health checks in a row failed") {
		t.Errorf("last exit: got %q, want that health checks failed", got)
	}
}

// TestCrashes: a plugin that crashes a thousand times leaves nothing in the host.
func TestCrashes(t *testing.T) {
	const crashes = 1000
	cfg, tmp := asPlugin(t, "plugin")
	cfg.Restart = spi.PluginRestart{Base: spi.Duration(time.Millisecond), Cap: spi.Duration(time.Millisecond), MaxStarts: 1 << 20, Window: spi.Duration(time.Second)}
	p, err := Open(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	number := uint64(0)
	crash := func(times int) {
		for range times {
			g := next(t, p, number)
			number = g.number
			kill(t, g)
		}
		number = next(t, p, number).number - 1
	}
	start := time.Now()
	crash(50) // whatever grows once has grown
	goroutines, files, heap := resources(t)
	crash(crashes)
	after, filesAfter, heapAfter := resources(t)
	grown := func() bool { return after > goroutines+5 || filesAfter > files+5 || heapAfter > heap+1<<20 }
	for range 50 { // the last process may be ending still
		if !grown() {
			break
		}
		<-time.After(100 * time.Millisecond)
		after, filesAfter, heapAfter = resources(t)
	}
	t.Logf("row 19a: %d crashes in %v: goroutines %d -> %d, descriptors %d -> %d, heap %d -> %d KiB", crashes, time.Since(start).Round(time.Second),
		goroutines, after, files, filesAfter, heap>>10, heapAfter>>10)
	if grown() {
		t.Errorf("got goroutines %d -> %d, descriptors %d -> %d, heap %d -> %d, want them flat", goroutines, after, files, filesAfter, heap, heapAfter)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: got %v, want nothing", err)
	}
	wantEmpty(t, tmp)
}

// resources counts what the host holds.
func resources(t *testing.T) (goroutines, files int, heap uint64) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), len(open), m.HeapAlloc
}
