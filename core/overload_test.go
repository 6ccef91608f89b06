package core_test

import (
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

// TestMaxRequests: what is beyond the bound is refused at once, on all connections
// together, and what is within it finishes.
func TestMaxRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxRequests = 3 }, g.service(), echo{})
		one, two := w.consumer(nil, "p:1"), w.consumer(nil, "p:1")
		var held []*started[string]
		for i, c := range []*core.Consumer{one, one, two} {
			held = append(held, start[string](t.Context(), c, "Gate", "Pass", fmt.Sprint(i)))
			<-g.entered
		}
		for _, c := range []*core.Consumer{one, two} {
			begin := time.Now()
			_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
			w.expect(err, failure{code: spi.ResourceExhausted, reason: spi.ReasonOverloaded, phase: spi.PhaseDispatch, endpoint: "p:1", remote: true,
				message: "3 requests are queued or running", hint: "the key provider.max_requests bounds them"})
			if got := time.Since(begin); got != 0 {
				t.Errorf("got the refusal after %v, want it at once", got)
			}
		}
		if got := p.Requests(); got != 3 {
			t.Errorf("got %d requests, want 3", got)
		}
		g.leave <- struct{}{}
		synctest.Wait()
		if got, err := invoke[string](t.Context(), two, "echo", "Say", "x"); got != "x" || err != nil {
			t.Errorf("got %q, %v when there is room again, want x", got, err)
		}
		close(g.leave)
		for i, call := range held {
			if got, err := call.wait(); got != fmt.Sprint(i) || err != nil {
				t.Errorf("got %q, %v, want %d", got, err, i)
			}
		}
	})
}

// TestPingIsAnswered: whatever handlers are doing, and in front of answers that
// wait.
func TestPingIsAnswered(t *testing.T) {
	ping := func(id uint64) coretest.Frame { return coretest.Frame{Type: coretest.TypePing, ID: id} }
	t.Run("while all handlers block", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, g := newWorld(t), newGate()
			w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxRequests = 2 }, g.service())
			peer := w.dial("p:1")
			for i := range uint64(2) {
				w.must(peer.Write(coretest.Request(i<<20, "Gate", "Pass", []byte(`"x"`))))
				<-g.entered
			}
			for id := range uint64(3) {
				w.must(peer.Write(ping(id)))
				if f := w.readAs(peer, coretest.TypePong); f.ID != id {
					t.Errorf("got %s, want the PONG to %d", f, id)
				}
			}
			close(g.leave)
			w.readAs(peer, coretest.TypeResponse)
			w.readAs(peer, coretest.TypeResponse)
		})
	})
	t.Run("before large answers that wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.provider("p:1", nil, faulty{})
			peer := w.dial("p:1")
			for i := range uint64(3) {
				w.must(peer.Write(coretest.Request((i+1)<<20, "faulty", "Large", []byte("500000"))))
			}
			synctest.Wait() // one is being written, two wait
			for id := range uint64(5) {
				w.must(peer.Write(ping(id)))
			}
			synctest.Wait()
			w.readAs(peer, coretest.TypeResponse)
			if f := w.readAs(peer, coretest.TypePong); f.ID != 4 {
				t.Errorf("got %s, want one PONG for all PINGs", f)
			}
			w.readAs(peer, coretest.TypeResponse)
			w.readAs(peer, coretest.TypeResponse)
		})
	})
	t.Run("by a consumer whose calls wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			l := w.listen("p:1")
			c := w.consumer(nil, "p:1")
			peer := w.accept(l)
			call := start[string](t.Context(), c, "echo", "Say", "x")
			request := w.readAs(peer, coretest.TypeRequest)
			w.must(peer.Write(ping(7)))
			if f := w.readAs(peer, coretest.TypePong); f.ID != 7 {
				t.Errorf("got %s, want the PONG to 7", f)
			}
			w.must(peer.Write(coretest.Frame{Type: coretest.TypePong, ID: 99})) // nobody asked
			w.must(peer.Answer(request, request.Body))
			if _, err := call.wait(); err != nil {
				t.Error(err)
			}
		})
	})
}

