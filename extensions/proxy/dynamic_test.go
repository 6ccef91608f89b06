package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/proxy"
	"github.com/bhrpc/bhrpc/spi"
)

func TestDynamicCalls(t *testing.T) {
	var last string
	inv := &invoker{invoke: func(ctx context.Context, call *spi.Call) error {
		if ctx == nil {
			t.Error("context: got nil, want one")
		}
		last = describe(call)
		switch reply := call.Reply.(type) {
		case *string:
			*reply = "hello"
		case *json.RawMessage:
			*reply = json.RawMessage(`{"a":1}`)
		}
		return nil
	}}
	var call proxy.Dynamic
	bind(t, "dynamic", &call, inv)
	var text string
	var raw json.RawMessage
	for _, tt := range []struct {
		name   string
		method string
		reply  any
		args   []any
		want   string
	}{
		{"value", "Hello.Say", &text, []any{"ann"}, `Hello.Say("ann")`},
		{"last dot", "demo.v1.Hello.Say", &text, []any{1, true}, `demo.v1.Hello.Say(1, true)`},
		{"no arguments, no reply", "Hello.Ping", nil, nil, `Hello.Ping()`},
		{"raw", "Hello.Find", &raw, []any{json.RawMessage(`[1]`)}, `Hello.Find(json.RawMessage{0x5b, 0x31, 0x5d})`},
		{"nil argument", "Hello.Say", &text, []any{nil}, `Hello.Say(<invalid reflect.Value>)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := call(t.Context(), tt.method, tt.reply, tt.args...); err != nil || last != tt.want {
				t.Errorf("call: got %s, error %v, want %s", last, err, tt.want)
			}
		})
	}
	if got := inv.resolved[1]; got != "demo.v1.Hello/Say" {
		t.Errorf("service and method of demo.v1.Hello.Say: got %s", got)
	}
	if text != "hello" || string(raw) != `{"a":1}` {
		t.Errorf("replies: got %q and %s", text, raw)
	}
	if err := call(nil, "Hello.Ping", nil); err != nil {
		t.Errorf("call with a nil context: got error %v", err)
	}
}

func TestDynamicRefuses(t *testing.T) {
	var call proxy.Dynamic
	bind(t, "dynamic", &call, noop{})
	for _, tt := range []struct {
		name, method string
		reply        any
		want         string
	}{
		{"no service", "Say", nil, `method "Say": want "Service.Method"`},
		{"nothing", "", nil, `method "": want`},
		{"empty service", ".Say", nil, `want "Service.Method"`},
		{"empty method", "Hello.", nil, `want "Service.Method"`},
		{"reply by value", "Hello.Say", "", "INVALID_ARGUMENT Hello.Say (phase: resolve, sent: no): reply is a string, want a non-nil pointer, or nil for no reply"},
		{"nil reply", "Hello.Say", (*string)(nil), "reply is a *string, want a non-nil pointer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := call(t.Context(), tt.method, tt.reply)
			var rpc *spi.Error
			if !errors.As(err, &rpc) || rpc.Code != spi.InvalidArgument || rpc.Sent != spi.SentNo || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("call: got %v, want INVALID_ARGUMENT with %q", err, tt.want)
			}
		})
	}
}

func TestDynamicPassesErrorsOn(t *testing.T) {
	failure := spi.Errorf(spi.Unavailable, "gone")
	var call proxy.Dynamic
	bind(t, "dynamic", &call, &invoker{invoke: func(context.Context, *spi.Call) error { return failure }})
	if err := call(t.Context(), "Hello.Say", nil); !errors.Is(err, failure) {
		t.Errorf("call: got %v, want %v", err, failure)
	}
}

// A call that is over holds nothing.
func TestDynamicForgetsArguments(t *testing.T) {
	var kept *spi.Call
	var args spi.Args
	var call proxy.Dynamic
	bind(t, "dynamic", &call, &invoker{invoke: func(_ context.Context, c *spi.Call) error {
		kept, args = c, c.Args // against the contract, to look at them afterwards
		return nil
	}})
	if err := call(t.Context(), "Hello.Say", nil, "secret"); err != nil {
		t.Fatal(err)
	}
	if args.Len() != 0 || kept.Args != nil {
		t.Errorf("arguments after the call: got %v and %v, want none", args, kept.Args)
	}
}

// A name is resolved once; names from outside do not fill the memory.
func TestDynamicResolvesOnce(t *testing.T) {
	inv := &invoker{invoke: func(context.Context, *spi.Call) error { return nil }}
	var call proxy.Dynamic
	bind(t, "dynamic", &call, inv)
	ask := func(name string) {
		t.Helper()
		if err := call(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		ask("Hello.Say")
	}
	if len(inv.resolved) != 1 {
		t.Errorf("resolved by 3 calls: got %q, want 1", inv.resolved)
	}
	for i := range 10_000 {
		ask(fmt.Sprintf("Hello.M%d", i))
	}
	before := len(inv.resolved)
	for range 3 {
		ask("Hello.Say") // forgotten meanwhile, and found again
	}
	if got := len(inv.resolved) - before; got != 1 {
		t.Errorf("resolved by 3 calls after 10,000 other names: got %d, want 1", got)
	}
}

func TestDynamicConcurrently(t *testing.T) {
	inv := &invoker{invoke: func(_ context.Context, call *spi.Call) error {
		*call.Reply.(*string) = fmt.Sprintf("%s(%v)", call.Method, call.Args.At(0))
		return nil
	}}
	var call proxy.Dynamic
	bind(t, "dynamic", &call, inv)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 300 {
				var got string
				name := fmt.Sprintf("Hello.M%d", i%5)
				if err := call(context.Background(), name, &got, g); err != nil || got != fmt.Sprintf("%s(%d)", name, g) {
					t.Errorf("%s(%d): got %s, error %v", name, g, got, err)
				}
			}
		})
	}
	all.Wait()
}
