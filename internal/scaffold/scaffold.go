package scaffold

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/bhrpc/bhrpc/spi"
)

//go:embed templates
var files embed.FS

// templates holds what the files are made of.
var templates = template.Must(template.ParseFS(files, "templates/*.tmpl"))

// Project says what to write.
type Project struct {
	Kind      string // one of [Kinds]
	Name      string // of the extension
	Module    string // path of its module
	Framework Framework
}

// uses holds, by kind, how a configuration file names an extension.
var uses = map[string]string{
	"loadbalancer": "consumer:\n  loadbalancer: {use: %s, with: {zone: eu1}}\n",
	"heartbeat":    "consumer:\n  heartbeat: {use: %s, with: {interval: 2s}}\n",
	"serializer":   "consumer:\n  serializer: %s\n",
	"proxy":        "consumer:\n  proxy: {use: %s, with: {tenant: blue}}\n",
	"registry":     "consumer:\n  registry: %s\n",
}

// Kinds returns the kinds of extensions that can be written, sorted.
func Kinds() []string {
	return []string{"heartbeat", "loadbalancer", "proxy", "registry", "serializer"}
}

var (
	names   = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	modules = regexp.MustCompile(`^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$`)
)

// taken holds names of packages that the files import or that mean something to Go.
var taken = []string{"main", "init", "internal", "vendor", "testdata", "documentation", "context", "errors", "io", "json", "log", "plugins", "spi", "spitest", "testing"}

// Package returns the name of the project's package.
func (p Project) Package() string { return strings.ReplaceAll(p.Name, "-", "") }

// PerCall reports whether a plugin of this kind is asked for every call.
func (p Project) PerCall() bool { return p.Kind == "serializer" || p.Kind == "proxy" }

// Use returns the lines of a configuration file that name the extension.
func (p Project) Use() string { return fmt.Sprintf(uses[p.Kind], p.Name) }

// Version returns the version of the framework that go.mod names.
func (p Project) Version() string { return p.Framework.Version }

// Replace returns the directory that stands in for that version, "" for none.
func (p Project) Replace() string { return p.Framework.Dir }

// Validate returns what is wrong with the kind, the name and the module, joined.
func (p Project) Validate() error {
	var errs []error
	if !slices.Contains(Kinds(), p.Kind) {
		message := fmt.Sprintf("no kind of extension named %q", p.Kind)
		if near := spi.Nearest(p.Kind, Kinds()); near != "" {
			message += fmt.Sprintf("; did you mean %q?", near)
		}
		errs = append(errs, errors.New(message+"\n  kinds: "+strings.Join(Kinds(), ", ")))
	}
	switch name := p.Package(); {
	case !names.MatchString(p.Name):
		errs = append(errs, fmt.Errorf("name %.100q is not lower-case letters, digits and dashes, a letter first, 64 at most", p.Name))
	case token.IsKeyword(name) || slices.Contains(taken, name):
		errs = append(errs, fmt.Errorf("name %q: a package cannot be called %s here; choose another", p.Name, name))
	}
	if !modules.MatchString(p.Module) {
		errs = append(errs, fmt.Errorf("module %.100q is no path of a module, such as example.org/you/%s", p.Module, p.Name))
	}
	return errors.Join(errs...)
}

// Write makes dir, which must not exist, with the repository in it, and lets the go
// command find out what else it needs. It returns the paths of the files below dir.
// If only that last step fails, the error is a [*TidyError] and the files stay.
func Write(ctx context.Context, dir string, p Project) (made []string, err error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	sums, err := p.Framework.sums()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of the project: %w; nothing is overwritten", err)
	}
	defer func() {
		var untidy *TidyError
		if err != nil && !errors.As(err, &untidy) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	for _, file := range []struct{ path, template string }{
		{"go.mod", "go.mod.tmpl"},
		{p.Package() + ".go", p.Kind + ".go.tmpl"},
		{p.Package() + "_test.go", p.Kind + "_test.go.tmpl"},
		{"cmd/" + p.Name + "/main.go", "main.go.tmpl"},
		{"README.md", "README.md.tmpl"},
		{".gitignore", "gitignore.tmpl"},
	} {
		if err := render(filepath.Join(dir, filepath.FromSlash(file.path)), file.template, p); err != nil {
			return nil, err
		}
		made = append(made, file.path)
	}
	if sums != nil {
		if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644); err != nil {
			return nil, err
		}
	}
	return append(made, "go.sum"), tidy(ctx, dir)
}

func render(path, name string, p Project) error {
	var text bytes.Buffer
	if err := templates.ExecuteTemplate(&text, name, p); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// TidyError is the go command that could not complete go.mod.
type TidyError struct {
	Dir    string
	Output string
}

// Error says what to do.
func (e *TidyError) Error() string {
	return fmt.Sprintf("go mod tidy in %s failed; the files are there, run it again when its cause is gone (without a network it needs every module in the module cache):\n%s", e.Dir, e.Output)
}

// tidy completes go.mod and go.sum. With a full module cache it needs no network.
func tidy(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "mod", "tidy")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return &TidyError{dir, strings.TrimSpace(string(out) + "\n" + err.Error())}
	}
	return nil
}