// turn is a service whose method takes a moment of virtual time.
type turn struct{}

func (turn) Take(n int) (int, error) { <-time.After(time.Millisecond); return n, nil }

// TestInline: a method that is marked so runs in the reader, one request after the
// other; the others run at the same time.
func TestInline(t *testing.T) {
	for _, tt := range []struct {
		name   string
		inline []string
		want   time.Duration
	}{{"inline", []string{"Take"}, 5 * time.Millisecond}, {"in handlers", nil, time.Millisecond}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s, err := core.NewService("", turn{})
				w.must(err)
				w.must(s.Inline(tt.inline...))
				p := w.provider("p:1", nil, s)
				peer := w.dial("p:1")
				var all []byte
				for i := range 5 {
					all = coretest.AppendFrame(all, coretest.Request(uint64(i)<<20, "turn", "Take", fmt.Append(nil, i)))
				}
				begin := time.Now()
				w.must(peer.WriteRaw(all))
				seen := make(map[string]bool)
				for i := range 5 {
					f := w.readAs(peer, coretest.TypeResponse)
					if seen[string(f.Body)] = true; tt.inline != nil && f.ID != uint64(i)<<20 {
						t.Errorf("got answer %d as number %d, want them in order", f.ID>>20, i)
					}
				}
				if got := time.Since(begin); got != tt.want || len(seen) != 5 {
					t.Errorf("got %d answers after %v, want 5 after %v", len(seen), got, tt.want)
				}
				synctest.Wait()
				if got := p.Requests(); got != 0 {
					t.Errorf("got %d requests, want 0", got)
				}
			})
		})
	}
	s, err := core.NewService("", faulty{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Inline("Fine", "Fien"); err == nil || !strings.HasPrefix(err.Error(), "service faulty has no method Fien; it has Coded, ") {
		t.Errorf("got %v, want the methods there are", err)
	}
}

// TestConsumerThatNeverReads costs what the limits allow, for as long as the write
// timeout at most, and then nothing.
func TestConsumerThatNeverReads(t *testing.T) {
	const requests, size = 32, 64 << 10
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) {
			cfg.MaxRequests = requests
			cfg.Limits.WriteQueue = size
		}, faulty{}, echo{})
		good := w.consumer(nil, "p:1")
		if _, err := invoke[string](t.Context(), good, "faulty", "Large", 1<<20); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := heapInUse()
		peer := w.dial("p:1")
		for i := range uint64(requests) {
			w.must(peer.Write(coretest.Request((i+1)<<20, "faulty", "Large", fmt.Append(nil, size))))
		}
		synctest.Wait()
		if got, most := heapInUse(), before+requests*4*size+1<<20; got > most {
			t.Errorf("got %d KiB while the answers wait, want at most %d KiB", got>>10, most>>10)
		}

		begin := time.Now() // it goes on asking, and the refusals find no room
		sent := 0
		for ; peer.Write(coretest.Request(uint64(requests+sent+1)<<20, "echo", "Say", []byte(`"x"`))) == nil; sent++ {
		}
		if got := time.Since(begin); got != 0 || sent > 1000 {
			t.Errorf("got the end after %v and %d more requests, want it as soon as the queue is full", got, sent)
		}
		synctest.Wait()
		if got := p.Requests(); got != 0 || p.ConnCount() != 1 {
			t.Errorf("got %d requests, %d conns, want 0 and the other consumer's", got, p.ConnCount())
		}
		if got := heapInUse(); got > before+1<<20 {
			t.Errorf("got %d KiB after it is gone, want what there was before: %d KiB", got>>10, before>>10)
		}
		if got, err := invoke[string](t.Context(), good, "echo", "Say", "x"); got != "x" || err != nil {
			t.Errorf("got %q, %v, want the other consumer to go on", got, err)
		}
		if got := w.logged(logrus.WarnLevel); len(got) != 1 || got[0] != "warning disconnected a consumer" {
			t.Errorf("got %q, want one warning", got)
		}
	})
}
