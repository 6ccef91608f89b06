package bhrpc_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// noting registers interceptors that note their names.
func noting(notes *[]string, names ...string) bhrpc.Option {
	return func(cat *spi.Catalog) error {
		for _, name := range names {
			err := spi.Register(cat.Interceptors, name, "Notes.", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.Interceptor, error) {
				return note(notes, name), nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
}

func note(notes *[]string, name string) spi.Interceptor {
	return func(next spi.InvokeFunc) spi.InvokeFunc {
		return func(ctx context.Context, call *spi.Call) error {
			*notes = append(*notes, name)
			return next(ctx, call)
		}
	}
}

// The configured ones are in their order, around those of the program.
func TestConfiguredInterceptors(t *testing.T) {
	var notes []string
	options := noting(&notes, "one", "two", "three")
	cfg, _ := load(t, map[string]any{"provider.listen": "127.0.0.1:0", "provider.interceptors": []string{"three", "one"}})
	cfg.ServerInterceptors = []spi.Interceptor{note(&notes, "served")}
	p, err := open(t, cfg, options).Provide(t.Context(), Hello{})
	if err != nil {
		t.Fatal(err)
	}
	cfg, _ = load(t, map[string]any{"consumer.addresses": []string{p.Addr().String()}, "consumer.interceptors": []any{"two", spi.Ref{Use: "one"}}})
	cfg.Interceptors = []spi.Interceptor{note(&notes, "made")}
	if got, err := bhrpc.Call[string](t.Context(), open(t, cfg, options), "Hello.Say", "x"); got != "hello, x" || err != nil {
		t.Fatalf("got %q, error %v", got, err)
	}
	if want := []string{"two", "one", "made", "three", "one", "served"}; !slices.Equal(notes, want) {
		t.Errorf("got %q, want %q", notes, want)
	}
}

type Fragile struct{}

func (Fragile) Break() error { panic("broken") }

func TestAccessLogAndRecover(t *testing.T) {
	address, served := provide(t, map[string]any{"provider.interceptors": []any{map[string]any{"use": "access-log", "with": map[string]any{"level": "warn"}}, "recover"}}, Fragile{})
	cfg, made := load(t, map[string]any{"consumer.addresses": []string{address}, "consumer.interceptors": []string{"access-log", "recover"}})
	cfg.Interceptors = []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
		return func(ctx context.Context, call *spi.Call) error {
			if call.Method.Name == "Mine" {
				panic("mine")
			}
			return next(ctx, call)
		}
	}}
	app := open(t, cfg)
	for method, want := range map[string]string{
		"Fragile.Break": "INTERNAL Fragile.Break at " + address + " (phase: handler): the handler panicked; the provider's log has the stack",
		"Fragile.Mine":  "INTERNAL Fragile.Mine (sent: maybe): an interceptor panicked; the log has the stack",
	} {
		if err := bhrpc.Invoke(t.Context(), app, method, nil); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", method, err, want)
		}
	}
	for _, tt := range []struct {
		log  *lockedBuffer
		want []string
	}{
		{served, []string{`level=warning msg="call served" code=INTERNAL kind=interceptor method=Fragile.Break name=access-log`, "panic=broken", "Fragile.Break"}},
		{made, []string{`level=info msg="call made" code=INTERNAL kind=interceptor method=Fragile.Break name=access-log peer="` + address + `"`, "method=Fragile.Mine", "panic=mine"}},
	} {
		for _, want := range tt.want {
			if !strings.Contains(tt.log.String(), want) {
				t.Errorf("log: got\n%s\nwant it to contain %s", tt.log, want)
			}
		}
	}
}

func TestExplainInterceptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bhrpc.yaml")
	for _, tt := range []struct{ name, file, want, err string }{
		{"named", "provider: {interceptors: [recover]}\nconsumer:\n  interceptors:\n    - recover\n    - {use: access-log, with: {level: debug}}\n", `KEY                       VALUE          FROM           PROVIDED BY
provider.heartbeat        three-strike   default        built-in   interval=10s strikes=3
provider.interceptors.0   recover        PATH:1   built-in
consumer.serializer       json           default        built-in
consumer.loadbalancer     p2c            default        built-in
consumer.proxy            reflect        default        built-in
consumer.heartbeat        three-strike   default        built-in   interval=5s strikes=3
consumer.interceptors.0   recover        PATH:4   built-in
consumer.interceptors.1   access-log     PATH:5   built-in   level=debug
`, ""},
		{"misspelt", "consumer:\n  interceptors:\n    - recover\n    - acess-log\n", "", `PATH:4:7: no interceptor named "acess-log"; did you mean "access-log"?` + "\n  known: access-log, recover"},
		{"misspelt on the provider", "provider:\n  interceptors: [{use: acess-log}]\n", "", `PATH:2:18: no interceptor named "acess-log"; did you mean "access-log"?`},
		{"wrong key", "provider:\n  interceptors: [{use: access-log, with: {levle: debug}}]\n", "", `PATH:2:43: unknown key`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := bhrpc.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			err = cfg.Explain(t.Context(), &out)
			if err == nil && tt.err != "" || err != nil && (tt.err == "" || !strings.Contains(err.Error(), strings.ReplaceAll(tt.err, "PATH", path))) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			squeeze := func(text string) string { return strings.Join(strings.Fields(text), " ") }
			if got, want := squeeze(out.String()), squeeze(strings.ReplaceAll(tt.want, "PATH", path)); got != want {
				t.Errorf("got\n%s\nwant\n%s", &out, tt.want)
			}
		})
	}
}
