package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// pluginRole is the variable that makes the test binary a plugin, which brings
// loadbalancer nearest.
const pluginRole = "BHRPC_TEST_PLUGIN"

type nearestConfig struct {
	Zone string `json:"zone" doc:"endpoints in this zone are preferred"`
}

// playPlugin serves a plugin and ends the process.
func playPlugin() {
	cat := spi.NewCatalog()
	err := spi.Register(cat.LoadBalancers, "nearest", "Prefers endpoints in one zone.", nearestConfig{}, func(context.Context, spi.Env, nearestConfig) (spi.LoadBalancer, error) {
		return nil, errors.New("this test opens none")
	})
	if err = errors.Join(err, plugins.Serve(cat)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const helloHash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of hello

func TestPluginPin(t *testing.T) {
	const file = "# ours\nplugins:\n  - name: acme\n    path: bin/acme # built by make\n"
	const pinned = "# ours\nplugins:\n  - name: acme\n    path: bin/acme # built by make\n    sha256: " + helloHash + "\n"
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string // on standard output, or in what is on standard error
		file   string // afterwards
	}{
		{"print", []string{"bin/acme"}, 0, "sha256: " + helloHash + "\n", file},
		{"write by path", []string{"bin/acme", "--config", "bhrpc.yaml"}, 0, "sha256: " + helloHash + "\n", pinned},
		{"write by name", []string{"next", "--config", "link.yaml", "--name", "acme"}, 0, "sha256: " + helloHash + "\n", pinned},
		{"no program", []string{"bin/acne"}, 2, "read the program: open bin/acne: ", file},
		{"no file", []string{"bin/acme", "--config", "no.yaml"}, 2, "no.yaml", file},
		{"name without a file", []string{"bin/acme", "--name", "acme"}, 2, "give the file by --config", file},
		{"another name", []string{"bin/acme", "--config", "bhrpc.yaml", "--name", "acne"}, 2, "bhrpc.yaml: no plugin is that one\n  plugins: acme", file},
		{"another path", []string{"next", "--config", "bhrpc.yaml"}, 2, "bhrpc.yaml: no plugin is that one\n  plugins: acme", file},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			err := errors.Join(os.Mkdir("bin", 0o700), os.WriteFile(filepath.Join("bin", "acme"), []byte("hello"), 0o700),
				os.WriteFile("next", []byte("hello"), 0o700), os.WriteFile("bhrpc.yaml", []byte(file), 0o640), os.Symlink("bhrpc.yaml", "link.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			status, stdout, stderr := execute(t, "no address", append([]string{"plugin", "pin"}, tt.args...)...)
			if status != tt.status || status == 0 && stdout != tt.want || status != 0 && !strings.Contains(stderr, tt.want) {
				t.Errorf("got %d, %q, %q, want %d, %q", status, stdout, stderr, tt.status, tt.want)
			}
			if got, err := os.ReadFile("bhrpc.yaml"); err != nil || string(got) != tt.file {
				t.Errorf("file: got %s, %v, want\n%s", got, err, tt.file)
			}
			if left, err := filepath.Glob(".pin*"); err != nil || len(left) > 0 {
				t.Errorf("got %v, %v left behind", left, err)
			}
			if info, err := os.Stat("bhrpc.yaml"); err != nil || info.Mode().Perm()&0o600 != 0o600 {
				t.Errorf("mode: got %v, %v", info.Mode(), err)
			}
		})
	}
}
