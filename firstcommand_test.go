package bhrpc_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc"
)

// TestFirstCommand: what a newcomer is told to try is what works.
func TestFirstCommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.sock")
	for _, tt := range []struct {
		name string
		keys map[string]any
		want string // ADDR: where it listens
	}{
		{"by default", nil, `try: curl -s ADDR/Hello/Say -d '["world"]'`},
		{"without HTTP", map[string]any{"provider.http.enabled": false}, `try: bhrpc call ADDR Hello.Say '"world"'`},
		{"without json", map[string]any{"provider.serializers": []string{"gob"}}, `try: bhrpc call ADDR Hello.Say '"world"'`},
		{"on a unix socket", map[string]any{"provider.listen": "unix://" + path}, `try: curl -s --unix-socket ` + path + ` localhost/Hello/Say -d '["world"]'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, log := load(t, map[string]any{"provider.listen": "127.0.0.1:0"})
			for key, value := range tt.keys {
				if err := cfg.Set(key, value); err != nil {
					t.Fatal(err)
				}
			}
			p, err := open(t, cfg).Provide(t.Context(), Hello{})
			if err != nil {
				t.Fatal(err)
			}
			want := strings.ReplaceAll(tt.want, "ADDR", p.Addr().String())
			if got := strings.ReplaceAll(log.String(), `\"`, `"`); !strings.Contains(got, want+"  ") {
				t.Errorf("got %s, want %s", got, want)
			}
			if tt.name != "without json" {
				app := dial(t, nil, p.Addr().String())
				if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "world"); got != "hello, world" || err != nil {
					t.Errorf("got %q, %v, want hello, world", got, err)
				}
			}
		})
	}
}
