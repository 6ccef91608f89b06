package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

type baseKey struct{}

// twin is a handlerContext and what the standard library makes of the same.
type twin struct {
	*handlerContext
	std     context.Context
	abort   context.CancelCauseFunc // of std
	expire  context.CancelFunc      // frees std's timer
	endBase context.CancelCauseFunc // of both
}

var errShutdown = errors.New("the provider is shut down")

func newTwin(deadline time.Time) *twin {
	base, end := context.WithCancelCause(context.WithValue(context.Background(), baseKey{}, "base"))
	call := &spi.Call{Peer: "somebody"}
	w := &twin{handlerContext: &handlerContext{base: base, call: call, deadline: deadline}, endBase: end}
	w.std, w.abort = context.WithCancelCause(spi.WithCall(base, call))
	w.expire = func() {}
	if !deadline.IsZero() {
		w.std, w.expire = context.WithDeadline(w.std, deadline)
	}
	return w
}

// same compares the two, from the one that must be asked first.
func (w *twin) same(t *testing.T, ours, std context.Context) {
	t.Helper()
	if got, want := ours.Err(), std.Err(); got != want {
		t.Errorf("Err: got %v, want %v", got, want)
	}
	if got, want := context.Cause(ours), context.Cause(std); got != want {
		t.Errorf("Cause: got %v, want %v", got, want)
	}
	if got, want := isDone(ours), isDone(std); got != want {
		t.Errorf("Done: got closed %v, want %v", got, want)
	}
	at, ok := ours.Deadline()
	if wantAt, want := std.Deadline(); ok != want || !at.Equal(wantAt) {
		t.Errorf("Deadline: got %v %v, want %v %v", at, ok, wantAt, want)
	}
	if got, want := ours.Done(), ours.Done(); got != want {
		t.Error("Done: got another channel the second time")
	}
}

func isDone(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// events are all that can happen to a handler's context.
var events = []struct {
	name string
	do   func(w *twin)
}{
	{"base ends", func(w *twin) { w.endBase(errShutdown) }},
	{"deadline", func(w *twin) { time.Sleep(time.Minute); synctest.Wait() }},
	{"abandoned", func(w *twin) { w.abandon(ErrPeerGone); w.abort(ErrPeerGone) }},
	{"finished", func(w *twin) { w.finish(); w.abort(errCallOver) }},
}

// looks are the ways in which a handler may have used its context before.
var looks = []struct {
	name string
	do   func(w *twin)
}{
	{"never", func(*twin) {}},
	{"Err", func(w *twin) { _ = w.Err() }},
	{"Done", func(w *twin) { _ = w.Done() }},
	{"Value", func(w *twin) { _ = w.Value(baseKey{}) }},
	{"derived", func(w *twin) { context.AfterFunc(w, func() {}) }},
}

// Whatever happens in whatever order, a handler's context does what the standard
// library's does. Only one that ended without anybody looking may later give another
// reason than the first.
func TestHandlerContextIsAContext(t *testing.T) {
	for _, deadline := range []time.Duration{0, time.Second} {
		for _, look := range looks {
			for i := range events {
				for j := range events {
					t.Run(fmt.Sprintf("%v/%s/%s/%s", deadline, look.name, events[i].name, events[j].name), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { compareContexts(t, deadline, look.do, i, j) })
					})
				}
			}
		}
	}
}

