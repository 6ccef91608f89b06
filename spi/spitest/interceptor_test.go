package spitest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// intercepting makes an interceptor of what it does around next.
func intercepting(f func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error) spi.Interceptor {
	return func(next spi.InvokeFunc) spi.InvokeFunc {
		return func(ctx context.Context, call *spi.Call) error { return f(next, ctx, call) }
	}
}

func TestInterceptor(t *testing.T) {
	if os.Getenv(inChild) != "" {
		Interceptor(t, intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			return errors.New(call.Args.At(0).(string))
		}))
		return
	}
	Interceptor(t, intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error { return next(ctx, call) }))
	Interceptor(t, intercepting(func(spi.InvokeFunc, context.Context, *spi.Call) error {
		return &spi.Error{Code: spi.Unauthenticated}
	}))
	failsInChild(t, "FAIL: TestInterceptor/errors-typed", "want an *spi.Error, possibly wrapped", "the rule: A call may have no arguments")
}

func TestInterceptorFindsFaults(t *testing.T) {
	var mu, answers sync.Mutex
	var latest spi.InvokeFunc
	var first spi.Metadata
	testBroken(t, interceptorRules, []broken[spi.Interceptor]{
		{"makes nothing", func(spi.InvokeFunc) spi.InvokeFunc { return nil }, []string{"wraps"}},
		{"tries next at once", func(next spi.InvokeFunc) spi.InvokeFunc {
			ctx, call := called(0)
			_ = next(ctx, call)
			return next
		}, []string{"wraps"}},
		{"keeps one next", func(next spi.InvokeFunc) spi.InvokeFunc {
			latest = next
			return func(ctx context.Context, call *spi.Call) error { return latest(ctx, call) }
		}, []string{"wraps"}},
		{"wants arguments", intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			_ = call.Args.At(0)
			return next(ctx, call)
		}), []string{"bare-call"}},
		{"has a context of its own", intercepting(func(next spi.InvokeFunc, _ context.Context, call *spi.Call) error {
			return next(context.Background(), call)
		}), []string{"context-passed"}},
		{"lets nobody give up", intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			return next(context.WithoutCancel(ctx), call)
		}), []string{"context-passed"}},
		{"makes a call of its own", intercepting(func(next spi.InvokeFunc, ctx context.Context, _ *spi.Call) error {
			return next(ctx, &spi.Call{})
		}), []string{"call-passed"}},
		{"flattens errors", intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			if err := next(ctx, call); err != nil {
				return errors.New(err.Error())
			}
			return nil
		}), []string{"errors-typed"}},
		{"hides a panic", intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			defer func() { _ = recover() }()
			return next(ctx, call)
		}), []string{"panic-passes"}},
		{"holds a lock", intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			if !mu.TryLock() {
				return &spi.Error{Code: spi.Unavailable}
			}
			err := next(ctx, call)
			mu.Unlock()
			return err
		}), []string{"panic-passes"}},
		{"calls from another goroutine", intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = next(ctx, call)
			}()
			<-done
			return nil
		}), []string{"goroutine-ends"}},
		{"gives everybody the first answer", intercepting(func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			err := next(ctx, call)
			answers.Lock()
			defer answers.Unlock()
			if first == nil {
				first = call.ReplyMetadata
			}
			call.ReplyMetadata = first
			return err
		}), []string{"calls-concurrent"}},
	}, "call-not-kept") // only the race detector sees it
}
