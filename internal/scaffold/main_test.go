package scaffold_test

import (
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/scaffold"
)

// framework returns the sources that this test is part of.
func framework(t *testing.T) scaffold.Framework {
	t.Helper()
	f, err := scaffold.FindFramework(t.Context(), "../..")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// compiles writes a project and does with it what its README says.
func compiles(t *testing.T, kind, name string) {
	dir := filepath.Join(t.TempDir(), name)
	made, err := scaffold.Write(t.Context(), dir, scaffold.Project{Kind: kind, Name: name, Module: "example.org/you/" + name, Framework: framework(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range made {
		content, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Errorf("file %s: got %v, want it there", file, err)
		}
		if strings.HasSuffix(file, ".go") {
			if formatted, err := format.Source(content); err != nil || string(formatted) != string(content) {
				t.Errorf("file %s: got %v, want it formatted", file, err)
			}
		}
	}
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}, {"build", "-o", "bin/" + name, "./cmd/" + name}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
