//go:build fault

package conform_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/plugins/conform"
)

// What stays behind is waited for before it is a fault.
func TestRunFindsWhatStays(t *testing.T) {
	t.Cleanup(func() { killChildren(t) })
	second := func(c *conform.Config) { c.Within = time.Second }
	for _, tt := range []fault{
		{"leaves a child", second, "end", "it left processes behind"},
		{"outlives its host", second, "host death", "after its host was killed"},
	} {
		t.Run(tt.role, tt.found)
	}
}

// killChildren ends what the role "leaves a child" left.
func killChildren(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		environ, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil || !bytes.Contains(environ, []byte(childEnv+"=yes")) {
			continue
		}
		_ = exec.Command("kill", "-9", entry.Name()).Run() // it may have ended
	}
}
