package core_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// dialLog is a Dial that notes when it was used. dial may be nil: everything is
// refused.
type dialLog struct {
	dial func(ctx context.Context, address string) (net.Conn, error)
	at   chan time.Time
}

func newDialLog(dial func(ctx context.Context, address string) (net.Conn, error)) *dialLog {
	return &dialLog{dial: dial, at: make(chan time.Time, 1000)}
}

func (d *dialLog) Dial(ctx context.Context, address string) (net.Conn, error) {
	d.at <- time.Now()
	if d.dial == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return d.dial(ctx, address)
}

// within reports whether a delay is what docs/connections.md §3 says of failure k.
func within(delay time.Duration, k int) bool {
	d := time.Duration(min(float64(30*time.Second), float64(500*time.Millisecond)*math.Pow(1.6, float64(k))))
	return delay >= d/5-time.Microsecond && delay <= d+time.Microsecond
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		d := newDialLog(nil)
		w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial = d.Dial }, "p:1")
		last := <-d.at
		if got := time.Since(last); got != 0 {
			t.Errorf("got the first attempt %v ago, want it at once", got)
		}
		spread := make(map[bool]int) // of the delays at the cap: in the upper half or not
		for k := range 100 {
			now := <-d.at
			delay := now.Sub(last)
			if !within(delay, k) {
				t.Errorf("got %v after failure %d, want what the formula says", delay, k)
			}
			if k > 10 {
				spread[delay > 18*time.Second]++
			}
			last = now
		}
		if len(spread) != 2 {
			t.Errorf("got no jitter at the cap: %v", spread)
		}
	})
}

// TestCallersShareAttempts: however many wait, there is one attempt at a time, its
// outcome is everybody's, and errors count the attempts.
func TestCallersShareAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		outcome := make(chan error)
		d := newDialLog(func(ctx context.Context, address string) (net.Conn, error) {
			if err := <-outcome; err != nil {
				return nil, err
			}
			return w.network.Dial(ctx, address)
		})
		w.provider("p:1", nil, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial = d.Dial }, "p:1")
		const callers = 100
		crowd := func(each func(got string, err error)) *sync.WaitGroup {
			var all sync.WaitGroup
			for range callers {
				all.Go(func() { each(invoke[string](context.Background(), c, "echo", "Say", "x")) })
			}
			synctest.Wait()
			return &all
		}
		for attempt := 1; attempt <= 3; attempt++ {
			<-d.at
			var shared sync.Map
			all := crowd(func(got string, err error) {
				want := "connection refused"
				if attempt > 1 {
					want = fmt.Sprintf("connection refused; %d attempts in ", attempt)
				}
				w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "p:1",
					message: want, hint: "is the provider started?"})
				if _, twice := shared.LoadOrStore(err, true); twice {
					t.Error("got the same error value for two callers, want one each")
				}
			})
			if got := len(d.at); got != 0 {
				t.Errorf("got %d more attempts while one is under way, want none", got)
			}
			outcome <- &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			all.Wait()
		}
		<-d.at
		all := crowd(func(got string, err error) {
			if got != "x" || err != nil {
				t.Errorf("got %q, %v, want x", got, err)
			}
		})
		outcome <- nil
		all.Wait()
		if got := w.network.Link("p:1").Dials(); got != 1 {
			t.Errorf("got %d connections, want 1", got)
		}
	})
}

// TestCallWaitsForTheNextAttempt: between attempts a call waits for the next one.
func TestCallWaitsForTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.consumer(nil, "p:1")
		synctest.Wait() // refused
		call := start[string](t.Context(), c, "echo", "Say", "x")
		w.provider("p:1", nil, echo{})
		begin := time.Now()
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want x", got, err)
		}
		if got := time.Since(begin); !within(got, 0) {
			t.Errorf("got the answer after %v, want it with the next attempt", got)
		}
	})
}

