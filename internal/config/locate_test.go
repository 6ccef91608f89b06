package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bhrpc/bhrpc/internal/config"
)

// TestPathsLeadFromTheFile: those of a file do, wherever the program was started;
// those of the environment, and absolute ones, stay as they are.
func TestPathsLeadFromTheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etc")
	file := filepath.Join(dir, "bhrpc.yaml")
	text := "provider: {tls: {cert: tls/server.pem, key: /keys/server.key}}\nconsumer: {tls: {enabled: true, ca: ../ca.pem, server_name: shop}}\n" +
		"plugins: [{name: a, path: bin/a, allow_unverified: true}, {name: b, path: /b, allow_unverified: true}]\n"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, []string{"BHRPC_PROVIDER_TLS_CLIENT_CA=clients.pem"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, got, want string }{
		{"beside the file", c.Provider.TLS.Cert, filepath.Join(dir, "tls", "server.pem")},
		{"above it", c.Consumer.TLS.CA, filepath.Join(filepath.Dir(dir), "ca.pem")},
		{"absolute", c.Provider.TLS.Key, "/keys/server.key"},
		{"from the environment", c.Provider.TLS.ClientCA, "clients.pem"},
		{"no path", c.Consumer.TLS.ServerName, "shop"},
		{"plugin", c.Plugins[0].Path, filepath.Join(dir, "bin", "a")},
		{"absolute plugin", c.Plugins[1].Path, "/b"},
		{"not set", c.Consumer.TLS.Cert, ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, tt.got, tt.want)
		}
	}
}
