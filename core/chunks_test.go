package core_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// chunky shakes hands as a peer that knows chunks.
var chunky = coretest.Hello{Serializers: []string{"json"}, Features: []string{"chunks"}}

func (w *world) acceptChunky(address string) func() *coretest.Peer {
	l := w.listen(address)
	return func() *coretest.Peer {
		w.Helper()
		nc, err := l.Accept()
		w.must(err)
		p := coretest.NewPeer(nc)
		_, err = p.BeProvider(chunky)
		w.must(err)
		w.Cleanup(func() { p.Close() })
		return p
	}
}

func (w *world) dialChunky(address string) *coretest.Peer {
	w.Helper()
	nc, err := w.network.Dial(context.Background(), address)
	w.must(err)
	p := coretest.NewPeer(nc)
	_, err = p.BeConsumer(chunky)
	w.must(err)
	w.Cleanup(func() { p.Close() })
	return p
}

// quoted is a JSON string of n bytes in all.
func quoted(n int) []byte { return []byte(`"` + strings.Repeat("x", n-2) + `"`) }

// readBody reads the chunks that follow a first frame.
func (w *world) readBody(p *coretest.Peer, first coretest.Frame) []byte {
	w.Helper()
	body := first.Body
	for f := first; f.Flags&coretest.FlagMore != 0; {
		f = w.readAs(p, coretest.TypeChunk)
		if f.ID != first.ID || len(f.Body) > 64<<10 {
			w.Fatalf("got %s, want at most 64 KiB of call %d", f, first.ID)
		}
		body = append(body, f.Body...)
	}
	return body
}

func TestLargeCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		c := w.consumer(nil, "p:1")
		var calls []*started[string]
		for _, n := range []int{65_510, 65_511, 65_513, 131_024, 131_025, 5 << 20, 100, 16<<20 - 100} {
			calls = append(calls, start[string](t.Context(), c, "echo", "Say", string(quoted(n-2))))
		}
		for _, call := range calls {
			if got, err := call.wait(); err != nil || got != call.call.Args.At(0) {
				t.Errorf("got %d bytes, %v, want the %d that were sent", len(got), err, len(call.call.Args.At(0).(string)))
			}
		}
	})
}

// What a consumer sends of a large request, and what stays between the parts.
func TestLargeRequestLetsOthersPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		accept := w.acceptChunky("p:1")
		c := w.consumer(nil, "p:1")
		p := accept()
		ctx, cancel := context.WithCancel(t.Context())
		large := start[string](ctx, c, "echo", "Say", string(quoted(1<<20)))
		first := w.readAs(p, coretest.TypeRequest)
		w.readAs(p, coretest.TypeChunk)
		synctest.Wait() // the next one is being written
		small := start[string](t.Context(), c, "echo", "Say", "small")
		synctest.Wait()
		w.must(p.Write(coretest.Frame{Type: coretest.TypePing, ID: 3}))
		synctest.Wait()
		w.readAs(p, coretest.TypeChunk)
		w.readAs(p, coretest.TypePong)
		w.must(p.Answer(w.readAs(p, coretest.TypeRequest), []byte(`"small"`)))
		if got, err := small.wait(); got != "small" || err != nil {
			t.Errorf("got %q, %v, want small, before the large request is whole", got, err)
		}
		cancel()
		_, err := large.wait()
		w.expect(err, failure{code: spi.Canceled, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "the caller gave up"})
		w.readAs(p, coretest.TypeChunk) // was under way
		if f := w.readAs(p, coretest.TypeCancel); f.ID != first.ID {
			t.Errorf("got %s, want the CANCEL of %d", f, first.ID)
		}
		again := start[string](t.Context(), c, "echo", "Say", "again")
		w.must(p.Answer(w.readAs(p, coretest.TypeRequest), []byte(`"again"`)))
		if _, err := again.wait(); err != nil {
			t.Error(err)
		}
	})
}

// An error that comes before the request is whole ends its chunks.
func TestLargeRequestIsRefusedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		accept := w.acceptChunky("p:1")
		c := w.consumer(nil, "p:1")
		p := accept()
		call := start[string](t.Context(), c, "echo", "Say", string(quoted(1<<20)))
		first := w.readAs(p, coretest.TypeRequest)
		synctest.Wait() // a chunk is being written
		w.must(p.Write(coretest.Failure(first.ID, spi.PermissionDenied, "not you")))
		_, err := call.wait()
		w.expect(err, failure{code: spi.PermissionDenied, endpoint: "p:1", remote: true, message: "not you"})
		w.readAs(p, coretest.TypeChunk) // was under way
		again := start[string](t.Context(), c, "echo", "Say", "again")
		w.must(p.Answer(w.readAs(p, coretest.TypeRequest), []byte(`"again"`)))
		if _, err := again.wait(); err != nil {
			t.Error(err)
		}
	})
}

