package core_test

import (
	"context"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// refusal is an ERROR with all that decides.
func refusal(id uint64, code spi.Code, reason string, phase spi.Phase) coretest.Frame {
	return coretest.Frame{Type: coretest.TypeError, Code: uint8(code), ID: id, Body: wire.AppendError(nil, wire.ErrorBody{Message: "no", Reason: reason, Phase: string(phase)})}
}

// marked makes Say of echo idempotent, for consumers that pick in order.
func marked(cfg *core.ConsumerConfig) {
	cfg.LoadBalancer = inOrder{}
	cfg.References = map[string]core.Reference{"echo": {Idempotent: []string{"Say"}}}
}

func unmarked(cfg *core.ConsumerConfig) { cfg.LoadBalancer = inOrder{} }

// TestWhatIsMadeAgain is the table of docs/connections.md §5: one endpoint fails a
// request that it has read, and another one gets it or not.
func TestWhatIsMadeAgain(t *testing.T) {
	type answer = func(w *world, peer *coretest.Peer, request coretest.Frame)
	lost := func(w *world, peer *coretest.Peer, _ coretest.Frame) { w.must(peer.Close()) }
	saying := func(code spi.Code, reason string, phase spi.Phase) answer {
		return func(w *world, peer *coretest.Peer, request coretest.Frame) {
			w.must(peer.Write(refusal(request.ID, code, reason, phase)))
		}
	}
	unreadable := func(w *world, peer *coretest.Peer, request coretest.Frame) {
		w.must(peer.Answer(request, []byte("{")))
	}
	for _, tt := range []struct {
		name   string
		fail   answer
		always bool // whatever the mark
		marked bool // if it is marked
	}{
		{"lost", lost, false, true},
		{"refused, overloaded", saying(spi.ResourceExhausted, spi.ReasonOverloaded, spi.PhaseDispatch), true, true},
		{"refused, unavailable", saying(spi.Unavailable, "", spi.PhaseDispatch), true, true},
		{"refused, exhausted otherwise", saying(spi.ResourceExhausted, "quota", spi.PhaseDispatch), false, false},
		{"refused, no such method", saying(spi.Unimplemented, "", spi.PhaseDispatch), false, false},
		{"refused, too late", saying(spi.DeadlineExceeded, "", spi.PhaseDispatch), false, false},
		{"overloaded, says the handler", saying(spi.ResourceExhausted, spi.ReasonOverloaded, spi.PhaseHandler), false, false},
		{"unavailable, says the handler", saying(spi.Unavailable, spi.ReasonEOF, spi.PhaseHandler), false, false},
		{"aborted, says the handler", saying(spi.Aborted, "", spi.PhaseHandler), false, false},
		{"an error without a phase", saying(spi.Unavailable, "", ""), false, false},
		{"an answer that cannot be read", unreadable, false, false},
	} {
		for _, mark := range []struct {
			name string
			on   bool
			edit func(*core.ConsumerConfig)
			call bool
		}{
			{"unmarked", false, unmarked, false},
			{"marked by key", true, marked, false},
			{"marked in code", true, unmarked, true},
			{"marked and only one attempt", false, func(cfg *core.ConsumerConfig) { marked(cfg); cfg.Retry.Attempts = 1 }, true},
		} {
			t.Run(tt.name+", "+mark.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					l1, l2 := w.listen("p:1"), w.listen("p:2")
					c := w.consumer(mark.edit, "p:1", "p:2")
					first, second := w.accept(l1), w.accept(l2)
					synctest.Wait()
					var reply string
					over := make(chan error, 1)
					go func() {
						over <- c.Invoke(t.Context(), &spi.Call{Method: c.Method("echo", "Say"), Args: spi.Values{"x"}, Reply: &reply, Idempotent: mark.call})
					}()
					tt.fail(w, first, w.readAs(first, coretest.TypeRequest))
					if want := mark.on && tt.marked || tt.always && !strings.Contains(mark.name, "only one"); !want {
						if err := <-over; err == nil || reply != "" {
							t.Errorf("got %q, %v, want the error", reply, err)
						}
						return
					}
					request := w.readAs(second, coretest.TypeRequest)
					w.must(second.Answer(request, request.Body))
					if err := <-over; err != nil || reply != "x" {
						t.Errorf("got %q, %v, want x", reply, err)
					}
				})
			})
		}
	}
}

