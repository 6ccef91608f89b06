package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
	"go.uber.org/goleak"
)

// Control sockets of tests are in a directory of their own.
func TestMain(m *testing.M) {
	if os.Getenv("SERVE_SHOP") != "" { // this is the provider of a test
		fmt.Fprintln(os.Stderr, bhrpc.Serve(Shop{}))
		os.Exit(3)
	}
	if len(os.Args) > 1 && (os.Args[1] == "drill" || os.Args[1] == "plugin") { // and this the tool, which runs itself
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	if os.Getenv(pluginRole) != "" { // this is the plugin of a test
		playPlugin()
	}
	dir, err := os.MkdirTemp("", "bhrpc-test")
	if err == nil {
		err = os.Setenv("XDG_RUNTIME_DIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		_ = os.RemoveAll(dir)
		os.Exit(status)
	}))
}

type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

type Shop struct{}

func (Shop) Price(_ context.Context, o Order) (int, error) { return o.Count * 250, nil }
func (Shop) Restock() error                                { return nil }
func (Shop) Buy(item string) (string, error) {
	return "", &spi.Error{Code: spi.NotFound, Reason: "sold_out", Message: item + " is sold out", Hint: "try tomorrow", Details: map[string]string{"item": item}}
}
func (Shop) Tenant(ctx context.Context) (string, error) {
	tenant, _ := bhrpc.Serving(ctx).Metadata.Get("tenant")
	return tenant, nil
}

// provide serves a Shop until the test ends.
func provide(t *testing.T, keys map[string]any) (address string) {
	t.Helper()
	cfg, err := bhrpc.Load("")
	if err != nil {
		t.Fatal(err)
	}
	keys["provider.listen"], keys["log.level"] = "127.0.0.1:0", "error"
	for key, value := range keys {
		if err := cfg.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	app, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.Close() })
	p, err := app.Provide(t.Context(), Shop{}, bhrpc.Service{Impl: Shop{}, Version: "2.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	return p.Addr().String()
}

// execute runs the tool with args, in which ADDR stands for address.
func execute(t *testing.T, address string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "ADDR", address)
	}
	var out, errs bytes.Buffer
	status = run(t.Context(), args, &out, &errs)
	plain := func(b *bytes.Buffer) string { return strings.ReplaceAll(b.String(), address, "ADDR") }
	return status, plain(&out), plain(&errs)
}

