package spitest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// hooks is what two functions do; nil ones do nothing.
type hooks struct {
	before func(ctx context.Context, in spi.Invocation) (spi.Verdict, error)
	after  func(ctx context.Context, out spi.Outcome)
}

func (h hooks) Before(ctx context.Context, in spi.Invocation) (spi.Verdict, error) {
	if h.before == nil {
		return spi.Verdict{}, nil
	}
	return h.before(ctx, in)
}

func (h hooks) After(ctx context.Context, out spi.Outcome) {
	if h.after != nil {
		h.after(ctx, out)
	}
}

// binder binds whatever it is given.
type binder struct{}

func (binder) Bind(any, spi.Invoker) error { return nil }

func TestProxy(t *testing.T) {
	if os.Getenv(inChild) != "" {
		Proxy(t, binder{})
		return
	}
	Proxy(t, spi.FromHooks(hooks{}))
	Proxy(t, spi.FromHooks(hooks{before: func(context.Context, spi.Invocation) (spi.Verdict, error) {
		return spi.Verdict{Refuse: &spi.Refusal{Message: "not today"}}, nil
	}}))
	failsInChild(t, "FAIL: TestProxy/bind-unknown", "want one", "the rule: Bind of a target")
}

// A wrapper is held against the rules of an interceptor.
func TestProxyIsAnInterceptor(t *testing.T) {
	var faults []string
	for _, result := range CheckProxy(wrapper{}) {
		if len(result.Faults) > 0 {
			faults = append(faults, result.Rule)
		}
	}
	if got := strings.Join(faults, " "); !strings.Contains(got, "errors-typed") {
		t.Errorf("rules that a wrapper with plain errors breaks: got %q, want errors-typed among them", got)
	}
}

type wrapper struct{}

func (wrapper) Bind(any, spi.Invoker) error { return errors.New("nothing is known") }
func (wrapper) Intercept(spi.InvokeFunc) spi.InvokeFunc {
	return func(context.Context, *spi.Call) error { return errors.New("plain") }
}

func TestHooksFindsFaults(t *testing.T) {
	before := func(f func(ctx context.Context, in spi.Invocation) (spi.Verdict, error)) hooks {
		return hooks{before: f}
	}
	testBroken(t, hooksRules, []broken[spi.Hooks]{
		{"answers with no JSON", before(func(context.Context, spi.Invocation) (spi.Verdict, error) {
			return spi.Verdict{Answer: json.RawMessage("tea")}, nil
		}), []string{"verdict-valid"}},
		{"refuses without a word", before(func(context.Context, spi.Invocation) (spi.Verdict, error) {
			return spi.Verdict{Refuse: &spi.Refusal{}}, nil
		}), []string{"verdict-valid"}},
		{"writes into metadata", before(func(_ context.Context, in spi.Invocation) (spi.Verdict, error) {
			in.Metadata.Set("traceparent", "mine")
			return spi.Verdict{}, nil
		}), []string{"metadata-unmodified"}},
		{"writes behind metadata", before(func(_ context.Context, in spi.Invocation) (spi.Verdict, error) {
			_ = append(in.Metadata, spi.Pair{Key: "mine"})
			return spi.Verdict{}, nil
		}), []string{"metadata-unmodified"}},
		{"wants an endpoint", hooks{after: func(_ context.Context, out spi.Outcome) { _ = out.Endpoint[0] }}, []string{"any-outcome"}},
		{"panics with a context that has ended", before(func(ctx context.Context, _ spi.Invocation) (spi.Verdict, error) {
			if ctx.Err() != nil {
				panic(ctx.Err())
			}
			return spi.Verdict{}, nil
		}), []string{"hooks-ended"}},
		{"panics when asked by many", before(func(_ context.Context, in spi.Invocation) (spi.Verdict, error) {
			if _, counted := in.Metadata.Get("number"); counted {
				panic("too many")
			}
			return spi.Verdict{}, nil
		}), []string{"hooks-concurrent"}},
	})
}
