//go:build fault

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// step is one thing that the tutorial has its reader do: a file to write or a command
// to run.
type step struct {
	file, content string
	command, want string
}

// block is a fenced block, and the name of a file if a line before it is one.
var block = regexp.MustCompile("(?ms)(?:^`([^`\n]+)`:\n\n)?^```(console|go|yaml)\n(.*?)^```$")

// tutorial returns the steps of the part of a page that begins with a heading.
func tutorial(t *testing.T, page, heading string) []step {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	part, _, _ = strings.Cut(part, "\n## ")
	if !ok {
		t.Fatalf("%s has no part %q", page, heading)
	}
	var steps []step
	for _, found := range block.FindAllStringSubmatch(part, -1) {
		if found[2] != "console" {
			if found[1] == "" {
				t.Fatalf("%s: a block of %s without the name of its file:\n%s", page, found[2], found[3])
			}
			steps = append(steps, step{file: found[1], content: found[3]})
			continue
		}
		for line := range strings.Lines(found[3]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{command: strings.TrimSpace(command)})
			} else {
				steps[len(steps)-1].want += line
			}
		}
	}
	return steps
}

// differing holds what is not the same in two runs.
var differing = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\d+(\.\d+)? ?(µs|ms|s)\b`), "TIME"},
	{regexp.MustCompile(`\(cached\)`), "TIME"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HASH"},
	{regexp.MustCompile(`\b[0-9a-f]{4}…ok`), "HASH…ok"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "ADDR"},
	{regexp.MustCompile(`ready +\d+`), "ready PID"},
	{regexp.MustCompile(`calls=\d+`), "calls=N"},
	{regexp.MustCompile(`bhrpc from \S+:`), "bhrpc from DIR:"},
	{regexp.MustCompile(`\[.*\]`), "[…]"},
	{regexp.MustCompile(`[ \t]+`), " "},
}

// alike takes out of a text what differs from run to run.
func alike(text string) string {
	for _, d := range differing {
		text = d.pattern.ReplaceAllString(text, d.by)
	}
	return strings.TrimSpace(text)
}

// The tutorial is followed literally, in one shell; what it shows is what is printed.
func TestTutorial(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "t") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String() // nobody is given it again so soon
	listener.Close()

	steps := tutorial(t, "../../docs/writing-a-plugin.md", "Follow along")
	const mark = "@@@@"
	var script strings.Builder
	script.WriteString("exec 2>&1\n")
	for i, s := range steps {
		if s.file != "" {
			fmt.Fprintf(&script, "mkdir -p %q && cat >%q <<'END OF FILE'\n%sEND OF FILE\n", filepath.Dir(s.file), s.file, strings.ReplaceAll(s.content, "127.0.0.1:7070", address))
			continue
		}
		fmt.Fprintf(&script, "echo '%s%d'\n%s\necho \"%s$?\"\n", mark, i, s.command, mark)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script.String())
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "HOME="+home, "GOBIN="+home+"/bin", "PATH="+home+"/bin:"+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+home, "GOWORK=off")
	for _, key := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} { // which would be below HOME
		value, err := exec.Command("go", "env", key).Output()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, key+"="+strings.TrimSpace(string(value)))
	}
	output, err := cmd.Output()
	if err != nil {
		t.Errorf("the shell: %v\n%s", err, output)
	}
	for i, s := range steps {
		if s.command == "" {
			continue
		}
		_, rest, ran := strings.Cut(string(output), fmt.Sprintf("%s%d\n", mark, i))
		got, rest, ended := strings.Cut(rest, mark)
		status, _, _ := strings.Cut(rest, "\n")
		switch {
		case !ran || !ended:
			t.Fatalf("$ %s\nwas not reached:\n%s", s.command, output)
		case s.want == "" && status != "0":
			t.Errorf("$ %s\ngot status %s and\n%s", s.command, status, got)
		case s.want != "" && alike(got) != alike(s.want):
			t.Errorf("$ %s\ngot\n%s\nwant\n%s", s.command, alike(got), alike(s.want))
		}
	}
}
