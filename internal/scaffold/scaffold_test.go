package scaffold_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/internal/scaffold"
)

func TestWrite(t *testing.T) { compiles(t, "loadbalancer", "nearest") }

func TestWriteRefuses(t *testing.T) {
	f := framework(t)
	for _, tt := range []struct {
		name    string
		project scaffold.Project
		want    string
	}{
		{"unknown kind", scaffold.Project{Kind: "loadbalanser", Name: "x", Module: "x.org/x"}, `did you mean "loadbalancer"?`},
		{"capitals", scaffold.Project{Kind: "proxy", Name: "Nearest", Module: "x.org/x"}, "lower-case letters"},
		{"a path", scaffold.Project{Kind: "proxy", Name: "../x", Module: "x.org/x"}, "lower-case letters"},
		{"a keyword", scaffold.Project{Kind: "proxy", Name: "go-to", Module: "x.org/x"}, "cannot be called goto"},
		{"an import", scaffold.Project{Kind: "proxy", Name: "plugins", Module: "x.org/x"}, "cannot be called plugins"},
		{"bad module", scaffold.Project{Kind: "proxy", Name: "x", Module: "x.org/\n"}, "no path of a module"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made")
			tt.project.Framework = f
			_, err := scaffold.Write(t.Context(), dir, tt.project)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Write: got %v, want %q", err, tt.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("directory after a failure: got %v, want none", err)
			}
		})
	}
}

func TestWriteOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "nearest.go")
	if err := os.WriteFile(own, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := scaffold.Write(t.Context(), dir, scaffold.Project{Kind: "proxy", Name: "nearest", Module: "x.org/x", Framework: framework(t)})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("Write into a directory that exists: got %v, want %v", err, fs.ErrExist)
	}
	if content, err := os.ReadFile(own); string(content) != "mine" {
		t.Errorf("file that was there: got %q, %v, want it as it was", content, err)
	}
}

func TestWriteUntidy(t *testing.T) {
	empty := t.TempDir() // a framework that has no packages
	if err := os.WriteFile(filepath.Join(empty, "go.mod"), []byte("module github.com/bhrpc/bhrpc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := scaffold.FindFramework(t.Context(), empty)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOPROXY", "off")
	dir := filepath.Join(t.TempDir(), "nearest")
	made, err := scaffold.Write(t.Context(), dir, scaffold.Project{Kind: "proxy", Name: "nearest", Module: "x.org/x", Framework: f})
	var untidy *scaffold.TidyError
	if !errors.As(err, &untidy) || !strings.Contains(err.Error(), "run it again") {
		t.Errorf("Write against sources without packages: got %v, want a TidyError that says what to do", err)
	}
	if _, err := os.Stat(filepath.Join(dir, made[0])); err != nil {
		t.Errorf("files: got %v, want them there", err)
	}
}

func TestFindFramework(t *testing.T) {
	if _, err := scaffold.FindFramework(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "there is no go.mod of github.com/bhrpc/bhrpc") {
		t.Errorf("FindFramework in a directory without it: got %v, want an error that says so", err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := scaffold.FindFramework(t.Context(), ""); err != nil || f.Dir != root {
		t.Errorf("FindFramework of a development build: got %+v, %v, want %s", f, err, root)
	}
}
