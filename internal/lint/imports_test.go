package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImports holds the packages of this module, for every system that the project
// supports, against the rules.
func TestImports(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	touch(t, root)
	for _, system := range []string{"linux", "darwin", "windows"} {
		t.Run(system, func(t *testing.T) {
			graph := load(t, root, system)
			if len(graph) == 0 {
				t.Fatal("got no packages, want those of this module")
			}
			for _, fault := range check(graph) {
				t.Error(fault)
			}
		})
	}
}

// load returns the packages of the module and everything they import. Packages that
// do not build are part of it: saying so is not this test's affair.
func load(t *testing.T, root, system string) []pkg {
	t.Helper()
	list := exec.Command("go", "list", "-e", "-deps", "-tags=fault,faultnet,faultlong", "-json=ImportPath,Name,Standard,Imports,Dir", "./...")
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", list, err, &stderr)
	}
	var graph []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var listed struct {
			pkg
			Dir string
		}
		if err := dec.Decode(&listed); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatal(err)
		}
		if listed.Name == "" {
			continue // imported and not there
		}
		if _, own := inModule(listed.ImportPath); own {
			listed.Comment = comment(t, filepath.Join(listed.Dir, "doc.go"))
		}
		graph = append(graph, listed.pkg)
	}
}

// comment returns the package comment of a file, "" if there is neither.
func comment(t *testing.T, file string) string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly|parser.ParseComments)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Doc.Text()
}

// touch looks at every file that the result depends on, so that go test does not
// answer from its cache after one of them has changed: it sees what the test looks
// at, and not what go list does.
func touch(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go") || strings.HasPrefix(entry.Name(), "go."):
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
