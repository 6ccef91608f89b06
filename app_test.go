package bhrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/extensions/proxy"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

type Hello struct{}

func (Hello) Say(_ context.Context, name string) (string, error) { return "hello, " + name, nil }
func (Hello) Sum(a, b int) (int, error)                          { return a + b, nil }
func (Hello) Forget() error                                      { return nil }
func (Hello) Helper() int                                        { return 1 } // not served: no error

// Whoami answers with what the call says beside its arguments.
func (Hello) Whoami(ctx context.Context) (string, error) {
	call := bhrpc.Serving(ctx)
	user, _ := call.Metadata.Get("user")
	call.ReplyMetadata.Set("seen", user)
	return user, nil
}

// load returns the configuration of keys, which log to the returned text.
func load(t *testing.T, keys map[string]any) (*bhrpc.Config, *lockedBuffer) {
	t.Helper()
	cfg, err := bhrpc.Load("")
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range keys {
		if err := cfg.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	out := new(lockedBuffer)
	out.changed.L = &out.mu
	log := logrus.New()
	log.Out = out
	log.Formatter = &logrus.TextFormatter{DisableTimestamp: true}
	cfg.Log = log
	return cfg, out
}

// lockedBuffer is what several goroutines log to.
type lockedBuffer struct {
	mu      sync.Mutex
	changed sync.Cond
	text    bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.changed.Broadcast()
	return b.text.Write(p)
}

// wait returns when the text contains want.
func (b *lockedBuffer) wait(want string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !strings.Contains(b.text.String(), want) {
		b.changed.Wait()
	}
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func open(t *testing.T, cfg *bhrpc.Config, options ...bhrpc.Option) *bhrpc.App {
	t.Helper()
	app, err := cfg.Open(t.Context(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Close(); err != nil {
			t.Error(err)
		}
	})
	return app
}

// provide serves on a free port until the test ends.
func provide(t *testing.T, keys map[string]any, services ...any) (address string, log *lockedBuffer) {
	t.Helper()
	cfg, log := load(t, keys)
	if err := cfg.Set("provider.listen", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	p, err := open(t, cfg).Provide(t.Context(), services...)
	if err != nil {
		t.Fatal(err)
	}
	return p.Addr().String(), log
}

func dial(t *testing.T, keys map[string]any, addresses ...string) *bhrpc.App {
	t.Helper()
	cfg, _ := load(t, keys)
	if err := cfg.Set("consumer.addresses", addresses); err != nil {
		t.Fatal(err)
	}
	return open(t, cfg)
}

func TestCall(t *testing.T) {
	address, _ := provide(t, nil, Hello{})
	for _, serializer := range []string{"json", "json-std", "gob", "msgpack", "cbor"} {
		t.Run(serializer, func(t *testing.T) {
			app := dial(t, map[string]any{"consumer.serializer": serializer}, address)
			if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "world"); got != "hello, world" || err != nil {
				t.Errorf("Say: got %q, %v, want hello, world", got, err)
			}
			if got, err := bhrpc.Call[int](t.Context(), app, "Hello.Sum", 2, 40); got != 42 || err != nil {
				t.Errorf("Sum: got %d, %v, want 42", got, err)
			}
			if err := bhrpc.Invoke(t.Context(), app, "Hello.Forget", nil); err != nil {
				t.Errorf("Forget: got %v, want no error", err)
			}
			ctx := bhrpc.WithMetadata(t.Context(), "user", "ann")
			if got, err := bhrpc.Call[string](ctx, app, "Hello.Whoami"); got != "ann" || err != nil {
				t.Errorf("Whoami: got %q, %v, want ann", got, err)
			}
		})
	}
}

func TestBind(t *testing.T) {
	address, _ := provide(t, nil, bhrpc.Service{Impl: Hello{}, Name: "Greeter", Inline: []string{"Say"}})
	app := dial(t, nil, address)
	var greeter struct {
		_   struct{} `bhrpc:"service=Greeter"`
		Say func(context.Context, string) (string, error)
		Add func(a, b int) (int, error) `bhrpc:"method=Sum,timeout=2s"`
	}
	if err := app.Bind(&greeter); err != nil {
		t.Fatal(err)
	}
	if got, err := greeter.Say(t.Context(), "struct"); got != "hello, struct" || err != nil {
		t.Errorf("Say: got %q, %v", got, err)
	}
	if got, err := greeter.Add(1, 2); got != 3 || err != nil {
		t.Errorf("Add: got %d, %v", got, err)
	}

	dynamic := dial(t, map[string]any{"consumer.proxy": "dynamic"}, address)
	var call proxy.Dynamic
	if err := dynamic.Bind(&call); err != nil {
		t.Fatal(err)
	}
	var result json.RawMessage
	if err := call(t.Context(), "Greeter.Say", &result, json.RawMessage(`"raw"`)); string(result) != `"hello, raw"` || err != nil {
		t.Errorf("dynamic: got %s, %v", result, err)
	}
	if err := app.Bind(&call); err == nil || !strings.HasPrefix(err.Error(), "bhrpc: bind *proxy.Dynamic: ") {
		t.Errorf("Bind of what reflect does not know: got %v, want an error that names it", err)
	}
}

func TestVersionAndGroup(t *testing.T) {
	address, log := provide(t, nil,
		bhrpc.Service{Impl: Hello{}, Version: "1.0.0", Group: "blue"},
		bhrpc.Service{Impl: Hello{}, Version: "2.0.0"})
	if !strings.Contains(log.String(), "Hello#1.0.0#blue.Say(string) string") {
		t.Errorf("log does not show version and group:\n%s", log)
	}
	app := dial(t, map[string]any{"references": map[string]any{"Hello": map[string]string{"version": "1.0.0", "group": "blue"}}}, address)
	if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "v1"); got != "hello, v1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	plain := dial(t, nil, address)
	if _, err := bhrpc.Call[string](t.Context(), plain, "Hello.Say", "v?"); spi.CodeOf(err) != spi.Unimplemented {
		t.Errorf("without version: got %v, want UNIMPLEMENTED", err)
	}
}

func TestStartUp(t *testing.T) {
	address, log := provide(t, map[string]any{"provider.serializers": []string{"json"}}, Hello{})
	for _, want := range []string{
		`msg="provider ready" addr="` + address + `" registry=none services=1`,
		`msg="  Hello.Say(string) string"`,
		`msg="  not served: Hello.Helper: the last result must be an error"`,
		`msg="try: curl -s ` + address + `/Hello/Say -d '[\"world\"]'     stop: Ctrl-C (drains up to 30s)"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log does not say %s:\n%s", want, log)
		}
	}
	gob := dial(t, map[string]any{"consumer.serializer": "gob"}, address)
	_, err := bhrpc.Call[string](t.Context(), gob, "Hello.Say", "world")
	var failed *bhrpc.Error
	if !errors.As(err, &failed) || failed.Code != spi.Unimplemented || failed.Phase != spi.PhaseHandshake || !strings.Contains(err.Error(), `does not offer serializer "gob"; it offers json`) {
		t.Errorf("a serializer that is not offered: got %v", err)
	}
}

func TestServeErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		name     string
		keys     map[string]any
		services []any
		want     string
	}{
		{"address in use", map[string]any{"provider.listen": taken.Addr().String()}, []any{Hello{}}, "is in use; stop the program that listens there, or choose another address (BHRPC_PROVIDER_LISTEN=127.0.0.1:0 takes any free port)"},
		{"no service", nil, nil, "nothing to serve"},
		{"no method", nil, []any{struct{}{}}, "needs a name"},
		{"nil", nil, []any{nil}, "a service is a value with methods, not nil"},
		{"twice", nil, []any{Hello{}, Hello{}}, "service Hello is registered twice"},
		{"no such inline method", nil, []any{bhrpc.Service{Impl: Hello{}, Inline: []string{"Sya"}}}, "service Hello has no method Sya; it has "},
		{"registry that is kept by hand", map[string]any{"provider.registry": map[string]any{"use": "static"}, "provider.listen": "127.0.0.1:0"}, []any{Hello{}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, log := load(t, tt.keys)
			app := open(t, cfg)
			p, err := app.Provide(t.Context(), tt.services...)
			if tt.want == "" { // it serves, and says that nobody will find it
				if err != nil {
					t.Fatal(err)
				}
				log.wait("a static registry is kept by hand")
				if err := p.Stop(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "bhrpc: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if tt.name == "address in use" && !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("got %v, want EADDRINUSE in it", err)
			}
		})
	}
}

func TestServeDrains(t *testing.T) {
	cfg, log := load(t, map[string]any{"provider.listen": "127.0.0.1:0"})
	app := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := app.Serve(ctx, Hello{}); err != nil {
		t.Errorf("got %v, want no error after the context ended", err)
	}
	if !strings.Contains(log.String(), "provider stopped") {
		t.Errorf("log does not say so:\n%s", log)
	}
}

func TestNobodyToCall(t *testing.T) {
	cfg, _ := load(t, nil)
	app := open(t, cfg)
	_, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "world")
	want := "FAILED_PRECONDITION (phase: resolve, sent: no): the configuration names no provider to call; set consumer.addresses or consumer.registry"
	if fmt.Sprint(err) != want {
		t.Errorf("Call\ngot  %v\nwant %s", err, want)
	}
	if err := app.Bind(&struct{}{}); fmt.Sprint(err) != "bhrpc: "+want {
		t.Errorf("Bind\ngot  %v\nwant bhrpc: %s", err, want)
	}
	if _, err := bhrpc.Call[string](t.Context(), app, "nodot"); spi.CodeOf(err) != spi.InvalidArgument || !strings.Contains(err.Error(), `method "nodot" is not of the form Service.Method`) {
		t.Errorf("a name without a dot: got %v", err)
	}
}

func TestRegistryStatic(t *testing.T) {
	address, _ := provide(t, nil, Hello{})
	cfg, _ := load(t, map[string]any{"consumer.registry": map[string]any{"use": "static", "with": map[string]any{"services": map[string]any{"Hello": []string{address}}}}})
	app := open(t, cfg)
	if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "registry"); got != "hello, registry" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := bhrpc.Call[string](t.Context(), app, "Other.Say", "registry")
	if spi.CodeOf(err) != spi.Unavailable || !strings.Contains(err.Error(), "the registry lists no endpoint of Other") {
		t.Errorf("a service that is not listed: got %v", err)
	}
}

// audit is a proxy of a user: it refuses one method and adds to the metadata.
type audit struct{ seen []string }

func (a *audit) Before(_ context.Context, in spi.Invocation) (spi.Verdict, error) {
	a.seen = append(a.seen, in.Method)
	if in.Method == "Sum" {
		return spi.Verdict{Refuse: &spi.Refusal{Code: spi.PermissionDenied, Message: "no sums today"}}, nil
	}
	return spi.Verdict{Metadata: append(in.Metadata, spi.Pair{Key: "user", Value: "audited"})}, nil
}

func (a *audit) After(_ context.Context, out spi.Outcome) {
	a.seen = append(a.seen, out.Code.String())
}

func TestOwnProxyWraps(t *testing.T) {
	address, _ := provide(t, nil, Hello{})
	a := new(audit)
	register := func(cat *spi.Catalog) error {
		return spi.Register(cat.Proxies, "audit", "Writes down every call.", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.Proxy, error) { return spi.FromHooks(a), nil })
	}
	cfg, _ := load(t, map[string]any{"consumer.addresses": []string{address}, "consumer.proxy": "audit"})
	app := open(t, cfg, register)
	var hello struct {
		_      struct{} `bhrpc:"service=Hello"`
		Whoami func(context.Context) (string, error)
		Sum    func(int, int) (int, error)
	}
	if err := app.Bind(&hello); err != nil {
		t.Fatal(err)
	}
	if got, err := hello.Whoami(t.Context()); got != "audited" || err != nil {
		t.Errorf("Whoami: got %q, %v, want audited", got, err)
	}
	if _, err := hello.Sum(1, 2); spi.CodeOf(err) != spi.PermissionDenied {
		t.Errorf("Sum: got %v, want PERMISSION_DENIED", err)
	}
	if want := []string{"Whoami", "OK", "Sum", "PERMISSION_DENIED"}; !slices.Equal(a.seen, want) {
		t.Errorf("seen: got %q, want %q", a.seen, want)
	}
	var table strings.Builder
	if err := app.Explain(&table); err != nil || !strings.Contains(table.String(), "package github.com/bhrpc/bhrpc_test") {
		t.Errorf("Explain: got %v, want it to say who provides audit:\n%s", err, &table)
	}
}

func TestInterceptors(t *testing.T) {
	var order []string
	note := func(what string) spi.Interceptor {
		return func(next spi.InvokeFunc) spi.InvokeFunc {
			return func(ctx context.Context, call *spi.Call) error {
				order = append(order, what)
				return next(ctx, call)
			}
		}
	}
	server, _ := load(t, map[string]any{"provider.listen": "127.0.0.1:0"})
	server.ServerInterceptors = []spi.Interceptor{note("server 1"), note("server 2")}
	p, err := open(t, server).Provide(t.Context(), Hello{})
	if err != nil {
		t.Fatal(err)
	}
	client, _ := load(t, map[string]any{"consumer.addresses": []string{p.Addr().String()}})
	client.Interceptors = []spi.Interceptor{note("client 1"), note("client 2")}
	if _, err := bhrpc.Call[string](t.Context(), open(t, client), "Hello.Say", "x"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"client 1", "client 2", "server 1", "server 2"}; !slices.Equal(order, want) {
		t.Errorf("got %q, want %q", order, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "bhrpc.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	failing := func(*spi.Catalog) error { return errors.New("no luck") }
	for _, tt := range []struct {
		name, text string
		option     bhrpc.Option
		want       []string // after the path, or anywhere
	}{
		{"unknown name", "consumer: {serializer: jsno}", nil, []string{`:1:24: no serializer named "jsno"; did you mean "json"?`, "known: cbor, gob, json, json-std, msgpack"}},
		{"refused name", "consumer: {serializer: jdk}", nil, []string{`:1:24: serializer "jdk" is Java's own object stream; Go cannot speak it. Use json, or hessian2 with Java peers.`}},
		{"unknown key of an extension", "consumer: {loadbalancer: {use: weighted-random, with: {wieghts: {}}}}", nil, []string{`:1:56: unknown key consumer.loadbalancer.with.wieghts; did you mean "weights"?`}},
		{"several at once", "consumer: {serializer: jsno, proxy: reflext}\nprovider: {serializers: [json, gbo]}", nil, []string{`"jsno"`, `"reflext"`, `:2:32: no serializer named "gbo"`}},
		{"option fails", "", failing, []string{"no luck"}},
		{"duplicate", "", func(cat *spi.Catalog) error {
			return spi.Register(cat.Serializers, "json", "", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.Serializer, error) { return nil, nil })
		}, []string{`registered twice: serializer "json"`, "extensions/serializer (register.go:", "bhrpc_test (app_test.go:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := file(tt.text)
			var options []bhrpc.Option
			if tt.option != nil {
				options = append(options, tt.option)
			}
			app, err := bhrpc.Open(t.Context(), path, options...)
			if err == nil {
				t.Fatalf("got no error and %v", errors.Join(app.Close()))
			}
			text := strings.ReplaceAll(err.Error(), path, "FILE")
			if !strings.HasPrefix(text, "bhrpc: ") {
				t.Errorf("got %q, want it to begin with bhrpc:", text)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("got %q, want %q in it", text, want)
				}
			}
		})
	}
	if _, err := bhrpc.Open(t.Context(), "no-such.yaml"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "no-such.yaml") {
		t.Errorf("missing file: got %v", err)
	}
}

