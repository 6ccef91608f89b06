//go:build unix

package examples

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the README shows is printed in that order; a machine with other things to do may
// add lines about pauses.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "heartbeat")
	if out, err := exec.Command("go", "build", "-o", binary, "./heartbeat").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.Command(binary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	durations := regexp.MustCompile(`(silent=|down=|sign of life for )[0-9.]+m?s`)
	stable := func(text string) string { return durations.ReplaceAllString(plain(text), "${1}D") }
	rest := stable(string(out))
	for line := range strings.Lines(stable(shownIn(t, "heartbeat"))) {
		var found bool
		if _, rest, found = strings.Cut(rest, strings.TrimSpace(line)); !found {
			t.Fatalf("did not print, in its place,\n%sbut\n%s", line, out)
		}
	}
}
