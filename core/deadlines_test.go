package core_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// ending is how a handler saw its context end.
type ending struct {
	deadline  time.Time // zero: it had none
	at        time.Time
	err       error
	cause     error
	afterFunc bool
	derived   error // cause of a context derived from it
}

// watcher notes how the context of its calls ends.
type watcher struct {
	entered chan bool
	ended   chan ending
	hold    chan struct{} // closed when Watch may return; nil: at once
}

func newWatcher() *watcher {
	return &watcher{entered: make(chan bool, 100), ended: make(chan ending, 100)}
}

func (w *watcher) Watch(ctx context.Context) error {
	var e ending
	e.deadline, _ = ctx.Deadline()
	called := make(chan bool)
	context.AfterFunc(ctx, func() { close(called) })
	type key struct{}
	derived, cancel := context.WithTimeout(context.WithValue(ctx, key{}, 1), time.Hour)
	defer cancel()
	w.entered <- true
	<-ctx.Done()
	e.at, e.err, e.cause = time.Now(), ctx.Err(), context.Cause(ctx)
	<-called
	e.afterFunc = true
	<-derived.Done()
	e.derived = context.Cause(derived)
	w.ended <- e
	if w.hold != nil {
		<-w.hold
	}
	return errors.New("nobody reads this")
}

// Glance looks at Err only, as a loop would.
func (w *watcher) Glance(ctx context.Context) error {
	w.entered <- true
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
	}
	w.ended <- ending{at: time.Now(), err: ctx.Err(), cause: context.Cause(ctx)}
	return nil
}

func TestTimeoutPrecedence(t *testing.T) {
	const consumer = 7 * time.Second
	for _, tt := range []struct {
		name                         string
		reference, method, call, ctx time.Duration // 0: not set
		want                         time.Duration
	}{
		{"the consumer's", 0, 0, 0, 0, consumer},
		{"the reference's over the consumer's", 9 * time.Second, 0, 0, 0, 9 * time.Second},
		{"a shorter one of the reference", 4 * time.Second, 0, 0, 0, 4 * time.Second},
		{"the method's over the reference's", 4 * time.Second, 8 * time.Second, 0, 0, 8 * time.Second},
		{"the method's over the consumer's", 0, 2 * time.Second, 0, 0, 2 * time.Second},
		{"the call's over the method's", 4 * time.Second, 8 * time.Second, 5 * time.Second, 0, 5 * time.Second},
		{"the call's over the reference's", 4 * time.Second, 0, 5 * time.Second, 0, 5 * time.Second},
		{"a negative one of the call is none", 4 * time.Second, 0, -1, 0, 4 * time.Second},
		{"the context's over the call's", 4 * time.Second, 0, 5 * time.Second, 6 * time.Second, 6 * time.Second},
		{"a shorter one of the context", 4 * time.Second, 0, 5 * time.Second, 1500 * time.Millisecond, 1500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newWorld(t), newWatcher()
				s.hold = make(chan struct{}) // or its answer would race with the deadline
				defer close(s.hold)
				w.provider("p:1", nil, s)
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					cfg.Timeout = spi.Duration(consumer)
					cfg.References = map[string]core.Reference{"watcher": {Timeout: spi.Duration(tt.reference), Methods: map[string]core.MethodUse{
						"Watch": {Timeout: spi.Duration(tt.method)}, "Glance": {Timeout: spi.Duration(time.Second)},
					}}}
				}, "p:1")
				ctx := t.Context()
				if tt.ctx > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.ctx)
					defer cancel()
				}
				begin := time.Now()
				err := c.Invoke(ctx, &spi.Call{Method: c.Method("watcher", "Watch"), Timeout: tt.call})
				if got := time.Since(begin); got != tt.want {
					t.Errorf("got the error after %v, want %v", got, tt.want)
				}
				w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "the deadline passed"})
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want it to match context.DeadlineExceeded", err)
				}
				e := <-s.ended
				if got := e.deadline.Sub(begin); got != tt.want {
					t.Errorf("got a deadline %v after the call began at the handler, want %v", got, tt.want)
				}
				if got := e.at.Sub(begin); got != tt.want {
					t.Errorf("got the end of the handler's context after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func TestEndReachesHandler(t *testing.T) {
	for _, tt := range []struct {
		name       string
		end        func(w *world, c *core.Consumer, p *core.Provider, cancel func())
		err, cause error
	}{
		{"cancelled by the caller", func(_ *world, _ *core.Consumer, _ *core.Provider, cancel func()) { cancel() }, context.Canceled, context.Canceled},
		{"consumer closed", func(_ *world, c *core.Consumer, _ *core.Provider, _ func()) { c.Close() }, context.Canceled, core.ErrPeerGone},
		{"connection cut", func(w *world, _ *core.Consumer, _ *core.Provider, _ func()) { w.network.Link("p:1").Cut() }, context.Canceled, core.ErrPeerGone},
		{"provider shut down", func(_ *world, _ *core.Consumer, p *core.Provider, _ func()) {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_ = p.Shutdown(ended)
		}, context.Canceled, context.Canceled},
	} {
		for _, method := range []string{"Watch", "Glance"} {
			t.Run(tt.name+" "+method, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, s := newWorld(t), newWatcher()
					p := w.provider("p:1", nil, s)
					c := w.consumer(nil, "p:1")
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					call := start[any](ctx, c, "watcher", method)
					<-s.entered
					tt.end(w, c, p, cancel)
					e := <-s.ended
					if e.err != tt.err || e.cause != tt.cause {
						t.Errorf("got context error %v because of %v, want %v because of %v", e.err, e.cause, tt.err, tt.cause)
					}
					if method == "Watch" && (!e.afterFunc || e.derived != tt.cause) {
						t.Errorf("got AfterFunc called: %t, derived context ended by %v, want true and %v", e.afterFunc, e.derived, tt.cause)
					}
					if _, err := call.wait(); err == nil {
						t.Error("got no error at the caller, want one")
					}
				})
			})
		}
	}
}

