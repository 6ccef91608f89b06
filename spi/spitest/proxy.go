package spitest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Proxy tests that p keeps the contract of [spi.Proxy]; that of [spi.Wrapper], with
// the rules of [Interceptor], if p is one; and that of [spi.Hooks] if [spi.FromHooks]
// made it. What p binds is its own affair. p stays the caller's to close.
func Proxy(t *testing.T, p spi.Proxy) {
	t.Helper()
	run(t, proxyRules(p), p)
}

// proxyRules returns the rules that hold for p.
func proxyRules(p spi.Proxy) []rule[spi.Proxy] {
	rules := []rule[spi.Proxy]{
		{"bind-unknown", "Bind of a target that the proxy does not know is an error, never a panic.", checkBindUnknown},
	}
	if w, ok := p.(spi.Wrapper); ok {
		for _, of := range interceptorRules {
			rules = append(rules, rule[spi.Proxy]{of.name, of.explanation, func(r *report, _ spi.Proxy) { of.check(r, w.Intercept) }})
		}
	}
	if h, ok := p.(interface{ Hooks() spi.Hooks }); ok {
		for _, of := range hooksRules {
			rules = append(rules, rule[spi.Proxy]{of.name, of.explanation, func(r *report, _ spi.Proxy) { of.check(r, h.Hooks()) }})
		}
	}
	return rules
}

var hooksRules = []rule[spi.Hooks]{
	{"verdict-valid", "A Verdict can be carried out: an Answer is JSON, a Refusal has a message.", checkVerdict},
	{"metadata-unmodified", "Before must not modify the metadata: a Verdict brings its own.", checkMetadataUnmodified},
	{"any-outcome", "After is told of every outcome, of calls that Before has not seen too, and does not panic.", checkAnyOutcome},
	{"hooks-ended", "Before and After return although the context has ended.", checkHooksEnded},
	{"hooks-concurrent", "Hooks are asked by many goroutines at once.", checkHooksConcurrently},
}

func checkBindUnknown(r *report, p spi.Proxy) {
	for _, target := range []any{nil, new(chan int), 7, new(error)} {
		r.guard(func() {
			if err := p.Bind(target, nil); err == nil {
				r.faultf("Bind to a %T: got no error, want one", target)
			}
		})
	}
}

// invocations returns calls of many kinds, which share nothing.
func invocations() []spi.Invocation {
	var many spi.Metadata
	for i := range 200 {
		many.Set(fmt.Sprint("key-", i), fmt.Sprint("value ", i))
	}
	return []spi.Invocation{
		{},
		{Service: "Greeter", Method: "Say"},
		{Service: "Greeter", Version: "1.0.0", Group: "blue", Method: "Say", Metadata: spi.Metadata{{Key: "traceparent", Value: "00-1-2-03"}}},
		{Service: "Greeter", Method: "Say", Metadata: spi.Metadata{{Key: "twice", Value: "a"}, {Key: "twice", Value: "b"}, {Key: "", Value: ""}}},
		{Service: "Ünïcode 日本", Method: "\x00\n", Metadata: many},
	}
}

func checkVerdict(r *report, h spi.Hooks) {
	for _, in := range invocations() {
		verdict, err := h.Before(context.Background(), in)
		switch {
		case err != nil:
			r.notef("Before %s.%s: %v", in.Service, in.Method, err)
		case verdict.Refuse != nil && verdict.Refuse.Message == "":
			r.faultf("Before %s.%s: got a refusal without a message", in.Service, in.Method)
		case verdict.Refuse != nil && verdict.Refuse.Code != 0 && !verdict.Refuse.Code.Valid():
			r.faultf("Before %s.%s: got a refusal with %v, want one of the sixteen codes, or 0", in.Service, in.Method, verdict.Refuse.Code)
		case verdict.Answer != nil && !json.Valid(verdict.Answer):
			r.faultf("Before %s.%s: got the answer %.60q, want JSON", in.Service, in.Method, verdict.Answer)
		}
		h.After(context.Background(), spi.Outcome{Service: in.Service, Method: in.Method})
	}
}

func checkMetadataUnmodified(r *report, h spi.Hooks) {
	for i, in := range invocations() {
		whole := append(in.Metadata, spi.Pair{Key: "behind", Value: "kept"})
		in.Metadata = whole[:len(whole)-1]
		_, _ = h.Before(context.Background(), in)
		if want := append(invocations()[i].Metadata, spi.Pair{Key: "behind", Value: "kept"}); !slices.Equal(whole, want) {
			r.faultf("metadata after Before: got %.100q, want %.100q", whole, want)
		}
	}
}

func checkAnyOutcome(r *report, h spi.Hooks) {
	for _, out := range []spi.Outcome{
		{},
		{Service: "Greeter", Method: "Say", Endpoint: "10.0.0.7:7070", Took: spi.Duration(time.Millisecond)},
		{Service: "Greeter", Method: "Say", Code: spi.DeadlineExceeded, Message: "deadline exceeded"},
		{Service: "Greeter", Method: "Say", Code: 255, Message: "\x00 \n"},
	} {
		r.guard(func() { h.After(context.Background(), out) })
	}
}

func checkHooksEnded(r *report, h spi.Hooks) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	r.inTime("Before and After with a context that has ended", func() {
		_, _ = h.Before(ended, spi.Invocation{Service: "Greeter", Method: "Say"})
		h.After(ended, spi.Outcome{Service: "Greeter", Method: "Say", Code: spi.Canceled})
	})
}

func checkHooksConcurrently(r *report, h spi.Hooks) {
	r.concurrently(8, func(g int) {
		for n := range 50 {
			in := spi.Invocation{Service: "Greeter", Method: "Say", Metadata: spi.Metadata{{Key: "number", Value: fmt.Sprint(g, n)}}}
			_, _ = h.Before(context.Background(), in)
			h.After(context.Background(), spi.Outcome{Service: "Greeter", Method: "Say"})
		}
	})
}