func compareContexts(t *testing.T, deadline time.Duration, look func(*twin), first, second int) {
	var at time.Time
	if deadline != 0 {
		at = time.Now().Add(deadline)
	}
	w := newTwin(at)
	defer w.expire()
	defer w.endBase(nil)
	if got := w.Value(baseKey{}); got != "base" {
		t.Errorf("Value of the base: got %v", got)
	}
	if got := spi.CallFrom(w); got != spi.CallFrom(w.std) || got == nil {
		t.Errorf("CallFrom: got %v, want %v", got, spi.CallFrom(w.std))
	}
	look(w)
	made := w.inner != nil
	events[first].do(w)
	if first != 1 || made { // so that it is looked at only if it was before, or at the end
		w.same(t, w, w.std)
	}
	unseen := w.inner == nil && w.std.Err() != nil
	events[second].do(w)
	if !unseen {
		w.same(t, w, w.std)
	} else if w.Err() == nil || context.Cause(w) == nil || !isDone(w) {
		t.Errorf("got %v because of %v, closed %v, want an ended context", w.Err(), context.Cause(w), isDone(w))
	}
	if events[first].name == "finished" || events[second].name == "finished" {
		if call := spi.CallFrom(w); call != nil {
			t.Errorf("CallFrom after the handler returned: got %v, want nil", call)
		}
	}
}

// A context derived from a handler's ends with it, for the same reason, and costs
// no goroutine.
func TestHandlerContextDerived(t *testing.T) {
	for _, event := range events {
		for _, looked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", event.name, looked), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newTwin(time.Now().Add(time.Second))
					defer w.expire()
					defer w.endBase(nil)
					if looked {
						_ = w.Done()
					}
					before := runtime.NumGoroutine()
					child, cancel := context.WithCancel(context.WithValue(w, baseKey{}, "child"))
					defer cancel()
					stdChild, stdCancel := context.WithTimeout(w.std, time.Hour)
					defer stdCancel()
					later, laterCancel := context.WithTimeout(w, time.Hour)
					defer laterCancel()
					ran := make(chan struct{})
					context.AfterFunc(w, func() { close(ran) })
					stopped := context.AfterFunc(w, func() { t.Error("an AfterFunc ran that was stopped") })
					if !stopped() {
						t.Error("got an AfterFunc that cannot be stopped")
					}
					if got := runtime.NumGoroutine(); got > before { // less: one of an earlier test has ended
						t.Errorf("got %d goroutines, want %d", got, before)
					}
					event.do(w)
					synctest.Wait()
					w.same(t, later, stdChild)
					if child.Err() != stdChild.Err() || context.Cause(child) != context.Cause(stdChild) {
						t.Errorf("got %v because of %v, want %v because of %v", child.Err(), context.Cause(child), stdChild.Err(), context.Cause(stdChild))
					}
					select {
					case <-ran:
					default:
						t.Error("the AfterFunc did not run")
					}
				})
			})
		}
	}
}

// Everything at once: all who look see it end, once.
func TestHandlerContextRace(t *testing.T) {
	for i := range 300 {
		base, end := context.WithCancelCause(context.Background())
		c := &handlerContext{base: base, call: &spi.Call{}}
		if i%2 == 0 {
			c.deadline = time.Now().Add(time.Duration(i) * time.Microsecond)
		}
		var all sync.WaitGroup
		for _, f := range []func(){
			func() { <-c.Done() },
			func() {
				for c.Err() == nil {
					runtime.Gosched()
				}
			},
			func() {
				child, cancel := context.WithCancel(c)
				defer cancel()
				<-child.Done()
			},
			func() { _, _ = spi.CallFrom(c), c.Value(baseKey{}) },
			func() { c.abandon(ErrPeerGone) },
			func() { c.finish() },
			func() { end(errShutdown) },
		} {
			all.Go(f)
		}
		all.Wait()
		if c.Err() == nil || context.Cause(c) == nil || spi.CallFrom(c) != nil {
			t.Fatalf("got %v because of %v with call %v, want an ended context without a call", c.Err(), context.Cause(c), spi.CallFrom(c))
		}
	}
}

// A handler that never looks at its context costs nothing more.
func TestHandlerContextAllocates(t *testing.T) {
	base, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &handlerContext{}
	got := testing.AllocsPerRun(100, func() {
		*c = handlerContext{base: base, deadline: time.Now().Add(time.Hour)}
		_ = c.Err()
		_ = spi.CallFrom(c)
		c.finish()
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
