package scaffold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
)

const module = "github.com/bhrpc/bhrpc"

// Framework says which bhrpc a project is written against.
type Framework struct {
	Version string // as go.mod names it
	Dir     string // absolute; a directory with its sources that stands in for the version; "" for a released one
}

// ErrNoFramework is the error of [FindFramework] in a development build whose sources are gone.
var ErrNoFramework = errors.New("the sources of bhrpc were not found")

// FindFramework returns the version that this program is built from, and for a
// development build the directory of its sources: dir if that is given, else where it
// was compiled, else where the module of the working directory has bhrpc from.
// Errors: [ErrNoFramework].
func FindFramework(ctx context.Context, dir string) (Framework, error) {
	if dir != "" {
		dir, err := filepath.Abs(dir)
		if err == nil && !isFramework(dir) {
			err = fmt.Errorf("%s is not it: there is no go.mod of %s", dir, module)
		}
		if err != nil {
			return Framework{}, fmt.Errorf("find the sources of bhrpc: %w", err)
		}
		return Framework{"v0.0.0", dir}, nil
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path == module && info.Main.Sum != "" { // it came from a module proxy
		return Framework{Version: info.Main.Version}, nil
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) { // with -trimpath it is not
		if dir := filepath.Join(filepath.Dir(file), "..", ".."); isFramework(dir) {
			return Framework{"v0.0.0", dir}, nil
		}
	}
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	if out, err := list.Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); isFramework(dir) {
			return Framework{"v0.0.0", dir}, nil
		}
	}
	return Framework{}, fmt.Errorf("%w: this is a development build of the tool, and a project needs them until a version is released; name a clone with --framework", ErrNoFramework)
}

var isModule = regexp.MustCompile(`(?m)^module ` + regexp.QuoteMeta(module) + `$`)

func isFramework(dir string) bool {
	content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	return err == nil && isModule.Match(bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n")))
}

// sums returns the hashes that the framework knows, nil for none. With them a
// project needs no network.
func (f Framework) sums() ([]byte, error) {
	if f.Dir == "" {
		return nil, nil
	}
	content, err := os.ReadFile(filepath.Join(f.Dir, "go.sum"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}
