package core_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// around notes when it is made, and when a call passes.
func around(name string, notes *[]string, made *atomic.Int32) spi.Interceptor {
	return func(next spi.InvokeFunc) spi.InvokeFunc {
		made.Add(1)
		return func(ctx context.Context, call *spi.Call) error {
			*notes = append(*notes, name+" before "+call.Method.Name)
			err := next(ctx, call)
			*notes = append(*notes, fmt.Sprintf("%s after, %v", name, spi.CodeOf(err)))
			return err
		}
	}
}

func TestInterceptorsRunInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var notes []string
		var made atomic.Int32
		w.provider("p:1", func(cfg *core.ProviderConfig) {
			cfg.Interceptors = []spi.Interceptor{around("provider 1", &notes, &made), around("provider 2", &notes, &made)}
		}, faulty{})
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Interceptors = []spi.Interceptor{around("consumer 1", &notes, &made), around("consumer 2", &notes, &made)}
		}, "p:1")
		for method, code := range map[string]spi.Code{"Fine": 0, "Coded": spi.NotFound} {
			notes = nil
			args := spi.Values{"x"}
			if method == "Coded" {
				args = nil
			}
			_ = c.Invoke(t.Context(), &spi.Call{Method: c.Method("faulty", method), Args: args})
			var want []string
			for _, name := range []string{"consumer 1", "consumer 2", "provider 1", "provider 2"} {
				want = append(want, name+" before "+method)
			}
			for _, name := range []string{"provider 2", "provider 1", "consumer 2", "consumer 1"} {
				want = append(want, fmt.Sprintf("%s after, %v", name, code))
			}
			if !reflect.DeepEqual(notes, want) {
				t.Errorf("%s: got %q, want %q", method, notes, want)
			}
		}
		if got := made.Load(); got != 4 {
			t.Errorf("got %d interceptors composed, want each once: 4", got)
		}
	})
}

func TestInterceptors(t *testing.T) {
	errStop := errors.New("stopped")
	for _, tt := range []struct {
		name      string
		intercept func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error
		want      string // result
		runs      int32  // of the method
		consumer  failure
		provider  failure
	}{
		{name: "passes", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error { return next(ctx, call) }, want: "x", runs: 1},
		{name: "calls next twice", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			return errors.Join(next(ctx, call), next(ctx, call))
		}, want: "x", runs: 2},
		{name: "changes the call", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			if values, ok := call.Args.(spi.Values); ok { // the consumer's
				values[0] = "changed"
			} else {
				*call.Args.At(0).(*string) = "changed"
			}
			return next(ctx, call)
		}, want: "changed", runs: 1},
		{name: "adds metadata", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			call.Metadata.Set("say", "metadata")
			return next(ctx, call)
		}, want: "metadata", runs: 1},
		{name: "changes the context", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errStop)
			return next(ctx, call)
		}, consumer: failure{code: spi.Canceled, phase: spi.PhasePick, sent: spi.SentNo, message: "the caller gave up"},
			provider: failure{code: spi.Canceled, phase: spi.PhaseHandler, endpoint: "p:1", remote: true, message: "the handler returned: context canceled"}},
		{name: "changes the answer", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			err := next(ctx, call)
			if reply, ok := call.Reply.(*string); ok { // the consumer's
				*reply = "improved"
			} else {
				call.Reply = "improved"
			}
			return err
		}, want: "improved", runs: 1},
		{name: "answers itself", intercept: func(_ spi.InvokeFunc, _ context.Context, call *spi.Call) error {
			if reply, ok := call.Reply.(*string); ok {
				*reply = "cached"
			} else {
				call.Reply = "cached"
			}
			return nil
		}, want: "cached", runs: 0},
		{name: "refuses", intercept: func(spi.InvokeFunc, context.Context, *spi.Call) error {
			return &spi.Error{Code: spi.PermissionDenied, Message: "not you"}
		}, consumer: failure{code: spi.PermissionDenied, message: "not you"},
			provider: failure{code: spi.PermissionDenied, phase: spi.PhaseHandler, endpoint: "p:1", remote: true, message: "not you"}},
		{name: "wraps the error", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			call.Metadata.Set("say", "fail")
			return fmt.Errorf("audited: %w", next(ctx, call))
		}, runs: 1, consumer: failure{code: spi.Unknown, phase: spi.PhaseHandler, endpoint: "p:1", remote: true, message: "told to fail"},
			provider: failure{code: spi.Unknown, phase: spi.PhaseHandler, endpoint: "p:1", remote: true, message: "audited: told to fail"}},
		{name: "hides the error", intercept: func(next spi.InvokeFunc, ctx context.Context, call *spi.Call) error {
			call.Metadata.Set("say", "fail")
			_ = next(ctx, call)
			if reply, ok := call.Reply.(*string); ok {
				*reply = "hidden"
			} else {
				call.Reply = "hidden"
			}
			return nil
		}, want: "hidden", runs: 1},
	} {
		for _, on := range []string{"consumer", "provider"} {
			t.Run(tt.name+" on the "+on, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, s := newWorld(t), new(obedient)
					one := []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
						return func(ctx context.Context, call *spi.Call) error { return tt.intercept(next, ctx, call) }
					}}
					w.provider("p:1", func(cfg *core.ProviderConfig) {
						if on == "provider" {
							cfg.Interceptors = one
						}
					}, s)
					c := w.consumer(func(cfg *core.ConsumerConfig) {
						if on == "consumer" {
							cfg.Interceptors = one
						}
					}, "p:1")
					got, err := invoke[string](t.Context(), c, "obedient", "Say", "x")
					want := tt.consumer
					if on == "provider" {
						want = tt.provider
					}
					if want.code != 0 {
						w.expect(err, want)
					} else if got != tt.want || err != nil {
						t.Errorf("got %q, %v, want %q", got, err, tt.want)
					}
					if strings.HasPrefix(tt.name, "wraps") && !strings.HasPrefix(err.Error(), "audited: ") && on == "consumer" {
						t.Errorf("got %q, want the wrapper's text first", err)
					}
					if got := s.runs.Load(); got != tt.runs {
						t.Errorf("got %d runs of the method, want %d", got, tt.runs)
					}
				})
			})
		}
	}
}

