package spi

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// builtIn is the Source of what ships with the framework.
const builtIn = "built-in"

// ownPackages are where that is registered; packages below them count too.
var ownPackages = [...]string{"github.com/bhrpc/bhrpc/extensions", "github.com/bhrpc/bhrpc/heartbeat"}

// caller returns who called the exported function that called it: the Source of an
// Info, and the package with file and line.
func caller() (source, at string) {
	pcs := make([]uintptr, 1)
	runtime.Callers(3, pcs)
	frame, _ := runtime.CallersFrames(pcs).Next()
	pkg := packageOf(frame.Function)
	at = fmt.Sprintf("package %s (%s:%d)", pkg, filepath.Base(frame.File), frame.Line)
	return sourceOf(pkg), at
}

func sourceOf(pkg string) string {
	for _, own := range ownPackages {
		if pkg == own || strings.HasPrefix(pkg, own+"/") {
			return builtIn
		}
	}
	return "package " + pkg
}

// packageOf returns the import path of the package of a function, as
// "example.org/you/nearest.Register.func1". The runtime escapes dots in the last
// element of the path, as in "gopkg.in/nearest%2ev3.Register".
func packageOf(function string) string {
	dir, last := path.Split(function)
	last, _, _ = strings.Cut(last, ".")
	if plain, err := url.PathUnescape(last); err == nil {
		last = plain
	}
	return dir + last
}
