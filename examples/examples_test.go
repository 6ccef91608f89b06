package examples

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every example is built and run as a user runs it; what it prints must be what its
// README shows, times, ports and counts aside.
func TestExamples(t *testing.T) {
	for _, name := range []string{"hello", "config", "custom"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), name)
			if out, err := exec.Command("go", "build", "-o", binary, "./"+name).CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			var stdout, stderr bytes.Buffer
			cmd := exec.Command(binary)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s%s", err, &stdout, &stderr)
			}
			shown := shownIn(t, name)
			for line := range strings.Lines(stdout.String() + stderr.String()) {
				if line := plain(line); line != "" && !strings.Contains(shown, line) {
					t.Errorf("README.md of %s does not show\n%s\nbut\n%s", name, line, shown)
				}
			}
			for line := range strings.Lines(shown) {
				if printed := plain(stdout.String() + stderr.String()); !strings.Contains(printed, strings.TrimSpace(line)) {
					t.Errorf("%s did not print\n%sbut\n%s", name, line, printed)
				}
			}
		})
	}
}

// shownIn returns what the example's README shows below its first command.
func shownIn(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "$ go run ./examples/"+name+"\n")
	shown, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("README.md of %s does not show its command", name)
	}
	return plain(shown)
}

var varying = []struct {
	pattern *regexp.Regexp
	to      string
}{
	{regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`), "TIME"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDR"},
	{regexp.MustCompile(`(?m)^ *\d+ x `), "N x "},
}

func plain(text string) string {
	for _, v := range varying {
		text = v.pattern.ReplaceAllString(text, v.to)
	}
	return strings.TrimSpace(text)
}