// TestRetryTells: the error is the last one, says where the call was before, and
// promises no more than the worst attempt does.
func TestRetryTells(t *testing.T) {
	refused := func(w *world, peer *coretest.Peer, id uint64) {
		w.must(peer.Write(refusal(id, spi.ResourceExhausted, spi.ReasonOverloaded, spi.PhaseDispatch)))
	}
	closed := func(w *world, peer *coretest.Peer, id uint64) { w.must(peer.Close()) }
	cut := func(w *world, peer *coretest.Peer, id uint64) { w.network.Link("p:3").Cut() }
	wrong := func(w *world, peer *coretest.Peer, id uint64) {
		w.must(peer.Write(refusal(id, spi.NotFound, "", spi.PhaseHandler)))
	}
	silent := func(*world, *coretest.Peer, uint64) {}
	for _, tt := range []struct {
		name string
		do   []func(w *world, peer *coretest.Peer, id uint64)
		want failure
	}{
		{"lost three times", []func(*world, *coretest.Peer, uint64){closed, closed, cut},
			failure{code: spi.Unavailable, reason: spi.ReasonReset, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:3", message: "the connection was reset; attempt 3, before it: p:1 (eof), p:2 (eof)"}},
		{"lost, then refused", []func(*world, *coretest.Peer, uint64){closed, refused, refused},
			failure{code: spi.ResourceExhausted, reason: spi.ReasonOverloaded, phase: spi.PhaseDispatch, sent: spi.SentMaybe, endpoint: "p:3", remote: true, message: "no; attempt 3, before it: p:1 (eof), p:2 (overloaded)"}},
		{"refused everywhere", []func(*world, *coretest.Peer, uint64){refused, refused, refused},
			failure{code: spi.ResourceExhausted, reason: spi.ReasonOverloaded, phase: spi.PhaseDispatch, endpoint: "p:3", remote: true, message: "no; attempt 3, before it: p:1 (overloaded), p:2 (overloaded)"}},
		{"then the handler decides", []func(*world, *coretest.Peer, uint64){closed, wrong},
			failure{code: spi.NotFound, phase: spi.PhaseHandler, sent: spi.SentMaybe, endpoint: "p:2", remote: true, message: "no; attempt 2, before it: p:1 (eof)"}},
		{"then time is over", []func(*world, *coretest.Peer, uint64){refused, silent},
			failure{code: spi.DeadlineExceeded, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:2", message: "the deadline passed; attempt 2, before it: p:1 (overloaded)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				addresses := []string{"p:1", "p:2", "p:3"}
				var listeners []net.Listener
				for _, a := range addresses {
					listeners = append(listeners, w.listen(a))
				}
				c := w.consumer(marked, addresses...)
				var peers []*coretest.Peer
				for _, l := range listeners {
					peers = append(peers, w.accept(l))
				}
				synctest.Wait()
				call := start[string](t.Context(), c, "echo", "Say", "x")
				for i, do := range tt.do {
					do(w, peers[i], w.readAs(peers[i], coretest.TypeRequest).ID)
				}
				_, err := call.wait()
				if e := w.expect(err, tt.want); e.Message != tt.want.message {
					t.Errorf("got message %q, want %q", e.Message, tt.want.message)
				}
			})
		})
	}
}

// TestRetryComesBack: where there is one endpoint, an idempotent call is made there
// again, and a refused one is not.
func TestRetryComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(marked, "p:1")
		first := w.accept(l)
		call := start[string](t.Context(), c, "echo", "Say", "x")
		w.readAs(first, coretest.TypeRequest)
		w.must(first.Close())
		second := w.accept(l)
		request := w.readAs(second, coretest.TypeRequest)
		w.must(second.Answer(request, request.Body))
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want x", got, err)
		}
		call = start[string](t.Context(), c, "echo", "Say", "x")
		request = w.readAs(second, coretest.TypeRequest)
		begin := time.Now()
		w.must(second.Write(refusal(request.ID, spi.ResourceExhausted, spi.ReasonOverloaded, spi.PhaseDispatch)))
		_, err := call.wait()
		w.expect(err, failure{code: spi.ResourceExhausted, reason: spi.ReasonOverloaded, phase: spi.PhaseDispatch, endpoint: "p:1", remote: true, message: "no"})
		if got := time.Since(begin); got != 0 {
			t.Errorf("got the refusal after %v, want it at once", got)
		}
	})
}