func TestExplain(t *testing.T) {
	t.Setenv("BHRPC_CONSUMER_TIMEOUT", "2s")
	cfg, _ := load(t, map[string]any{"consumer.loadbalancer": "robin"})
	var table, keys strings.Builder
	if err := errors.Join(cfg.Explain(t.Context(), &table), cfg.ExplainKeys(&keys)); err != nil {
		t.Fatal(err)
	}
	want := `KEY                     VALUE                 FROM      PROVIDED BY
provider.heartbeat      three-strike          default   built-in   interval=10s strikes=3
consumer.serializer     json                  default   built-in
consumer.loadbalancer   robin = round-robin   code      built-in
consumer.proxy          reflect               default   built-in
consumer.heartbeat      three-strike          default   built-in   interval=5s strikes=3
`
	if table.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &table, want)
	}
	for _, want := range []string{"consumer.timeout ", "env BHRPC_CONSUMER_TIMEOUT", "provider.listen "} {
		if !strings.Contains(keys.String(), want) {
			t.Errorf("the keys do not show %q:\n%s", want, &keys)
		}
	}
}

func TestCloseTwiceAndCallAfterwards(t *testing.T) {
	address, _ := provide(t, nil, Hello{})
	cfg, _ := load(t, map[string]any{"consumer.addresses": []string{address}})
	app, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(app.Close(), app.Close()); err != nil {
		t.Error(err)
	}
	_, err = bhrpc.Call[string](t.Context(), app, "Hello.Say", "late")
	if spi.CodeOf(err) != spi.Unavailable || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, want UNAVAILABLE: closed", err)
	}
}

