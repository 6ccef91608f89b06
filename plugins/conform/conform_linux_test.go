package conform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/plugins/conform"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// asPlugin returns the configuration of this test binary in a role.
func asPlugin(t *testing.T, role string) conform.Config {
	t.Helper()
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "acme")
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp("", "p") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)
	return conform.Config{
		// A busy machine is no fault of a plugin.
		Plugin: spi.PluginConfig{Name: "acme", Path: path, Env: map[string]string{roleEnv: role},
			StartTimeout: spi.Duration(time.Minute), CallTimeout: spi.Duration(30 * time.Second)},
		Within:   30 * time.Second,
		Register: extensions.Register,
		Host: func() (*exec.Cmd, error) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), roleEnv+"=host")
			return cmd, nil
		},
	}
}

func quiet() logrus.FieldLogger {
	log := logrus.New()
	log.Out = io.Discard
	return log
}

func TestRunPasses(t *testing.T) {
	t.Setenv("BHRPC_TEST_SECRET", "hunter2") // which the plugin must not see
	report := conform.Run(t.Context(), asPlugin(t, "good"), quiet())
	var text bytes.Buffer
	report.WriteText(&text)
	if !report.Passed {
		t.Errorf("a good plugin: got\n%s\nwant PASS", &text)
	}
	for _, want := range []string{"PASS handshake · describe · config · ", " contract cases · environment · end · call_timeout · kill -9 · SIGSTOP · stdout noise · host death      p50 ", "p99 "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text of a good plugin: got\n%s\nwant %q in it", &text, want)
		}
	}
	if strings.Count(text.String(), "\n") != 1 {
		t.Errorf("text of a good plugin: got\n%s\nwant one line", &text)
	}
	if _, err := json.Marshal(report); err != nil {
		t.Errorf("report as JSON: got error %v", err)
	}
}

// An extension may open for longer than an answer may take.
func TestRunPassesSlowOpen(t *testing.T) {
	cfg := asPlugin(t, "opens slowly")
	cfg.Plugin.CallTimeout = 0
	var found conform.Check
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg.Tell = func(c conform.Check) {
		if c.Name == "call_timeout" {
			found = c
			cancel() // what follows need not be waited for
		}
	}
	conform.Run(ctx, cfg, quiet())
	if found.Name == "" || len(found.Faults) > 0 {
		t.Errorf("got %+v, want no fault", found)
	}
}

func TestRunFindsFaults(t *testing.T) {
	for _, tt := range []fault{
		{"exits", nil, "handshake", "exit status 7"},
		{"good", func(c *conform.Config) { c.Plugin.Path += "2" }, "handshake", "no such file"},
		{"good", func(c *conform.Config) { c.Plugin.SHA256 = strings.Repeat("0", 64) }, "handshake", "checksum differs"},
		{"nothing", nil, "describe", "it brings no extensions"},
		{"no doc", nil, "describe", "loadbalancer even: it has no doc"},
		{"name of another", nil, "describe", `loadbalancer "p2c"`},
		{"good", func(c *conform.Config) { c.With = map[string][]byte{"even": []byte(`{"share": "x"}`)} }, "config", "its configuration is refused"},
		{"good", func(c *conform.Config) { c.With = map[string][]byte{"odd": []byte(`{}`)} }, "config", `given for "odd"`},
		{"negative weights", nil, "contract loadbalancer even plan-valid", "the weight -1"},
		{"never plans", nil, "contract loadbalancer even plan-answers", "not today"},
		{"panics at many", nil, "contract loadbalancer even plan-valid", "panic: too many"},
	} {
		t.Run(tt.role+", "+tt.check, tt.found)
	}
}

// fault is something that is wrong with a plugin.
type fault struct {
	role   string
	change func(c *conform.Config)
	check  string // that fails
	want   string
}

// found checks that a run finds the fault.
func (tt fault) found(t *testing.T) {
	cfg := asPlugin(t, tt.role)
	if tt.change != nil {
		tt.change(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg.Tell = func(c conform.Check) {
		if c.Name == tt.check {
			cancel() // what follows need not be waited for
		}
	}
	report := conform.Run(ctx, cfg, quiet())
	at := slices.IndexFunc(report.Checks, func(c conform.Check) bool { return c.Name == tt.check })
	if report.Passed || at < 0 || !strings.Contains(strings.Join(report.Checks[at].Faults, "\n"), tt.want) {
		var text bytes.Buffer
		report.WriteText(&text)
		t.Errorf("%s: got\n%s\nwant %q of %s", tt.role, &text, tt.want, tt.check)
	}
}

func TestRunPassesSerializer(t *testing.T) {
	report := conform.Run(t.Context(), asPlugin(t, "serializer"), quiet())
	var text bytes.Buffer
	report.WriteText(&text)
	if !report.Passed {
		t.Errorf("got\n%s\nwant PASS", &text)
	}
	for _, want := range []string{"contract serializer own-json many-callers", "contract serializer own-json large"} {
		if !slices.ContainsFunc(report.Checks, func(c conform.Check) bool { return c.Name == want }) {
			t.Errorf("checks: got none called %q", want)
		}
	}
}
