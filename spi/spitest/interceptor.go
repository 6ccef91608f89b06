package spitest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// Interceptor tests that i keeps the contract of [spi.Interceptor]. What i asks of a
// call beyond that, such as credentials, it may refuse: rules about what follows
// hold for the calls that it lets through.
func Interceptor(t *testing.T, i spi.Interceptor) {
	t.Helper()
	run(t, interceptorRules, i)
}

var interceptorRules = []rule[spi.Interceptor]{
	{"wraps", "An interceptor returns a function that calls the next one it was given, and none before there is a call.", checkWraps},
	{"bare-call", "A call may have no arguments, no metadata, no peer and nobody who wants its result.", checkBareCall},
	{"context-passed", "The context that goes on has the values and the end of the one that came.", checkContextPassed},
	{"call-passed", "The call that goes on names its method.", checkCallPassed},
	{"errors-typed", "The error of a call is an *spi.Error, possibly wrapped.", checkErrorsTyped},
	{"panic-passes", "A panic of what follows goes on, or becomes an *spi.Error; the next call is not harmed.", checkPanicPasses},
	{"goroutine-ends", "The end of the goroutine in what follows goes on.", checkGoroutineEnds},
	{"call-not-kept", "Nobody keeps the call or its context after it returned.", checkCallNotKept},
	{"calls-concurrent", "Many goroutines make calls at once.", checkCallsConcurrent},
}

// called returns a call as a consumer makes it, and its context.
func called(i int) (context.Context, *spi.Call) {
	return context.Background(), &spi.Call{Method: &spi.Method{Service: "Greeter", Name: "Say"}, Args: spi.Values{fmt.Sprint(i)}, Reply: new(string), Peer: "127.0.0.1:7070"}
}

func checkWraps(r *report, i spi.Interceptor) {
	counts := make([]int, 2)
	var made []spi.InvokeFunc
	for n := range counts {
		made = append(made, i(func(context.Context, *spi.Call) error { counts[n]++; return nil }))
		if made[n] == nil {
			r.faultf("got no function")
			return
		}
	}
	if counts[0]+counts[1] > 0 {
		r.faultf("next was called before there was a call")
	}
	ctx, call := called(0)
	if err := made[0](ctx, call); err == nil && counts[0] == 0 && call.ReplyMetadata == nil {
		r.notef("the call was answered without next")
	}
	if counts[1] > 0 {
		r.faultf("a call of the first function reached the next of the second")
	}
}

func checkBareCall(r *report, i spi.Interceptor) {
	f := i(func(context.Context, *spi.Call) error { return nil })
	for n := range 2 { // as a consumer makes it, as a provider serves it
		r.guard(func() {
			call := &spi.Call{Method: &spi.Method{Service: "Greeter", Name: "Say"}}
			ctx := context.Background()
			if n == 1 {
				ctx = serving{ctx, call}
			}
			_ = f(ctx, call)
		})
	}
}

// serving is the context of a handler.
type serving struct {
	context.Context
	call *spi.Call
}

func (c serving) Value(key any) any {
	if spi.IsCallKey(key) {
		return c.call
	}
	return c.Context.Value(key)
}

type contextKey struct{}

func checkContextPassed(r *report, i spi.Interceptor) {
	f := i(func(ctx context.Context, call *spi.Call) error {
		if ctx == nil || ctx.Value(contextKey{}) != "kept" || spi.CallFrom(ctx) == nil {
			r.faultf("a value of the context: got none, want it to be passed on")
		} else if ctx.Err() == nil {
			r.faultf("the context of a caller that gave up: got one that has not ended")
		}
		return nil
	})
	_, call := called(0)
	ctx, cancel := context.WithCancel(context.WithValue(serving{context.Background(), call}, contextKey{}, "kept"))
	cancel()
	_ = f(ctx, call)
}

func checkCallPassed(r *report, i spi.Interceptor) {
	f := i(func(_ context.Context, call *spi.Call) error {
		if call == nil || call.Method == nil || call.Method.Name != "Say" {
			r.faultf("the call that goes on: got %+v, want one of Greeter.Say", call)
		}
		return nil
	})
	ctx, call := called(0)
	_ = f(ctx, call)
}

func checkErrorsTyped(r *report, i spi.Interceptor) {
	for _, failure := range []error{nil, &spi.Error{Code: spi.NotFound, Message: "no such thing"}} {
		ctx, call := called(0)
		err := i(func(context.Context, *spi.Call) error { return failure })(ctx, call)
		var typed *spi.Error
		if err != nil && !errors.As(err, &typed) {
			r.faultf("next returned %v: got error %v of type %T, want an *spi.Error, possibly wrapped", failure, err, err)
		}
	}
}

func checkPanicPasses(r *report, i spi.Interceptor) {
	reached, fail := false, true
	f := i(func(context.Context, *spi.Call) error {
		if reached = true; fail {
			panic("what follows panicked")
		}
		return nil
	})
	var err error
	passed := func() (value any) {
		defer func() { value = recover() }()
		ctx, call := called(0)
		err = f(ctx, call)
		return nil
	}()
	var typed *spi.Error
	if reached && passed == nil && !errors.As(err, &typed) {
		r.faultf("next panicked: got error %v, want the panic or an *spi.Error", err)
	}
	if passed != nil && passed != "what follows panicked" {
		r.faultf("next panicked: got the panic %v, want the same", passed)
	}
	fail, reached = false, false
	ctx, call := called(1)
	if err := f(ctx, call); err != nil && passed != nil {
		r.faultf("the call after a panic: got error %v", err)
	}
}

func checkGoroutineEnds(r *report, i spi.Interceptor) {
	reached, returned := false, false
	f := i(func(context.Context, *spi.Call) error {
		reached = true
		runtime.Goexit()
		return nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		ctx, call := called(0)
		_ = f(ctx, call)
		returned = true
	}()
	<-done
	if reached && returned {
		r.faultf("what follows ended its goroutine: got a return, want the goroutine to end")
	}
}

func checkCallNotKept(r *report, i spi.Interceptor) {
	f := i(func(context.Context, *spi.Call) error { return nil })
	call := new(spi.Call)
	for n := range 100 { // the race detector sees who looks at the call too late
		_, next := called(n)
		*call = *next
		_ = f(serving{context.Background(), call}, call)
		*call = spi.Call{}
		runtime.Gosched()
	}
	if call.Method != nil || call.Args != nil || call.Metadata != nil || call.ReplyMetadata != nil || call.Reply != nil {
		r.faultf("the call after it was over and cleared: got %+v, want it to stay clear", call)
	}
}

func checkCallsConcurrent(r *report, i spi.Interceptor) {
	f := i(func(_ context.Context, call *spi.Call) error {
		call.ReplyMetadata.Set("for", call.Args.At(0).(string))
		return nil
	})
	r.concurrently(8, func(g int) {
		for n := 0; n < 200 && !r.broken(); n++ {
			ctx, call := called(g*1000 + n)
			want := call.Args.At(0).(string)
			if err := f(ctx, call); err != nil {
				continue
			}
			if got, ok := call.ReplyMetadata.Get("for"); ok && got != want {
				r.faultf("got the answer of call %s, want %s", got, want)
			}
		}
	})
}
