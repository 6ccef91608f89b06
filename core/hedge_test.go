package core_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

const ms = time.Millisecond

// shelf is a service that takes its time, at one endpoint.
type shelf struct {
	name string
	took time.Duration
	err  error

	mu        sync.Mutex
	ran       int
	cancelled []time.Time
}

func (s *shelf) Read(ctx context.Context) (string, error) {
	s.mu.Lock()
	s.ran++
	s.mu.Unlock()
	select {
	case <-time.After(s.took):
		return s.name, s.err
	case <-ctx.Done():
		s.mu.Lock()
		s.cancelled = append(s.cancelled, time.Now())
		s.mu.Unlock()
		<-time.After(ms) // the answer is late, whatever came first
		return "", ctx.Err()
	}
}

// hedging is a consumer's configuration that hedges Read of shelf after 50 ms.
func hedging(cfg *core.ConsumerConfig) {
	cfg.LoadBalancer = inOrder{}
	cfg.Timeout = spi.Duration(time.Second)
	cfg.References = map[string]core.Reference{"shelf": {Idempotent: []string{"Read"}, Hedge: spi.Duration(50 * ms)}}
	cfg.Retry.Backoff.Base = 0
}

func TestHedge(t *testing.T) {
	const forever = time.Hour
	notFound := &spi.Error{Code: spi.NotFound, Message: "no such book"}
	overloaded := func(cfg *core.ProviderConfig) { cfg.MaxRequests = 1 }
	cut := func(at time.Duration, address string) func(w *world) {
		return func(w *world) {
			go func() {
				<-time.After(at)
				w.network.Link(address).Cut()
			}()
		}
	}
	for _, tt := range []struct {
		name string
		edit func(cfg *core.ConsumerConfig)
		a, b *shelf // b nil: there is no second endpoint
		full bool   // b takes no request
		do   func(w *world)

		want      string
		fails     *failure // nil: it does not
		after     time.Duration
		ranA      int
		ranB      int
		cancelled string // whose handler is cancelled when the call ends
	}{
		{name: "an answer in time", a: &shelf{name: "a", took: 50*ms - 1}, b: &shelf{name: "b"}, want: "a", after: 50*ms - 1, ranA: 1},
		{name: "the second is faster", a: &shelf{name: "a", took: forever}, b: &shelf{name: "b", took: 10 * ms}, want: "b", after: 60 * ms, ranA: 1, ranB: 1, cancelled: "a"},
		{name: "the first is faster", a: &shelf{name: "a", took: 70 * ms}, b: &shelf{name: "b", took: forever}, want: "a", after: 70 * ms, ranA: 1, ranB: 1, cancelled: "b"},
		{name: "the second knows better", a: &shelf{name: "a", took: forever}, b: &shelf{name: "b", took: 10 * ms, err: notFound},
			fails: &failure{code: spi.NotFound, phase: spi.PhaseHandler, endpoint: "b:1", remote: true, message: "no such book"}, after: 60 * ms, ranA: 1, ranB: 1, cancelled: "a"},
		{name: "the first is lost while both are asked", do: cut(55*ms, "a:1"), a: &shelf{name: "a", took: forever}, b: &shelf{name: "b", took: 100 * ms}, want: "b", after: 150 * ms, ranA: 1, ranB: 1},
		{name: "the second is lost while both are asked", do: cut(55*ms, "b:1"), a: &shelf{name: "a", took: 100 * ms}, b: &shelf{name: "b", took: forever}, want: "a", after: 100 * ms, ranA: 1, ranB: 1},
		{name: "the second is full", full: true, a: &shelf{name: "a", took: 100 * ms}, b: &shelf{name: "b", took: forever}, want: "a", after: 100 * ms, ranA: 1, ranB: 1},
		{name: "neither answers", a: &shelf{name: "a", took: forever}, b: &shelf{name: "b", took: forever},
			fails: &failure{code: spi.DeadlineExceeded, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "a:1", message: "the deadline passed; it was sent to b:1 too"}, after: time.Second, ranA: 1, ranB: 1, cancelled: "ab"},
		{name: "both are lost", do: func(w *world) { cut(55*ms, "a:1")(w); cut(60*ms, "b:1")(w) }, a: &shelf{name: "a", took: 300 * ms}, b: &shelf{name: "b", took: 300 * ms},
			edit:  func(cfg *core.ConsumerConfig) { cfg.Reconnect.First, cfg.Retry.Attempts = 0, 2 },
			fails: &failure{code: spi.Unavailable, reason: spi.ReasonReset, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "b:1", message: "the connection was reset; attempt 2, before it: a:1 (reset)"}, after: 60 * ms, ranA: 1, ranB: 1},
		{name: "both are lost, and there is a third attempt", do: func(w *world) { cut(55*ms, "a:1")(w); cut(60*ms, "b:1")(w) }, a: &shelf{name: "a", took: 100 * ms}, b: &shelf{name: "b", took: 100 * ms},
			edit: func(cfg *core.ConsumerConfig) { cfg.Reconnect.First = 0 }, want: "a", after: 160 * ms, ranA: 2, ranB: 1},
		{name: "both in the same moment", a: &shelf{name: "same", took: 70 * ms}, b: &shelf{name: "same", took: 20 * ms}, want: "same", after: 70 * ms, ranA: 1, ranB: 1},
		{name: "not marked", a: &shelf{name: "a", took: 100 * ms}, b: &shelf{name: "b"},
			edit: func(cfg *core.ConsumerConfig) { cfg.References["shelf"] = core.Reference{Hedge: spi.Duration(50 * ms)} }, want: "a", after: 100 * ms, ranA: 1},
		{name: "one endpoint", a: &shelf{name: "a", took: 100 * ms}, want: "a", after: 100 * ms, ranA: 1},
		{name: "the first is lost before the hedge", do: cut(10*ms, "a:1"), a: &shelf{name: "a", took: forever}, b: &shelf{name: "b", took: 10 * ms}, want: "b", after: 20 * ms, ranA: 1, ranB: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Cleanup(core.TraceBuffers(t))
				w := newWorld(t)
				shelves, addresses := []*shelf{tt.a, tt.b}, []string{"a:1", "b:1"}
				if tt.b == nil {
					shelves, addresses = shelves[:1], addresses[:1]
				}
				for i, s := range shelves {
					service, err := core.NewService("shelf", s)
					w.must(err)
					var limit func(*core.ProviderConfig)
					if tt.full && i == 1 {
						limit = overloaded
					}
					w.provider(addresses[i], limit, service)
				}
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					hedging(cfg)
					if tt.edit != nil {
						tt.edit(cfg)
					}
				}, addresses...)
				synctest.Wait()
				if tt.full {
					filler := w.consumer(nil, "b:1")
					start[string](t.Context(), filler, "shelf", "Read")
					synctest.Wait()
				}
				if tt.do != nil {
					tt.do(w)
				}
				begin := time.Now()
				call := start[string](t.Context(), c, "shelf", "Read")
				got, err := call.wait()
				if took := time.Since(begin); took != tt.after {
					t.Errorf("got the end after %v, want it after %v", took, tt.after)
				}
				if tt.fails != nil {
					w.expect(err, *tt.fails)
				} else if got != tt.want || err != nil || call.call.Peer != tt.want+":1" && tt.want != "same" {
					t.Errorf("got %q of %s, %v, want %s", got, call.call.Peer, err, tt.want)
				}
				synctest.Wait()
				if b := shelves[len(shelves)-1]; tt.a.ran != tt.ranA || tt.b != nil && b.ran != tt.ranB {
					t.Errorf("got %d and %d runs, want %d and %d", tt.a.ran, b.ran, tt.ranA, tt.ranB)
				}
				cancelled := ""
				for _, s := range shelves {
					for _, at := range s.cancelled {
						if at.Sub(begin) == tt.after && tt.do == nil {
							cancelled += s.name
						}
					}
				}
				if cancelled != tt.cancelled && !(tt.want == "same" && cancelled == "same") { // there the loser may have answered, or be cancelled still
					t.Errorf("got %q cancelled at the end, want %q", cancelled, tt.cancelled)
				}
				if got := c.SlotsInUse(); got != 0 {
					t.Errorf("got %d slots in use, want 0", got)
				}
			})
		})
	}
}

