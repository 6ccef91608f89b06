//go:build fault

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/scaffold"
)

// What is written for authors passes as a plugin, whatever its kind.
func TestPluginNewPasses(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(t.TempDir(), "bhrpc") // a process of its own: the host that is killed is one
	if out, err := exec.Command("go", "build", "-o", tool, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, kind := range scaffold.Kinds() {
		t.Run(kind, func(t *testing.T) {
			dir, name := t.TempDir(), "my-"+kind
			in := func(dir, command string, args ...string) string {
				cmd := exec.Command(command, args...)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", cmd, err, out)
				}
				return string(out)
			}
			in(dir, tool, "plugin", "new", kind, name, "--framework", root)
			dir = filepath.Join(dir, name)
			in(dir, "go", "build", "-o", "bin/"+name, "./cmd/"+name)
			args := []string{"plugin", "test", "bin/" + name, "--within", "30s", "--start-timeout", "60s"} // on a busy machine
			if kind == "registry" {
				args = append(args, "--with", name+`={"dir": "`+filepath.ToSlash(t.TempDir())+`", "every": "10ms"}`)
			}
			if got := in(dir, tool, args...); !strings.HasPrefix(got, "PASS handshake · ") || strings.Count(got, "\n") != 1 {
				t.Errorf("plugin test: got\n%s\nwant one line that says PASS", got)
			}
		})
	}
}