// TestRetryNotPastDeadline: a backoff that ends after the deadline is not waited
// for.
func TestRetryNotPastDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			marked(cfg)
			cfg.Retry.Backoff = core.RetryBackoff{Base: spi.Duration(time.Minute), Cap: spi.Duration(time.Hour)}
		}, "p:1")
		peer := w.accept(l)
		synctest.Wait()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond) // no random wait is as short
		defer cancel()
		call := start[string](ctx, c, "echo", "Say", "x")
		w.readAs(peer, coretest.TypeRequest)
		w.must(peer.Close())
		_, err := call.wait()
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonEOF, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "the peer closed the connection"})
		if got := time.Since(begin); got != 0 {
			t.Errorf("got the error after %v, want it at once", got)
		}
	})
}

// liar claims what only the engine may.
type liar struct {
	mu  sync.Mutex
	ran int
}

func (l *liar) Say(string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ran++
	return "", &spi.Error{Code: spi.ResourceExhausted, Reason: spi.ReasonOverloaded, Phase: spi.PhaseDispatch, Message: "not me"}
}

// TestDispatchIsAPromise: a handler that ran cannot make the call run again.
func TestDispatchIsAPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), new(liar)
		w.provider("p:1", nil, s)
		w.provider("p:2", nil, s)
		c := w.consumer(unmarked, "p:1", "p:2")
		synctest.Wait()
		_, err := invoke[string](t.Context(), c, "liar", "Say", "x")
		w.expect(err, failure{code: spi.ResourceExhausted, reason: spi.ReasonOverloaded, phase: spi.PhaseHandler, endpoint: "p:1", remote: true, message: "not me"})
		if s.ran != 1 {
			t.Errorf("got %d runs, want 1", s.ran)
		}
	})
}

// TestOverloadGoesElsewhere: what one real provider refuses another one runs, once.
func TestOverloadGoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxRequests = 1 }, g.service())
		w.provider("p:2", nil, g.service())
		c := w.consumer(unmarked, "p:1", "p:2")
		synctest.Wait()
		held := start[string](t.Context(), c, "Gate", "Pass", "held")
		<-g.entered
		other := start[string](t.Context(), c, "Gate", "Pass", "other")
		<-g.entered
		if got := p.Requests(); got != 1 || other.isOver() {
			t.Errorf("got %d requests at p:1, want 1, and the other call at p:2", got)
		}
		close(g.leave)
		for _, call := range []*started[string]{held, other} {
			if _, err := call.wait(); err != nil {
				t.Error(err)
			}
		}
		if held.call.Peer != "p:1" || other.call.Peer != "p:2" {
			t.Errorf("got peers %s and %s, want p:1 and p:2", held.call.Peer, other.call.Peer)
		}
	})
}

// outage is a service whose every answer is lost.
type outage struct {
	mu  sync.Mutex
	ran int
	cut func()
}

func (o *outage) Read(int) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ran++
	o.cut()
	return 0, nil
}