// TestHedgeOnTheWire: the second request has what is left of the time, and the loser
// is cancelled by its own id.
func TestHedgeOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l1, l2 := w.listen("p:1"), w.listen("p:2")
		c := w.consumer(hedging, "p:1", "p:2")
		first, second := w.accept(l1), w.accept(l2)
		synctest.Wait()
		call := start[string](t.Context(), c, "shelf", "Read")
		slow := w.readAs(first, coretest.TypeRequest)
		fast := w.readAs(second, coretest.TypeRequest)
		if slow.Timeout != time.Second || fast.Timeout != time.Second-50*ms {
			t.Errorf("got timeouts %v and %v, want 1s and 950ms", slow.Timeout, fast.Timeout)
		}
		w.must(second.Answer(fast, []byte(`"fast"`)))
		if got, err := call.wait(); got != "fast" || err != nil {
			t.Errorf("got %q, %v, want fast", got, err)
		}
		if cancel := w.readAs(first, coretest.TypeCancel); cancel.ID != slow.ID {
			t.Errorf("got %s, want it for %s", cancel, slow)
		}
		w.must(first.Answer(slow, []byte(`"slow"`))) // nobody waits for it
		synctest.Wait()

		ctx, cancel := context.WithCancel(t.Context())
		call = start[string](ctx, c, "shelf", "Read")
		slow = w.readAs(first, coretest.TypeRequest)
		fast = w.readAs(second, coretest.TypeRequest)
		cancel()
		_, err := call.wait()
		w.expect(err, failure{code: spi.Canceled, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "the caller gave up; it was sent to p:2 too"})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it to match context.Canceled", err)
		}
		for peer, request := range map[*coretest.Peer]coretest.Frame{first: slow, second: fast} {
			if cancel := w.readAs(peer, coretest.TypeCancel); cancel.ID != request.ID {
				t.Errorf("got %s, want it for %s", cancel, request)
			}
		}

		// Nobody is counted as waiting any more, so both connections can drain.
		for _, peer := range []*coretest.Peer{first, second} {
			w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "enough")))
			w.must(peer.AwaitEnd())
		}
	})
}