// TestDeadlineReachesHandler: also from a consumer that does not cancel by itself.
func TestDeadlineReachesHandler(t *testing.T) {
	for _, method := range []string{"Watch", "Glance"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newWorld(t), newWatcher()
				w.provider("p:1", nil, s)
				peer := w.dial("p:1")
				request := coretest.Request(1<<20, "watcher", method, []byte{0})
				request.Flags = coretest.FlagList                          // of no arguments
				request.Metadata = append(request.Metadata, 3, 2, 0xe8, 7) // 1000 µs left
				begin := time.Now()
				w.must(peer.Write(request))
				e := <-s.ended
				if e.err != context.DeadlineExceeded || e.cause != context.DeadlineExceeded || e.at.Sub(begin) != time.Millisecond {
					t.Errorf("got %v because of %v after %v, want the deadline after 1ms", e.err, e.cause, e.at.Sub(begin))
				}
				if method == "Watch" && (!e.afterFunc || e.derived != context.DeadlineExceeded || e.deadline.Sub(begin) != time.Millisecond) {
					t.Errorf("got AfterFunc called: %t, derived context ended by %v, deadline after %v, want true, the deadline, 1ms", e.afterFunc, e.derived, e.deadline.Sub(begin))
				}
				if f, err := peer.Read(); err != nil || f.ID != request.ID {
					t.Errorf("got %s, %v, want what the handler made of it", f, err)
				}
			})
		})
	}
}

// TestDeadlineCoversConnecting: the time that a call waits for a connection counts.
func TestDeadlineCoversConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), newWatcher()
		s.hold = make(chan struct{})
		defer close(s.hold)
		l := w.listen("p:1") // connects, and says nothing for a second
		c := w.consumer(nil, "p:1")
		begin := time.Now()
		call := start[any](t.Context(), c, "watcher", "Watch")
		<-time.After(time.Second)
		w.serve(w.newProvider(nil, s), l)
		_, err := call.wait()
		if got := time.Since(begin); got != 5*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v after %v, want the deadline after 5s", err, got)
		}
		if e := <-s.ended; e.at.Sub(begin) != 5*time.Second || e.deadline.Sub(begin) != 5*time.Second {
			t.Errorf("got a deadline of %v and the end at %v, want 5s for both", e.deadline.Sub(begin), e.at.Sub(begin))
		}
	})
}