// The first frame is the request for everything but its arguments.
func TestProviderCollects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", nil, g.service(), echo{})
		peer := w.dialChunky("p:1")
		whole := coretest.Cut(coretest.Request(1<<20, "echo", "Say", quoted(100_000)), 30_000)
		w.must(peer.Write(whole[0]))
		w.must(peer.Write(whole[1]))
		other := coretest.Cut(coretest.Request(2<<20, "echo", "Say", quoted(70_000)), 64<<10)
		w.must(peer.Write(other[0]))
		w.must(peer.Write(coretest.Request(3<<20, "echo", "Say", []byte(`"between"`))))
		if f := w.readAs(peer, coretest.TypeResponse); f.ID != 3<<20 {
			t.Errorf("got %s, want the answer to the small call first", f)
		}
		synctest.Wait() // its place is free a little after its answer
		if got := p.Requests(); got != 2 {
			t.Errorf("got %d requests, want 2 that are being collected", got)
		}
		w.must(peer.Write(coretest.Frame{Type: coretest.TypeCancel, ID: 2 << 20}))
		w.must(peer.Write(other[1])) // too late
		synctest.Wait()
		if got := p.Requests(); got != 1 {
			t.Errorf("got %d requests after CANCEL, want 1", got)
		}
		for _, f := range whole[2:] {
			w.must(peer.Write(f))
		}
		f := w.readAs(peer, coretest.TypeResponse)
		if got := w.readBody(peer, f); string(got) != string(quoted(100_000)) {
			t.Errorf("got %d bytes, want the 100000 that were sent", len(got))
		}
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "bye")))
		if err := peer.AwaitEnd(); err != nil {
			t.Error(err)
		}
	})
}

// A GOAWAY may stand between a request and its body; the connection waits for it.
func TestProviderCollectsBehindGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		peer := w.dialChunky("p:1")
		frames := coretest.Cut(coretest.Request(1<<20, "echo", "Say", []byte(`"slow"`)), 3)
		w.must(peer.Write(frames[0]))
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "bye")))
		for _, f := range frames[1:] {
			synctest.Wait()
			w.must(peer.Write(f))
		}
		if f := w.readAs(peer, coretest.TypeResponse); string(f.Body) != `"slow"` {
			t.Errorf("got %s %q, want slow", f, f.Body)
		}
		if err := peer.AwaitEnd(); err != nil {
			t.Error(err)
		}
	})
}

// After CANCEL a provider sends no more of its answer.
func TestProviderStopsALargeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, faulty{})
		peer := w.dialChunky("p:1")
		w.must(peer.Write(coretest.Request(1<<20, "faulty", "Large", []byte("1000000"))))
		w.readAs(peer, coretest.TypeResponse)
		w.readAs(peer, coretest.TypeChunk)
		synctest.Wait() // the next one is being written
		w.must(peer.Write(coretest.Frame{Type: coretest.TypeCancel, ID: 1 << 20}))
		w.must(peer.Write(coretest.Frame{Type: coretest.TypePing, ID: 1}))
		w.readAs(peer, coretest.TypeChunk) // was under way
		w.readAs(peer, coretest.TypePong)
		w.must(peer.Write(coretest.Frame{Type: coretest.TypePing, ID: 2}))
		w.readAs(peer, coretest.TypePong)
	})
}

// An answer that is given up while it waits for room is not sent at all.
func TestProviderDropsAnAnswerWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.Limits.WriteQueue = 64 << 10 }, faulty{})
		peer := w.dialChunky("p:1")
		w.must(peer.Write(coretest.Request(1<<20, "faulty", "Large", []byte("300000"))))
		first := w.readAs(peer, coretest.TypeResponse)
		w.must(peer.Write(coretest.Request(2<<20, "faulty", "Large", []byte("300000"))))
		synctest.Wait() // it waits for room
		if got := p.Requests(); got != 1 {
			t.Errorf("got %d requests, want the one whose answer waits", got)
		}
		w.must(peer.Write(coretest.Frame{Type: coretest.TypeCancel, ID: 2 << 20}))
		w.readBody(peer, first)
		w.must(peer.Write(coretest.Frame{Type: coretest.TypePing, ID: 1}))
		w.readAs(peer, coretest.TypePong)
		synctest.Wait()
		if got := p.Requests(); got != 0 {
			t.Errorf("got %d requests, want 0", got)
		}
	})
}

