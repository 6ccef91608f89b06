package proxy

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/bhrpc/bhrpc/spi"
)

// Dynamic calls a method by name, "Service.Method", split at the last dot. reply is
// where the result goes, a non-nil pointer, or nil if it is not wanted. args are
// values or pointers to them; a json.RawMessage is passed through as it is by the
// JSON serializers, as argument and as reply. It is safe for concurrent use. The
// error is nil or an *[spi.Error]; a name without a dot and a bad reply are
// InvalidArgument.
type Dynamic func(ctx context.Context, method string, reply any, args ...any) error

func openDynamic(context.Context, spi.Env, none) (spi.Proxy, error) { return dynamicProxy{}, nil }

type dynamicProxy struct{}

func (dynamicProxy) Bind(target any, inv spi.Invoker) error {
	d, ok := target.(*Dynamic)
	if !ok {
		return fmt.Errorf("bind %T: proxy dynamic binds a *proxy.Dynamic, proxy reflect a pointer to a struct of func fields", target)
	}
	if d == nil {
		return fmt.Errorf("bind %T: the pointer is nil; pass the address of a variable", target)
	}
	*d = newCaller(inv).call
	return nil
}

// maxMethods bounds the cache of methods, which names from outside fill.
const maxMethods = 4096

type caller struct {
	inv   spi.Invoker
	calls sync.Pool // of *dynamicCall

	mu      sync.RWMutex
	methods map[string]*spi.Method // by "Service.Method"
}

// dynamicCall is what one call needs, in one piece.
type dynamicCall struct {
	call spi.Call
	args spi.Values
}

func newCaller(inv spi.Invoker) *caller {
	return &caller{inv: inv, calls: sync.Pool{New: func() any { return new(dynamicCall) }}, methods: map[string]*spi.Method{}}
}

func (c *caller) call(ctx context.Context, name string, reply any, args ...any) error {
	method, err := c.method(name)
	if err != nil {
		return err
	}
	if reply != nil {
		if v := reflect.ValueOf(reply); v.Kind() != reflect.Pointer || v.IsNil() {
			return refuse(method.Service, method.Name, "reply is a %T, want a non-nil pointer, or nil for no reply", reply)
		}
	}
	d := c.calls.Get().(*dynamicCall)
	d.args = args
	d.call = spi.Call{Method: method, Reply: reply}
	if len(args) > 0 {
		d.call.Args = &d.args
	}
	if ctx == nil {
		ctx = context.Background()
	}
	err = c.inv.Invoke(ctx, &d.call)
	*d = dynamicCall{}
	c.calls.Put(d)
	return err
}

func (c *caller) method(name string) (*spi.Method, error) {
	c.mu.RLock()
	m, ok := c.methods[name]
	c.mu.RUnlock()
	if ok {
		return m, nil
	}
	name = strings.Clone(name) // it may be a piece of something large, and the cache keeps it
	service, last, ok := spi.SplitMethod(name)
	if !ok {
		return nil, refuse("", "", `method %q: want "Service.Method"`, name)
	}
	m = c.inv.Method(service, last)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.methods) >= maxMethods {
		clear(c.methods) // those still in use come back with their next call
	}
	c.methods[name] = m
	return m, nil
}

// refuse returns the error of a call that cannot be made as it was asked for.
func refuse(service, method, format string, args ...any) error {
	err := spi.Errorf(spi.InvalidArgument, format, args...)
	err.Service, err.Method, err.Phase, err.Sent = service, method, spi.PhaseResolve, spi.SentNo
	return err
}
