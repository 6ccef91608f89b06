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

// A heartbeat is asked some ten thousand questions, one by one.
func TestRunFindsWhatRemembers(t *testing.T) {
	fault{"heartbeat that remembers", nil, "contract heartbeat beat pure", "then"}.found(t)
}

// Answers that are late are tried for again and again.
func TestRunFindsWhatIsSlow(t *testing.T) {
	fault{"plans slowly", func(c *conform.Config) { c.Plugin.CallTimeout = 0 }, "call_timeout", "no answer within 200ms"}.found(t)
}

// Serializers are asked by many at once, and about large texts.
func TestRunFindsWhatManyFind(t *testing.T) {
	for _, tt := range []fault{
		{"one at a time", nil, "contract serializer own-json many-callers", "64 callers at once: "},
		{"panics at what is large", nil, "contract serializer own-json large", "a text of 15 MiB: got "},
	} {
		t.Run(tt.role, tt.found)
	}
}

// What stays behind is waited for before it is a fault.
func TestRunFindsWhatStays(t *testing.T) {
	t.Cleanup(func() { killChildren(t) })
	second := func(c *conform.Config) { c.Within = time.Second }
	for _, tt := range []fault{
		{"leaves a child", second, "end", "it left processes behind"},
		{"lives in a child", second, "host death", "it left processes behind"},
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