// fragile is a serializer that panics over results.
type fragile struct{ jsonSerializer }

func (fragile) Decode([]byte, any) error { panic("fragile") }

// TestHedgeAndPanic: a serializer that panics leaves nothing of either attempt.
func TestHedgeAndPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, a, b := newWorld(t), &shelf{name: "a", took: time.Hour}, &shelf{name: "b"}
		w.provider("a:1", nil, a)
		w.provider("b:1", nil, b)
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			hedging(cfg)
			cfg.Serializer = fragile{}
		}, "a:1", "b:1")
		synctest.Wait()
		func() {
			defer func() {
				if got := recover(); got != "fragile" {
					t.Errorf("got panic %v, want the serializer's", got)
				}
			}()
			_, _ = invoke[string](t.Context(), c, "shelf", "Read")
		}()
		synctest.Wait()
		if got := c.SlotsInUse(); got != 0 || c.InFlight() != 0 {
			t.Errorf("got %d slots in use and %d calls in flight, want none", got, c.InFlight())
		}
		if len(a.cancelled) != 1 || b.ran != 1 {
			t.Errorf("got %d handlers cancelled at a and %d runs at b, want one each", len(a.cancelled), b.ran)
		}
	})
}

// pageful is a service with an argument, at one endpoint.
type pageful struct {
	name string
	took time.Duration
}

func (p pageful) Read(string) (string, error) {
	<-time.After(p.took)
	return p.name, nil
}

// A hedge that is never sent costs no token.
func TestHedgeThatIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(core.TraceBuffers(t))
		w := newWorld(t)
		for _, tt := range []struct {
			address string
			limit   spi.Size
			impl    pageful
		}{{"a:1", 1 << 20, pageful{"a", 200 * ms}}, {"b:1", 100_000, pageful{"b", 0}}} {
			s, err := core.NewService("shelf", tt.impl)
			w.must(err)
			w.provider(tt.address, func(cfg *core.ProviderConfig) { cfg.Limits.Message = tt.limit }, s)
		}
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			hedging(cfg)
			cfg.Retry.Budget = core.RetryBudget{Ratio: 0, Burst: 1}
		}, "a:1", "b:1")
		synctest.Wait()
		for _, tt := range []struct {
			name, text, want string
		}{{"too large for the second", strings.Repeat("x", 200_000), "a"}, {"small", "x", "b"}, {"small, and the token is spent", "x", "a"}} {
			if got, err := invoke[string](t.Context(), c, "shelf", "Read", tt.text); got != tt.want || err != nil {
				t.Errorf("%s: got %q, %v, want %s", tt.name, got, err, tt.want)
			}
		}
		if got := c.InFlight(); got != 0 {
			t.Errorf("got %d calls that the load still counts, want 0", got)
		}
	})
}

// TestHedgesAreBounded: where everything is slow, hedges cost what the budget
// allows: the burst, and a tenth of the calls.
func TestHedgesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), &shelf{name: "any", took: 100 * ms}
		w.provider("a:1", nil, s)
		w.provider("b:1", nil, s)
		c := w.consumer(hedging, "a:1", "b:1")
		synctest.Wait()
		const calls = 1001
		for range calls {
			if _, err := invoke[string](t.Context(), c, "shelf", "Read"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := s.ran; got != calls+100+100 {
			t.Errorf("got %d runs of %d calls, want %d", got, calls, calls+100+100)
		}
	})
}