// TestStableConnectionsResetTheCount: what a connection was worth decides how soon
// the next attempt comes.
func TestStableConnectionsResetTheCount(t *testing.T) {
	const (
		refuse = -1               // the attempt fails
		drain  = -2 * time.Second // a connection that is told GOAWAY after 2 s
		short  = 10*time.Second - 1
		stable = 10 * time.Second
	)
	first := func(d time.Duration) bool { return d <= 200*time.Millisecond }
	atOnce := func(d time.Duration) bool { return d == 0 }
	after := func(k int) func(time.Duration) bool {
		return func(d time.Duration) bool { return within(d, k) }
	}
	type step struct {
		lasts time.Duration
		then  func(time.Duration) bool // the delay that follows
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"a stable one", []step{{stable, first}, {stable, first}, {stable, first}}},
		{"failures, then a stable one", []step{{refuse, after(0)}, {refuse, after(1)}, {refuse, after(2)}, {stable, first}, {refuse, after(0)}}},
		{"failures, then a short one", []step{{refuse, after(0)}, {refuse, after(1)}, {short, after(1)}, {refuse, after(3)}}},
		{"a provider that takes connections and drops them", []step{{0, first}, {0, after(0)}, {0, after(1)}, {0, after(2)}, {short, after(3)}, {stable, first}, {short, first}, {short, after(0)}}},
		{"a provider that drains", []step{{drain, atOnce}, {drain, after(0)}, {drain, after(1)}, {stable, first}, {drain, atOnce}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := w.listen("p:1")
				next := make(chan error)
				d := newDialLog(func(ctx context.Context, address string) (net.Conn, error) {
					if err := <-next; err != nil {
						return nil, err
					}
					return w.network.Dial(ctx, address)
				})
				w.consumer(func(cfg *core.ConsumerConfig) {
					cfg.Dial = d.Dial
					cfg.DialTimeout = spi.Duration(10 * time.Minute)
				}, "p:1")
				<-d.at
				for i, s := range tt.steps {
					if s.lasts == refuse {
						next <- syscall.ECONNREFUSED
					} else {
						next <- nil
						peer := w.accept(l)
						synctest.Wait()
						if s.lasts == drain {
							<-time.After(-drain)
							w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "")))
							w.must(peer.AwaitEnd())
						} else {
							if s.lasts > 0 {
								<-time.After(s.lasts)
							}
							w.must(peer.Close())
						}
					}
					ended := time.Now()
					if got := (<-d.at).Sub(ended); !s.then(got) {
						t.Errorf("step %d: got the next attempt after %v, want another delay", i, got)
					}
				}
				w.network.Close()
				next <- errors.New("the end")
			})
		})
	}
}

// counted is a service that counts its executions.
type counted struct{ n atomic.Int32 }

func (c *counted) Run(text string) (string, error) { c.n.Add(1); return text, nil }

// TestCallMovesOnlyUnsent: a call goes on with another endpoint if nothing was sent,
// and never otherwise.
func TestCallMovesOnlyUnsent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(l *coretest.Link)
		moves bool
		runs  int32 // at the first endpoint
	}{
		{"cut before a byte was sent", func(l *coretest.Link) { l.ToProvider.CutAfter(0) }, true, 0},
		{"cut after one byte", func(l *coretest.Link) { l.ToProvider.CutAfter(1) }, false, 0},
		{"cut within the frame", func(l *coretest.Link) { l.ToProvider.CutAfter(coretest.HeaderSize + 3) }, false, 0},
		{"cut before the answer", func(l *coretest.Link) { l.ToConsumer.CutAfter(0) }, false, 1},
		{"cut within the answer", func(l *coretest.Link) { l.ToConsumer.CutAfter(coretest.HeaderSize) }, false, 1},
		{"lost before the call", func(l *coretest.Link) { l.Refuse(); l.Cut() }, true, 0},
		{"dropped on the way", func(l *coretest.Link) { l.ToProvider.Drop() }, false, 0},
		{"answer dropped", func(l *coretest.Link) { l.ToConsumer.Drop() }, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, a, b := newWorld(t), new(counted), new(counted)
				w.provider("a:1", nil, a)
				w.provider("b:1", nil, b)
				c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = inOrder{} }, "a:1", "b:1")
				synctest.Wait()
				tt.fault(w.network.Link("a:1"))
				got, err := invoke[string](t.Context(), c, "counted", "Run", "x")
				var e *spi.Error
				switch {
				case tt.moves && (got != "x" || err != nil):
					t.Errorf("got %q, %v, want the other endpoint's answer", got, err)
				case !tt.moves && (!errors.As(err, &e) || e.Sent != spi.SentMaybe || e.Endpoint != "a:1"):
					t.Errorf("got %q, %v, want an error of a:1 that says maybe", got, err)
				}
				synctest.Wait()
				want := int32(0)
				if tt.moves {
					want = 1
				}
				if a.n.Load() != tt.runs || b.n.Load() != want {
					t.Errorf("got %d runs at the first and %d at the second, want %d and %d", a.n.Load(), b.n.Load(), tt.runs, want)
				}
			})
		})
	}
}

// TestCallTriesEveryEndpoint: it fails with the last error when none is left, and
// asks each only once.
func TestCallTriesEveryEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		addresses := []string{"a:1", "b:1", "c:1"}
		hold := make(map[string]chan bool)
		for _, a := range addresses {
			hold[a] = make(chan bool)
		}
		d := newDialLog(func(_ context.Context, address string) (net.Conn, error) {
			<-hold[address]
			return nil, syscall.ECONNREFUSED
		})
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial = d.Dial; cfg.LoadBalancer = inOrder{} }, addresses...)
		begin := time.Now()
		call := start[string](t.Context(), c, "echo", "Say", "x")
		for _, a := range addresses {
			synctest.Wait()
			if call.isOver() || call.call.Peer != a {
				t.Errorf("got the call over: %t, at %s, want it to wait for %s", call.isOver(), call.call.Peer, a)
			}
			close(hold[a])
		}
		_, err := call.wait()
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "c:1",
			message: "connection refused", hint: "is the provider started?"})
		if !errors.Is(err, syscall.ECONNREFUSED) || !errors.Is(err, spi.ErrConnLost) {
			t.Errorf("got %v, want it to match its cause and spi.ErrConnLost", err)
		}
		if got := time.Since(begin); got != 0 {
			t.Errorf("got the error after %v, want it as soon as the last attempt failed", got)
		}
	})
}
