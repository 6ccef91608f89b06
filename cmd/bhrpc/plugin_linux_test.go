package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The tool pins a program, and explains a configuration with it as with a built-in.
func TestExplainPlugin(t *testing.T) {
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, acme := filepath.Join(dir, "bhrpc.yaml"), filepath.Join(dir, "acme")
	// A process with the race detector would otherwise sleep before it ends.
	text := "plugins:\n  - {name: acme, path: acme, start_timeout: 1m, required: true, env: {GORACE: atexit_sleep_ms=0, " + pluginRole + ": 'yes'}}\n" +
		"consumer: {addresses: [127.0.0.1:7070], loadbalancer: {use: nearest, with: {zone: eu1}}}\n"
	if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(acme, program, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp("", "p") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)
	if status, _, stderr := execute(t, "no address", "explain", "--config", file); status != 2 || !strings.Contains(stderr, "bhrpc.yaml:2:5: plugins.0.sha256: is missing; `bhrpc plugin pin "+acme+"` prints it") {
		t.Errorf("before it is pinned: got %d, %s, want how to pin it", status, stderr)
	}
	if status, _, stderr := execute(t, "no address", "plugin", "pin", acme, "--config", file); status != 0 {
		t.Fatalf("pin: got %d, %s", status, stderr)
	}
	status, stdout, stderr := execute(t, "no address", "explain", "--config", file, "--all")
	for _, want := range []string{"plugin acme   zone=eu1\n", "plugins                              [{name: acme, path: "} {
		if status != 0 || !strings.Contains(strings.Join(strings.Fields(stdout), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("got %d, %s\n%s\nwant %q in it", status, stderr, stdout, want)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("got %v, %v left behind, want nothing", left, err)
	}
}