// What the facade makes can be used where the engine is used directly.
var _ spi.Invoker = (*bhrpc.App)(nil)
var _ spi.Invoker = (*core.Consumer)(nil)

func TestProvideAfterClose(t *testing.T) {
	cfg, _ := load(t, map[string]any{"provider.listen": "127.0.0.1:0"})
	app := open(t, cfg)
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := app.Provide(t.Context(), Hello{}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v, %v, want an error: closed", p, err)
	}
}

// patient is a service whose method waits for the end of its context.
type patient struct{ entered chan bool }

func (p patient) Wait(ctx context.Context) error {
	p.entered <- true
	<-ctx.Done()
	return ctx.Err()
}

// What was cut off is said once: by Stop, or by Close if nobody called Stop.
func TestCutOffIsSaidOnce(t *testing.T) {
	for _, stop := range []bool{true, false} {
		cfg, _ := load(t, map[string]any{"provider.listen": "127.0.0.1:0", "provider.drain_timeout": "1ms"})
		app, err := cfg.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		service := patient{make(chan bool)}
		p, err := app.Provide(t.Context(), service)
		if err != nil {
			t.Fatal(err)
		}
		consumer, ended := dial(t, nil, p.Addr().String()), make(chan error)
		go func() { ended <- bhrpc.Invoke(t.Context(), consumer, "patient.Wait", nil) }()
		<-service.entered
		const want = "bhrpc: 1 request cut off at the end of the drain time"
		if stop {
			if err := p.Stop(); err == nil || err.Error() != want {
				t.Errorf("got %v from Stop, want %s", err, want)
			}
			if err := app.Close(); err != nil {
				t.Errorf("got %v from Close after Stop, want no error", err)
			}
		} else if err := app.Close(); err == nil || err.Error() != want {
			t.Errorf("got %v from Close, want %s", err, want)
		}
		if err := <-ended; spi.CodeOf(err) != spi.Unavailable {
			t.Errorf("got %v for the call, want UNAVAILABLE", err)
		}
	}
}