func TestCommands(t *testing.T) {
	address := provide(t, map[string]any{})
	took := regexp.MustCompile(`\d+\.\d\d ms`)
	const ms = "     (0.00 ms, json)"
	for _, tt := range []struct {
		name           string
		args           []string
		status         int
		stdout, stderr string
	}{
		{"call", []string{"call", "ADDR", "Shop.Price", `{"item": "tea", "count": 2}`}, 0, "500\n", ms},
		{"call without arguments or result", []string{"call", "ADDR", "Shop.Restock"}, 0, "ok\n", ms},
		{"call with metadata", []string{"call", "ADDR", "Shop.Tenant", "--metadata", "tenant=blue"}, 0, "\"blue\"\n", ms},
		{"handler's error", []string{"call", "ADDR", "Shop.Buy", `"tea"`}, 1, "",
			"error NOT_FOUND Shop.Buy: tea is sold out at ADDR (phase: handler)\n  try tomorrow      item=tea\n"},
		{"unknown method", []string{"call", "ADDR", "Shop.Byu", `"tea"`}, 1, "",
			"error UNIMPLEMENTED method Shop.Byu not found at ADDR (phase: dispatch)\n  did you mean Shop.Buy(string) string?      list all: bhrpc ls ADDR\n"},
		{"unknown service", []string{"call", "ADDR", "Shpo.Buy", `"tea"`}, 1, "",
			"error UNIMPLEMENTED Shpo.Buy: service Shpo not found at ADDR (phase: dispatch)\n  did you mean Shop?      list all: bhrpc ls ADDR\n"},
		{"wrong number of arguments", []string{"call", "ADDR", "Shop.Buy"}, 1, "",
			"error INVALID_ARGUMENT Shop.Buy: want 1 argument, got 0 at ADDR (phase: decode)\n  it is Shop.Buy(string) string\n"},
		{"argument that is not JSON", []string{"call", "ADDR", "Shop.Buy", "tea"}, 2, "",
			"bhrpc: argument 1, tea, is not JSON; text needs quotes of its own: '\"tea\"'\n"},
		{"method without a dot", []string{"call", "ADDR", "Buy"}, 2, "", "bhrpc: method \"Buy\" is not of the form Service.Method\n"},
		{"no address", []string{"call", "7070", "Shop.Buy"}, 2, "", "bhrpc: \"7070\" is not an address of the form host:port, such as 127.0.0.1:7070, or unix:///path\n"},
		{"bad metadata", []string{"call", "ADDR", "Shop.Tenant", "--metadata", "blue"}, 2, "", "bhrpc: --metadata \"blue\" is not of the form key=value\n"},
		{"bad timeout", []string{"call", "ADDR", "Shop.Tenant", "--timeout", "0s"}, 2, "", "bhrpc: --timeout 0s is not positive\n"},
		{"timeout without a unit", []string{"call", "ADDR", "Shop.Tenant", "--timeout", "5"}, 2, "", "bhrpc: invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\"\n"},
		{"too few words", []string{"call", "ADDR"}, 2, "", "bhrpc: requires at least 2 arg(s), only received 1\n"},
		{"unknown command", []string{"cal"}, 2, "", "bhrpc: unknown command \"cal\" for \"bhrpc\"\n\nDid you mean this?\n\tcall\n"},
		{"unknown flag", []string{"ls", "ADDR", "--jsn"}, 2, "", "bhrpc: unknown flag: --jsn\n"},
		{"ls", []string{"ls", "ADDR"}, 0, "Shop.Buy(string) string\nShop.Price(main.Order) int\nShop.Restock()\nShop.Tenant() string\n" +
			"Shop.Buy(string) string     version=2.0.0 group=\nShop.Price(main.Order) int     version=2.0.0 group=\nShop.Restock()     version=2.0.0 group=\nShop.Tenant() string     version=2.0.0 group=\n", ""},
		{"unknown kind", []string{"extensions", "serialiser"}, 2, "", "bhrpc: no extensions of kind \"serialiser\"; did you mean \"serializer\"?\n  kinds: serializer, loadbalancer, proxy, heartbeat, registry, compressor, interceptor\n"},
		{"explain without a file", []string{"explain"}, 2, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := execute(t, address, tt.args...)
			stderr = took.ReplaceAllString(stderr, "0.00 ms")
			if tt.name == "explain without a file" {
				if status != 2 || !strings.HasPrefix(stderr, "bhrpc: read bhrpc.yaml: ") || strings.Count(stderr, "\n") != 1 {
					t.Errorf("got %d, %q, want 2 and one line about bhrpc.yaml", status, stderr)
				}
				return
			}
			if status != tt.status || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("got  %d\nstdout %q\nstderr %q\nwant %d\nstdout %q\nstderr %q", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestLsJSON(t *testing.T) {
	status, stdout, stderr := execute(t, provide(t, map[string]any{}), "ls", "ADDR", "--json")
	var list core.Introspection
	if err := json.Unmarshal([]byte(stdout), &list); status != 0 || err != nil || len(list.Services) != 2 || len(list.Services[0].Methods) != 4 {
		t.Errorf("got %d, %v, %s%s", status, err, stdout, stderr)
	}
}

func TestLsSwitchedOff(t *testing.T) {
	status, _, stderr := execute(t, provide(t, map[string]any{"provider.introspection": false}), "ls", "ADDR")
	want := "error UNIMPLEMENTED the provider does not list its services at ADDR (phase: handler)\n  its key provider.introspection is off\n"
	if status != 1 || stderr != want {
		t.Errorf("got %d, %q, want 1, %q", status, stderr, want)
	}
}

func TestExplain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bhrpc.yaml")
	text := "consumer:\n  addresses: [127.0.0.1:7070]\n  serializer: gob\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := execute(t, path, "explain", "--config", "ADDR")
	for _, want := range []string{"consumer.serializer     gob       ADDR:3    built-in\n", "consumer.proxy          reflect   default"} {
		if status != 0 || !regexp.MustCompile(strings.Join(strings.Fields(regexp.QuoteMeta(want)), `\s+`)).MatchString(stdout) {
			t.Errorf("got %d, %q%s, want %q in it", status, stdout, stderr, want)
		}
	}
	if status, stdout, _ := execute(t, path, "explain", "--config", "ADDR", "--all"); status != 0 || !strings.Contains(stdout, "provider.drain_timeout") {
		t.Errorf("--all: got %d, %q, want every key", status, stdout)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "gob", "gbo")), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr = execute(t, path, "explain", "--config", "ADDR")
	want := "bhrpc: ADDR:3:15: no serializer named \"gbo\"; did you mean \"gob\"?\n  known: cbor, gob, json, json-std, msgpack, protobuf      plugins loaded: none\n"
	if status != 2 || stderr != want {
		t.Errorf("got %d, %q, want 2, %q", status, stderr, want)
	}
}

func TestExtensions(t *testing.T) {
	status, stdout, _ := execute(t, "no address", "extensions", "loadbalancer")
	if status != 0 || !strings.Contains(stdout, "loadbalancer   round-robin") || !strings.Contains(stdout, "robin") || strings.Contains(stdout, "serializer") {
		t.Errorf("got %d, %q", status, stdout)
	}
	var infos []spi.Info
	if status, stdout, _ = execute(t, "no address", "extensions", "--json"); status != 0 || json.Unmarshal([]byte(stdout), &infos) != nil || len(infos) < 10 {
		t.Errorf("--json: got %d, %q", status, stdout)
	}
	page, err := os.ReadFile("../../docs/extensions.md")
	if err != nil {
		t.Fatal(err)
	}
	if status, stdout, _ = execute(t, "no address", "extensions", "--markdown"); status != 0 || stdout != string(page) {
		t.Errorf("--markdown: got %d and not docs/extensions.md", status)
	}
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct{ flag, page string }{{"--markdown", "config.md"}, {"--schema", "bhrpc.schema.json"}} {
		page, err := os.ReadFile("../../docs/" + tt.page)
		if err != nil {
			t.Fatal(err)
		}
		if status, stdout, _ := execute(t, "no address", "config", tt.flag); status != 0 || stdout != string(page) {
			t.Errorf("%s: got %d and not docs/%s", tt.flag, status, tt.page)
		}
	}
	status, stdout, _ := execute(t, "no address", "config")
	if want := regexp.MustCompile(`(?m)^consumer\.timeout +duration +"5s" +time allowed`); status != 0 || !want.MatchString(stdout) {
		t.Errorf("got %d, %s, want %s in it", status, stdout, want)
	}
	if status, _, stderr := execute(t, "no address", "config", "--markdown", "--schema"); status != 2 {
		t.Errorf("both flags: got %d, %q, want 2", status, stderr)
	}
}

func TestVersion(t *testing.T) {
	status, stdout, _ := execute(t, "no address", "version")
	if status != 0 || !regexp.MustCompile(`^bhrpc \S+, protocol 1, go1\.\S+ \w+/\w+\n$`).MatchString(stdout) {
		t.Errorf("got %d, %q", status, stdout)
	}
}
