package proxy_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/proxy"
	"github.com/bhrpc/bhrpc/spi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a proxy by name or alias.
func open(t testing.TB, name string) spi.Proxy {
	t.Helper()
	cat := spi.NewCatalog()
	if err := proxy.Register(cat); err != nil {
		t.Fatal(err)
	}
	p, err := cat.Proxies.Open(context.Background(), spi.Env{}, spi.Ref{Use: name})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// bind binds target to inv and fails the test on error.
func bind(t testing.TB, name string, target any, inv spi.Invoker) {
	t.Helper()
	if err := open(t, name).Bind(target, inv); err != nil {
		t.Fatalf("Bind: %v", err)
	}
}

// invoker is a fake: it keeps the names that were resolved and calls invoke.
type invoker struct {
	invoke func(ctx context.Context, call *spi.Call) error

	mu       sync.Mutex
	resolved []string
}

func (i *invoker) Method(service, name string) *spi.Method {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.resolved = append(i.resolved, service+"/"+name)
	return &spi.Method{Service: service, Name: name}
}

func (i *invoker) Invoke(ctx context.Context, call *spi.Call) error { return i.invoke(ctx, call) }

// describe renders a call: its method, timeout, mark and arguments, of pointers what they
// point to.
func describe(call *spi.Call) string {
	var args []string
	if call.Args != nil {
		if call.Args.Len() == 0 {
			args = append(args, "an empty list instead of nil")
		}
		for i := range call.Args.Len() {
			v := reflect.ValueOf(call.Args.At(i))
			if v.IsValid() && v.Kind() == reflect.Pointer {
				v = v.Elem()
			}
			args = append(args, fmt.Sprintf("%#v", v))
		}
	}
	s := fmt.Sprintf("%s(%s)", call.Method, strings.Join(args, ", "))
	if call.Timeout > 0 {
		s += " within " + call.Timeout.String()
	}
	if call.Idempotent {
		s += " perhaps twice"
	}
	return s
}

func TestBindRefusesOtherTypes(t *testing.T) {
	type greeter struct {
		Say func(string) (string, error)
	}
	const knows = "reflect a pointer to a struct of func fields"
	for _, tt := range []struct {
		name, proxy string
		target      any
		want        string
	}{
		{"struct by value", "reflect", greeter{}, "bind proxy_test.greeter: proxy reflect binds a pointer to a struct of func fields"},
		{"function", "reflect", new(func()), "bind *func(): proxy reflect binds a pointer to a struct"},
		{"nothing", "reflect", nil, "bind <nil>: proxy reflect binds a pointer to a struct"},
		{"nil pointer", "reflect", (*greeter)(nil), "the pointer is nil"},
		{"a dynamic", "reflect", new(proxy.Dynamic), "proxy dynamic a *proxy.Dynamic"},
		{"a struct", "dynamic", &greeter{}, "bind *proxy_test.greeter: proxy dynamic binds a *proxy.Dynamic, proxy " + knows},
		{"a dynamic by value", "dynamic", proxy.Dynamic(nil), "binds a *proxy.Dynamic"},
		{"a nil dynamic", "dynamic", (*proxy.Dynamic)(nil), "the pointer is nil"},
		{"nothing dynamic", "dynamic", nil, "bind <nil>: proxy dynamic binds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := open(t, tt.proxy).Bind(tt.target, &invoker{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Bind(%T): got %v, want an error with %q", tt.target, err, tt.want)
			}
		})
	}
}

func TestAlias(t *testing.T) {
	type greeter struct {
		Say func(string) (string, error)
	}
	bind(t, "jdk", new(greeter), &invoker{})
}
