//go:build fault && unix

package examples

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the README shows is printed, and in that order, by a program that builds and
// runs the plugins that come with bhrpc. Where the machine does not let a plugin answer
// in time, what stands in for it may lose a connection; it gets a second chance.
func TestPlugins(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "plugins")
	if out, err := exec.Command("go", "build", "-o", binary, "./plugins").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	varies := regexp.MustCompile(`("time":)"[^"]*"|("took_ms":)[0-9.]+|(file=)\S+|(labels=).*|(: )\d+( strikes)`)
	stable := func(text string) string { return varies.ReplaceAllString(plain(text), "${1}${2}${3}${4}${5}V${6}") }
	shown := stable(shownIn(t, "plugins"))
	var missing, printed string
	for range 2 {
		out, err := exec.Command(binary).CombinedOutput()
		printed, missing = string(out), ""
		if err != nil {
			missing = err.Error()
			continue
		}
		rest := stable(printed)
		for line := range strings.Lines(shown) {
			var found bool
			if _, rest, found = strings.Cut(rest, strings.TrimSpace(line)); !found {
				missing = line
				break
			}
		}
		if missing == "" {
			return
		}
		t.Logf("did not print, in its place,\n%sbut\n%s", missing, printed)
	}
	t.Fatalf("did not print, in its place,\n%sbut\n%s", missing, printed)
}
