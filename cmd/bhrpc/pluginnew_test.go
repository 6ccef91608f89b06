package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPluginNew(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	status, stdout, stderr := execute(t, "no address", "plugin", "new", "loadbalancer", "zone-near", "--framework", root)
	want := "zone-near: go.mod, zonenear.go, zonenear_test.go, cmd/zone-near/main.go, README.md, .gitignore, go.sum\n" +
		"go.mod takes bhrpc from " + root + ": this tool is a development build\n" +
		"next: cd zone-near && go test ./... && go build -o bin/zone-near ./cmd/zone-near && bhrpc plugin test ./bin/zone-near\n"
	if status != 0 || stdout != want || stderr != "" {
		t.Errorf("got %d, %s%s, want 0, %s", status, stdout, stderr, want)
	}
	content, err := os.ReadFile("zone-near/go.mod")
	if err != nil || !strings.HasPrefix(string(content), "module example.org/you/zone-near\n") || !strings.Contains(string(content), "replace github.com/bhrpc/bhrpc => "+root) {
		t.Errorf("go.mod: got %s, %v, want the module and the replace", content, err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a second time", []string{"loadbalancer", "zone-near", "--framework", root}, "bhrpc: make the directory of the project: mkdir zone-near: file exists; nothing is overwritten\n"},
		{"unknown kind", []string{"loadbalanser", "x"}, "bhrpc: no kind of extension named \"loadbalanser\"; did you mean \"loadbalancer\"?\n  kinds: heartbeat, loadbalancer, proxy, registry, serializer\n"},
		{"no framework", []string{"proxy", "x", "--framework", "zone-near"}, "is not it: there is no go.mod of github.com/bhrpc/bhrpc\n"},
		{"no name", []string{"proxy"}, "bhrpc: accepts 2 arg(s), received 1\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := execute(t, "no address", append([]string{"plugin", "new"}, tt.args...)...)
			if status != 2 || stdout != "" || !strings.HasSuffix(stderr, tt.want) {
				t.Errorf("got %d, %s%s, want 2, %s", status, stdout, stderr, tt.want)
			}
		})
	}
}

func TestPluginTestRefuses(t *testing.T) {
	for _, tt := range []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string
	}{
		{"no program", nil, 2, "", "bhrpc: requires at least 1 arg(s), only received 0\n"},
		{"bad variable", []string{"x", "--env", "KEY"}, 2, "", "bhrpc: --env \"KEY\" is not of the form KEY=value\n"},
		{"bad configuration", []string{"x", "--with", "x={"}, 2, "", "bhrpc: --with \"x={\" is not of the form NAME=JSON, such as 'nearest={\"zone\": \"eu1\"}'\n"},
		{"missing program", []string{"/no/such/program"}, 1, "FAIL handshake: read the program: open /no/such/program: no such file or directory\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := execute(t, "no address", append([]string{"plugin", "test"}, tt.args...)...)
			if status != tt.status || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("got %d, %q, %q, want %d, %q, %q", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestPluginName(t *testing.T) {
	for path, want := range map[string]string{"/x/nearest": "nearest", "/x/My_LB.py": "my-lb", "/x/9lives.exe": "lives", "./2048": "plugin", "/x/.hidden": "plugin"} {
		if got := pluginName(path); got != want {
			t.Errorf("name of %s: got %q, want %q", path, got, want)
		}
	}
}
