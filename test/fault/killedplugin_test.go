//go:build fault && linux

package fault_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// pluginLoad is what goes on while a plugin dies.
var pluginLoad = loadArgs{Methods: []string{"Till.Echo"}, Rate: 5000, Timeout: 2 * time.Second, Size: 10}

// pluginKeys makes a consumer pick by a plugin, which is a copy of this program.
func pluginKeys(t *testing.T, restart map[string]any) map[string]any {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	program, err := os.ReadFile(path)
	must(t, err)
	path = filepath.Join(t.TempDir(), "even")
	must(t, os.WriteFile(path, program, 0o700))
	sum := sha256.Sum256(program)
	keys := quickReconnect()
	keys["plugins"] = []any{map[string]any{"name": "even", "path": path, "sha256": hex.EncodeToString(sum[:]), "env": map[string]any{pluginVariable: "1"},
		"required": true, "restart": restart}}
	keys["consumer.loadbalancer"] = "even"
	return keys
}

// plugged is a consumer that picks by a plugin, and two providers.
type plugged struct {
	t        *testing.T
	consumer *proc
	leaks    func()
}

func startPlugged(t *testing.T, restart map[string]any) *plugged {
	_, a := startProvider(t, providerArgs{})
	_, b := startProvider(t, providerArgs{})
	p := &plugged{t: t, consumer: startConsumer(t, pluginKeys(t, restart), a, b)}
	p.leaks = leakCheck(t, 1000, p.consumer)
	p.consumer.ask("load", pluginLoad, nil)
	pass(time.Second)
	return p
}

func (p *plugged) status() spi.PluginStatus {
	var all []spi.PluginStatus
	p.consumer.ask("plugins", nil, &all)
	return all[0]
}

// kill kills the plugin, and returns its number.
func (p *plugged) kill() uint64 {
	p.t.Helper()
	s := p.status()
	must(p.t, syscall.Kill(s.PID, syscall.SIGKILL))
	return s.Generation
}

// await waits until the plugin is in a state, as a process after one.
func (p *plugged) await(state string, after uint64) {
	p.t.Helper()
	if !within(10*time.Second, func() bool { s := p.status(); return s.State == state && s.Generation > after }) {
		p.t.Fatalf("got %+v, want it %s and after process %d", p.status(), state, after)
	}
}

// end ends the load. No call may have failed.
func (p *plugged) end() history {
	p.t.Helper()
	var h history
	p.consumer.ask("history", nil, &h)
	p.leaks()
	failed := h.failed()
	for _, c := range failed[:min(len(failed), 5)] {
		p.t.Errorf("call %d: %s", c.ID, c.Message)
	}
	if len(failed) > 0 {
		p.t.Errorf("got %d of %d calls failed, want none", len(failed), h.Begun)
	}
	return h
}

// TestKilledPlugin: a plugin that dies again and again costs no call.
func TestKilledPlugin(t *testing.T) {
	const kills = 15
	p := startPlugged(t, map[string]any{"base": "20ms", "cap": "100ms", "max_starts": 1000})
	var slowest time.Duration
	for range kills {
		start := time.Now()
		p.await("ready", p.kill())
		slowest = max(slowest, time.Since(start))
		pass(300 * time.Millisecond)
	}
	h := p.end()
	row(t, "19a", "%d kills of a plugin under %d calls/s: calls=%d failed=%d, a new process within %v", kills, pluginLoad.Rate, h.Begun, len(h.failed()), slowest.Round(time.Millisecond))
}

// TestTrippedPlugin: nor does one that is left alone because it died too often.
func TestTrippedPlugin(t *testing.T) {
	const starts = 5
	p := startPlugged(t, map[string]any{"base": "20ms", "cap": "100ms", "max_starts": starts})
	after := uint64(0)
	for range starts {
		after = p.kill()
		p.await("ready", after)
	}
	p.kill()
	p.await("open", after)
	pass(3 * time.Second)
	h := p.end()
	row(t, "19a", "%d starts used up, circuit open for 3s under %d calls/s: calls=%d failed=%d", starts, pluginLoad.Rate, h.Begun, len(h.failed()))
}

// TestStoppedPlugin: nor one that is stopped, until it is found out and replaced.
func TestStoppedPlugin(t *testing.T) {
	p := startPlugged(t, map[string]any{"base": "20ms", "cap": "100ms", "max_starts": 1000})
	s := p.status()
	start := time.Now()
	must(t, syscall.Kill(s.PID, syscall.SIGSTOP))
	if !within(20*time.Second, func() bool { now := p.status(); return now.State == "ready" && now.Generation > s.Generation }) {
		t.Fatalf("got %+v, want another process", p.status())
	}
	took := time.Since(start)
	h := p.end()
	row(t, "19b", "plugin stopped: a new process after %v, calls=%d failed=%d", took.Round(time.Millisecond), h.Begun, len(h.failed()))
}
