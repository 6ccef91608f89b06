package core_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// TestConsumerShutdown: what was sent finishes, what is new fails, and the provider
// is told after the last request.
func TestConsumerShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(nil, "p:1")
		peer := w.accept(l)
		call := start[string](t.Context(), c, "echo", "Say", "x")
		request := w.readAs(peer, coretest.TypeRequest)
		down := make(chan error, 1)
		go func() { down <- c.Shutdown(t.Context()) }()
		w.readAs(peer, coretest.TypeGoAway)
		synctest.Wait()
		if got := states(c.Conns()); got != "p:1 draining" {
			t.Errorf("got %s, want the connection draining", got)
		}
		_, err := invoke[string](t.Context(), c, "echo", "Say", "new")
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonClosed, phase: spi.PhasePick, sent: spi.SentNo, message: "the consumer is closed by this side"})
		if call.isOver() || len(down) != 0 {
			t.Error("got the end of the call or of Shutdown before the answer")
		}
		w.must(peer.Answer(request, request.Body))
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want the call to finish", got, err)
		}
		if err := <-down; err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
		w.must(peer.AwaitEnd())
		if err := errors.Join(c.Shutdown(t.Context()), c.Close()); err != nil {
			t.Errorf("again: got %v", err)
		}
	})
}

// TestConsumerShutdownCutsOff: what is not over when the time ends fails.
func TestConsumerShutdownCutsOff(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit time.Duration
	}{{"in time", time.Second}, {"no time", 0}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := newWorld(t), newGate()
				w.provider("p:1", nil, g.service())
				c := w.consumer(nil, "p:1")
				calls := []*started[string]{start[string](t.Context(), c, "Gate", "Pass", "1"), start[string](t.Context(), c, "Gate", "Pass", "2")}
				<-g.entered
				<-g.entered
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				begin := time.Now()
				if err := c.Shutdown(ctx); fmt.Sprint(err) != "2 calls cut off at the end of the drain time" || time.Since(begin) != tt.limit {
					t.Errorf("got %v after %v, want two calls cut off", err, time.Since(begin))
				}
				for _, call := range calls {
					_, err := call.wait()
					w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonClosed, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "closed by this side"})
				}
			})
		})
	}
}

// TestConsumerShutdownWithoutConnection: nothing is waited for that has not been
// sent, and no attempt to connect goes on.
func TestConsumerShutdownWithoutConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.listen("silent:1") // takes connections and says nothing
		c := w.consumer(nil, "silent:1", "nobody:1")
		call := start[string](t.Context(), c, "echo", "Say", "x")
		synctest.Wait()
		begin := time.Now()
		if err := c.Shutdown(t.Context()); err != nil || time.Since(begin) != 0 {
			t.Errorf("got %v after %v, want nil at once", err, time.Since(begin))
		}
		_, err := call.wait()
		var e *spi.Error
		if !errors.As(err, &e) || e.Code != spi.Unavailable || e.Reason != spi.ReasonClosed || e.Sent != spi.SentNo {
			t.Errorf("got %v, want UNAVAILABLE, closed, not sent", err)
		}
	})
}

// TestCallsThatWaitForRoomAreNotSent: a queue that is full at Shutdown lets in what
// it holds, and no more.
func TestCallsThatWaitForRoomAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Limits.WriteQueue = 64 << 10 }, "p:1")
		peer := w.accept(l)
		synctest.Wait()
		large := strings.Repeat("x", 60<<10)
		var calls []*started[string]
		for _, text := range []string{"written", "queued" + large, "room" + large} {
			calls = append(calls, start[string](t.Context(), c, "echo", "Say", text))
			synctest.Wait()
		}
		down := make(chan error, 1)
		go func() { down <- c.Shutdown(t.Context()) }()
		synctest.Wait()
		first, second := w.readAs(peer, coretest.TypeRequest), w.readAs(peer, coretest.TypeRequest)
		w.readAs(peer, coretest.TypeGoAway)
		for _, request := range []coretest.Frame{first, second} {
			w.must(peer.Answer(request, request.Body))
		}
		for _, call := range calls[:2] {
			if _, err := call.wait(); err != nil {
				t.Errorf("got %v, want what was queued to finish", err)
			}
		}
		_, err := calls[2].wait()
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonClosed, phase: spi.PhasePick, sent: spi.SentNo, endpoint: "p:1", message: "the consumer is closed by this side"})
		if err := <-down; err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
	})
}

// TestConsumerShutdownUnderLoad: callers never stop; every call is answered, or was
// never sent, and nobody logs a warning.
func TestConsumerShutdownUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), new(worker)
		w.provider("a:1", nil, s)
		w.provider("b:1", nil, s)
		c := w.consumer(nil, "a:1", "b:1")
		synctest.Wait()
		answered := make(chan int, 8)
		for range 8 {
			go func() {
				for n := 0; ; n++ {
					got, err := invoke[int](t.Context(), c, "worker", "Work", n)
					if err == nil && got == n {
						continue
					}
					var e *spi.Error
					if !errors.As(err, &e) || e.Reason != spi.ReasonClosed || e.Sent != spi.SentNo {
						t.Errorf("got %d, %v, want an answer or a call that was not sent", got, err)
					}
					answered <- n
					return
				}
			}()
		}
		<-time.After(50 * time.Millisecond)
		if err := c.Shutdown(t.Context()); err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
		total := 0
		for range 8 {
			total += <-answered
		}
		if got := int(s.runs.Load()); got != total || total < 80 {
			t.Errorf("got %d runs of %d answered calls, want one for each of many", got, total)
		}
		if got := w.logged(logrus.WarnLevel); len(got) != 0 {
			t.Errorf("got %q logged, want nothing", got)
		}
	})
}

// Calls that are cut off at the end of a provider's drain time are lost, so that
// what may run twice is tried elsewhere: none is answered by its handler, which only
// ends because of that.
func TestCutOffCallsAreLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", nil, g.service())
		var calls []*started[string]
		for range 50 {
			calls = append(calls, start[string](t.Context(), w.consumer(nil, "p:1"), "Gate", "Pass", "x"))
			<-g.entered
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Shutdown(ctx); err == nil {
			t.Error("got nil from Shutdown, want how many were cut off")
		}
		for _, call := range calls {
			if _, err := call.wait(); !errors.Is(err, spi.ErrConnLost) {
				t.Errorf("got %v, want spi.ErrConnLost", err)
			}
		}
	})
}