func TestReassemblyIsBounded(t *testing.T) {
	bound := func(l *core.Limits) { l.Message, l.Reassembly = 100_000, 100_000 }
	t.Run("provider", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			p := w.provider("p:1", func(cfg *core.ProviderConfig) { bound(&cfg.Limits) }, echo{})
			peer := w.dialChunky("p:1")
			one := coretest.Cut(coretest.Request(1<<20, "echo", "Say", quoted(60_000)), 50_000)
			two := coretest.Cut(coretest.Request(2<<20, "echo", "Say", quoted(60_000)), 50_000)
			w.must(peer.Write(one[0]))
			w.must(peer.Write(two[0]))
			if f := w.readAs(peer, coretest.TypeError); f.ID != 2<<20 || spi.Code(f.Code) != spi.ResourceExhausted || !strings.Contains(f.Message, "no room for a body of 60000 bytes") {
				t.Errorf("got %s, want the second request refused for want of room", f)
			}
			for _, f := range []coretest.Frame{two[1], one[1], two[2], one[2]} {
				w.must(peer.Write(f))
			}
			if f := w.readAs(peer, coretest.TypeResponse); f.ID != 1<<20 {
				t.Errorf("got %s, want the first request answered", f)
			}
			w.must(peer.Write(two[0])) // there is room again
			w.must(peer.Write(two[1]))
			w.must(peer.Write(two[2]))
			w.readAs(peer, coretest.TypeResponse)
			synctest.Wait()
			if got := p.Requests(); got != 0 {
				t.Errorf("got %d requests, want 0", got)
			}
		})
	})
	t.Run("consumer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			accept := w.acceptChunky("p:1")
			c := w.consumer(func(cfg *core.ConsumerConfig) { bound(&cfg.Limits) }, "p:1")
			p := accept()
			answer := func(request coretest.Frame) []coretest.Frame {
				return coretest.Cut(coretest.Frame{Type: coretest.TypeResponse, Serializer: 1, ID: request.ID, Body: quoted(60_000)}, 50_000)
			}
			one := start[string](t.Context(), c, "echo", "Say", "1")
			first := answer(w.readAs(p, coretest.TypeRequest))
			two := start[string](t.Context(), c, "echo", "Say", "2")
			second := answer(w.readAs(p, coretest.TypeRequest))
			w.must(p.Write(first[0]))
			w.must(p.Write(second[0]))
			_, err := two.wait()
			w.expect(err, failure{code: spi.ResourceExhausted, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1",
				message: "no room for a body of 60000 bytes", hint: "the key limits.reassembly bounds them"})
			if f := w.readAs(p, coretest.TypeCancel); f.ID != second[0].ID {
				t.Errorf("got %s, want the CANCEL of %d", f, second[0].ID)
			}
			for _, f := range []coretest.Frame{second[1], first[1], first[2]} {
				w.must(p.Write(f))
			}
			if got, err := one.wait(); len(got) != 59_998 || err != nil {
				t.Errorf("got %d bytes, %v, want 59998", len(got), err)
			}
		})
	})
}

// A caller that gives up frees what was collected of its answer, at once.
func TestConsumerDropsAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		accept := w.acceptChunky("p:1")
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Limits.Message, cfg.Limits.Reassembly = 100_000, 100_000 }, "p:1")
		p := accept()
		for range 3 { // each needs all the room there is
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			call := start[string](ctx, c, "echo", "Say", "x")
			request := w.readAs(p, coretest.TypeRequest)
			parts := coretest.Cut(coretest.Frame{Type: coretest.TypeResponse, Serializer: 1, ID: request.ID, Body: quoted(90_000)}, 50_000)
			w.must(p.Write(parts[0]))
			w.must(p.Write(parts[1]))
			_, err := call.wait()
			if spi.CodeOf(err) != spi.DeadlineExceeded {
				t.Errorf("got %v, want the deadline", err)
			}
			w.readAs(p, coretest.TypeCancel)
			w.must(p.Write(parts[0])) // nobody wants that any more
			cancel()
		}
	})
}

// Chunks that cannot be right end the connection.
func TestBadChunks(t *testing.T) {
	frames := func(edit func(f []coretest.Frame)) []coretest.Frame {
		f := coretest.Cut(coretest.Request(1<<20, "echo", "Say", []byte(`"0123456789"`)), 6)
		edit(f)
		return f
	}
	for _, tt := range []struct {
		name string
		send []coretest.Frame
	}{
		{"no length", frames(func(f []coretest.Frame) {
			f[0] = coretest.Request(1<<20, "echo", "Say", nil)
			f[0].Flags = coretest.FlagMore
		})},
		{"first part as long as the whole", frames(func(f []coretest.Frame) { f[0].Body = []byte("0123456789ab") })},
		{"empty", frames(func(f []coretest.Frame) { f[1].Body = nil })},
		{"beyond the whole", frames(func(f []coretest.Frame) { f[2].Body = []byte("01234567") })},
		{"more, and nothing missing", frames(func(f []coretest.Frame) { f[2].Flags = coretest.FlagMore })},
		{"no more, and some missing", frames(func(f []coretest.Frame) { f[1].Flags = 0 })},
		{"with metadata", frames(func(f []coretest.Frame) { f[1].Metadata = []byte{4, 2, 1, 'a'} })},
		{"above 64 KiB", frames(func(f []coretest.Frame) { f[1].Body = quoted(64<<10 + 1) })},
		{"two first frames", frames(func(f []coretest.Frame) { f[1] = f[0] })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.provider("p:1", nil, echo{})
				peer := w.dialChunky("p:1")
				go func() {
					for _, f := range tt.send {
						_ = peer.Write(f)
					}
				}()
				if err := peer.AwaitEnd(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if p.ConnCount() != 0 || p.Requests() != 0 {
					t.Errorf("got %d conns and %d requests, want none", p.ConnCount(), p.Requests())
				}
			})
		})
	}
}