// obedient says what its metadata tells it.
type obedient struct{ runs atomic.Int32 }

func (o *obedient) Say(ctx context.Context, text string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	o.runs.Add(1)
	switch say, ok := spi.CallFrom(ctx).Metadata.Get("say"); {
	case say == "fail":
		return "", errors.New("told to fail")
	case ok:
		return say, nil
	}
	return text, nil
}

// TestConsumerInterceptorsSeeTheWholeCall: its deadline, what its context adds, and
// a Call that they may change without the caller noticing.
func TestConsumerInterceptorsSeeTheWholeCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := newWorld(t), new(mirror)
		w.provider("p:1", nil, m)
		var seen spi.Metadata
		var left []time.Duration
		replace := false
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Timeout = spi.Duration(3 * time.Second)
			cfg.Interceptors = []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
				return func(ctx context.Context, call *spi.Call) error {
					deadline, _ := ctx.Deadline()
					seen, left = slices.Clone(call.Metadata), append(left, time.Until(deadline))
					if replace {
						call.Metadata = spi.Metadata{{Key: "only", Value: "this"}}
					}
					call.Metadata.Set("call", "changed")
					return next(ctx, call)
				}
			}}
		}, "p:1")
		ctx := spi.WithMetadata(t.Context(), "ctx", "1")
		call := &spi.Call{Method: c.Method("mirror", "Reflect"), Args: spi.Values{false}, Metadata: spi.Metadata{{Key: "call", Value: "2"}}}
		for _, tt := range []struct {
			replace bool
			want    spi.Metadata
		}{
			{false, spi.Metadata{{Key: "call", Value: "changed"}, {Key: "ctx", Value: "1"}}},
			{true, spi.Metadata{{Key: "only", Value: "this"}, {Key: "call", Value: "changed"}}},
		} {
			replace = tt.replace
			w.must(c.Invoke(ctx, call))
			if want := (spi.Metadata{{Key: "call", Value: "2"}, {Key: "ctx", Value: "1"}}); !reflect.DeepEqual(seen, want) {
				t.Errorf("got %q in the interceptor, want %q", seen, want)
			}
			if !reflect.DeepEqual(m.seen.Metadata, tt.want) {
				t.Errorf("got %q at the handler, want %q", m.seen.Metadata, tt.want)
			}
			if want := (spi.Metadata{{Key: "call", Value: "2"}}); !reflect.DeepEqual(call.Metadata, want) {
				t.Errorf("got %q in the call afterwards, want it unchanged: %q", call.Metadata, want)
			}
			if call.Peer != "p:1" || len(call.ReplyMetadata) != 2 {
				t.Errorf("got %q, %q in the call afterwards, want its provider and the answer's two pairs", call.Peer, call.ReplyMetadata)
			}
		}
		call.Timeout = time.Second
		w.must(c.Invoke(ctx, call))
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		w.must(c.Invoke(ctx, call))
		if want := []time.Duration{3 * time.Second, 3 * time.Second, time.Second, 2 * time.Second}; !slices.Equal(left, want) {
			t.Errorf("got %v left in the interceptors, want %v", left, want)
		}
	})
}

// TestInterceptorsAreWithinTheTimeout: an interceptor that hangs does not keep the
// caller beyond the configured timeout.
func TestInterceptorsAreWithinTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, new(obedient))
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Timeout = spi.Duration(time.Second)
			cfg.Interceptors = []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
				return func(ctx context.Context, call *spi.Call) error {
					<-ctx.Done()
					return next(ctx, call)
				}
			}}
		}, "p:1")
		start := time.Now()
		_, err := invoke[string](t.Context(), c, "obedient", "Say", "x")
		w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhasePick, sent: spi.SentNo, message: "the deadline passed"})
		if took := time.Since(start); took != time.Second {
			t.Errorf("got an answer after %v, want 1s", took)
		}
	})
}