// TestCallGivesUpConnecting: nobody waits longer than its own deadline for an
// attempt of somebody else, and is told how that stands.
func TestCallGivesUpConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.listen("p:1") // accepts, and never says a word
		c := w.consumer(nil, "p:1")
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		call := start[any](ctx, c, "echo", "Say", "x")
		err := c.Invoke(t.Context(), &spi.Call{Method: c.Method("echo", "Say"), Timeout: 50 * time.Millisecond})
		if got := time.Since(begin); got != 50*time.Millisecond {
			t.Errorf("got the error after %v, want 50ms", got)
		}
		w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "p:1", message: "the deadline passed before there was a connection"})
		cancel()
		_, err = call.wait()
		w.expect(err, failure{code: spi.Canceled, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "p:1", message: "the caller gave up before there was a connection"})
		if got := time.Since(begin); got != 50*time.Millisecond {
			t.Errorf("got the error after %v, want it at once", got)
		}
		<-time.After(3*time.Second - time.Since(begin)) // the handshake timeout; a later caller hears of it
		synctest.Wait()
		err = c.Invoke(t.Context(), &spi.Call{Method: c.Method("echo", "Say"), Timeout: 50 * time.Millisecond})
		w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "p:1",
			message: "the deadline passed before there was a connection; last attempt: no HELLO within the handshake timeout", hint: "is that a bhrpc provider?"})
	})
}

// TestUnwantedRequestsAreNotRun: what was cancelled, or is too late, before a
// handler began.
func TestUnwantedRequestsAreNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.provider("p:1", nil, g.service())
		peer := w.dial("p:1")

		both := coretest.AppendFrame(nil, coretest.Request(1<<20, "Gate", "Pass", []byte(`"cancelled"`)))
		both = coretest.AppendFrame(both, coretest.Frame{Type: coretest.TypeCancel, ID: 1 << 20})
		w.must(peer.WriteRaw(both))

		late := coretest.Request(2<<20, "Gate", "Pass", []byte(`"late"`))
		late.Metadata = append(late.Metadata, 3, 1, 0) // 0 µs left
		w.must(peer.Write(late))
		f := w.readAs(peer, coretest.TypeError)
		if f.ID != late.ID || spi.Code(f.Code) != spi.DeadlineExceeded {
			t.Errorf("got %s, want DEADLINE_EXCEEDED for the late one and nothing for the other", f)
		}
		for i, text := range []string{`"finished all the same"`, `"failed all the same"`} { // nobody waits for that
			id := uint64(10+i) << 20
			w.must(peer.Write(coretest.Request(id, "Gate", "Careless", []byte(text))))
			<-g.entered
			w.must(peer.Write(coretest.Frame{Type: coretest.TypeCancel, ID: id}))
			synctest.Wait()
			g.leave <- struct{}{}
			synctest.Wait()
		}
		w.must(peer.Write(coretest.Frame{Type: coretest.TypeCancel, ID: 99 << 20})) // nobody knows it
		w.must(peer.Write(coretest.Request(3<<20, "Gate", "Pass", []byte(`"fine"`))))
		if got := <-g.entered; got != "fine" {
			t.Errorf("got %q run, want only the one that is wanted", got)
		}
		close(g.leave)
		if f := w.readAs(peer, coretest.TypeResponse); f.ID != 3<<20 {
			t.Errorf("got %s, want the answer to the third", f)
		}
	})
}

// TestLateAnswers: an answer after its call gave up is dropped, though the slot is
// in use again.
func TestLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(nil, "p:1")
		peer := w.accept(l)
		ctx, cancel := context.WithCancel(t.Context())
		first := start[string](ctx, c, "echo", "Say", "x")
		old := w.readAs(peer, coretest.TypeRequest)
		cancel()
		if _, err := first.wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it cancelled", err)
		}
		if f := w.readAs(peer, coretest.TypeCancel); f.ID != old.ID {
			t.Errorf("got %s, want the CANCEL of %d", f, old.ID)
		}
		second := start[string](t.Context(), c, "echo", "Say", "y")
		now := w.readAs(peer, coretest.TypeRequest)
		if now.ID&(1<<20-1) != old.ID&(1<<20-1) || now.ID>>20 != old.ID>>20+1 {
			t.Errorf("got id %#x after %#x, want the next sequence in the same slot", now.ID, old.ID)
		}
		w.must(peer.Answer(old, []byte(`"old"`)))
		synctest.Wait()
		if second.isOver() {
			t.Error("got the second call decided by the answer to the first")
		}
		w.must(peer.Answer(now, []byte(`"new"`)))
		if got, err := second.wait(); got != "new" || err != nil {
			t.Errorf("got %q, %v, want new", got, err)
		}
	})
}