// TestOutageIsNotMultiplied: N calls one after the other, none of which is answered,
// are sent exactly N + burst + ratio·(N-1) times: the first finds the bucket full.
func TestOutageIsNotMultiplied(t *testing.T) {
	for _, tt := range []struct {
		name     string
		calls    int
		attempts int
		budget   core.RetryBudget
		want     int
	}{
		{"the default", 1001, 3, core.DefaultRetry().Budget, 1001 + 100 + 100},
		{"no burst, no retry", 50, 3, core.RetryBudget{Ratio: 1, Burst: 0}, 50},
		{"only the burst", 50, 3, core.RetryBudget{Ratio: 0, Burst: 7}, 50 + 7},
		{"attempts are the bound", 50, 2, core.RetryBudget{Ratio: 1, Burst: 10}, 50 + 50},
		{"one attempt", 50, 1, core.RetryBudget{Ratio: 1, Burst: 10}, 50},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newWorld(t), new(outage)
				s.cut = func() { w.network.Link("p:1").Cut(); w.network.Link("p:2").Cut() }
				w.provider("p:1", nil, s)
				w.provider("p:2", nil, s)
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					cfg.Timeout = spi.Duration(time.Hour)
					cfg.References = map[string]core.Reference{"outage": {Idempotent: []string{"Read"}}}
					cfg.Retry.Attempts, cfg.Retry.Budget = tt.attempts, tt.budget
				}, "p:1", "p:2")
				spent := 0
				for i := range tt.calls {
					_, err := invoke[int](t.Context(), c, "outage", "Read", i)
					e := w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonReset, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: endpointOf(err), message: "the connection was reset", hint: hintOf(err)})
					if strings.HasSuffix(e.Message, "; not tried again: the retry budget is spent") && strings.Contains(e.Hint, "consumer.retry.budget") {
						spent++
					}
				}
				if s.ran != tt.want {
					t.Errorf("got %d attempts of %d calls, want %d", s.ran, tt.calls, tt.want)
				}
				if bounded := tt.attempts > 1 && tt.name != "attempts are the bound"; (spent > 0) != bounded {
					t.Errorf("got %d errors that speak of the budget, want some: %v", spent, bounded)
				}
			})
		})
	}
}

func endpointOf(err error) string {
	if e, ok := err.(*spi.Error); ok {
		return e.Endpoint
	}
	return ""
}

func hintOf(err error) string {
	if e, ok := err.(*spi.Error); ok {
		return e.Hint
	}
	return ""
}

// TestBudgetFills: what healthy calls save up is the burst, and no more.
func TestBudgetFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), new(outage)
		s.cut = func() {}
		w.provider("p:1", nil, s)
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.References = map[string]core.Reference{"outage": {Idempotent: []string{"Read"}}}
			cfg.Timeout, cfg.Reconnect.Stable = spi.Duration(time.Hour), 0
			cfg.Retry.Attempts, cfg.Retry.Budget = 10, core.RetryBudget{Ratio: 0.5, Burst: 4}
		}, "p:1")
		healthy := func(n int) {
			for range n {
				if _, err := invoke[int](t.Context(), c, "outage", "Read", 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		lose := func(want int) {
			t.Helper()
			s.ran, s.cut = 0, w.network.Link("p:1").Cut
			if _, err := invoke[int](context.Background(), c, "outage", "Read", 0); err == nil || s.ran != want {
				t.Errorf("got %v after %d attempts, want a failure after %d", err, s.ran, want)
			}
			s.cut = func() {}
		}
		healthy(100)
		lose(1 + 4)
		healthy(3) // with the call itself 4 halves
		lose(1 + 2)
		healthy(100)
		lose(1 + 4)
	})
}

// TestRetryWaits: the backoff is in its range, jittered over all of it, and no
// duration overflows.
func TestRetryWaits(t *testing.T) {
	b := core.RetryBackoff{Base: spi.Duration(10 * time.Millisecond), Cap: spi.Duration(50 * time.Millisecond)}
	for k, most := range []time.Duration{10, 20, 40, 50, 50, 50} {
		most *= time.Millisecond
		var waits []time.Duration
		for range 1000 {
			waits = append(waits, core.RetryWait(b, k+1))
		}
		if low, high := slices.Min(waits), slices.Max(waits); low < 0 || low > most/10 || high > most || high < most*9/10 {
			t.Errorf("retry %d: got waits from %v to %v, want them from 0 to %v", k+1, low, high, most)
		}
	}
	if got := core.RetryWait(core.RetryBackoff{}, 3); got != 0 {
		t.Errorf("got %v without a backoff, want 0", got)
	}
	long := core.RetryBackoff{Base: spi.Duration(time.Minute), Cap: math.MaxInt64 - 1}
	if got := core.RetryWait(long, 10); got < 0 || got > 512*time.Minute {
		t.Errorf("got %v, want at most 512 minutes", got)
	}
}
