package core_test

import (
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// A request beyond the limits costs its own call only, and what it defines counts.
func TestProviderSkipsAnOversizeRequest(t *testing.T) {
	small := func(cfg *core.ProviderConfig) { cfg.Limits.Message, cfg.Limits.Metadata = 100_000, 2000 }
	define := []byte("\x02\x0a\x01\x04echo\x03Say") // method 1
	oversize := coretest.Frame{Type: coretest.TypeRequest, Serializer: 1, ID: 1 << 20, Metadata: define, Body: quoted(200_000)}
	crowded := coretest.Request(1<<20, "echo", "Say", quoted(10))
	crowded.Metadata = append(crowded.Metadata, make([]byte, 3000)...)
	parts := coretest.Cut(oversize, 64<<10)
	for _, tt := range []struct {
		name   string
		send   []coretest.Frame
		number bool // a method was defined
	}{
		{"body", []coretest.Frame{oversize}, true},
		{"metadata", []coretest.Frame{crowded}, false},
		{"in parts", parts, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.provider("p:1", small, echo{})
				peer := w.dialChunky("p:1")
				w.must(peer.Write(tt.send[0]))
				f := w.readAs(peer, coretest.TypeError)
				if f.ID != 1<<20 || spi.Code(f.Code) != spi.ResourceExhausted {
					t.Errorf("got %s, want RESOURCE_EXHAUSTED for the call", f)
				}
				for _, f := range tt.send[1:] {
					w.must(peer.Write(f))
				}
				next := coretest.Request(2<<20, "echo", "Say", []byte(`"fine"`))
				if tt.number {
					next.Metadata = []byte{1, 1, 1}
				}
				w.must(peer.Write(next))
				if f := w.readAs(peer, coretest.TypeResponse); f.ID != 2<<20 {
					t.Errorf("got %s, want the next call answered", f)
				}
				synctest.Wait()
				if got := p.Requests(); got != 0 {
					t.Errorf("got %d requests, want 0", got)
				}
			})
		})
	}
}

// An answer beyond the limits costs its own call only.
func TestConsumerSkipsAnOversizeAnswer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parts bool
	}{{"whole", false}, {"in parts", true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				accept := w.acceptChunky("p:1")
				c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Limits.Message = 100_000 }, "p:1")
				p := accept()
				held := start[string](t.Context(), c, "echo", "Say", "held")
				request := w.readAs(p, coretest.TypeRequest)
				call := start[string](t.Context(), c, "echo", "Say", "x")
				answer := coretest.Frame{Type: coretest.TypeResponse, Serializer: 1, ID: w.readAs(p, coretest.TypeRequest).ID, Body: quoted(200_000)}
				send := []coretest.Frame{answer}
				if tt.parts {
					send = coretest.Cut(answer, 64<<10)
				}
				w.must(p.Write(send[0]))
				_, err := call.wait()
				w.expect(err, failure{code: spi.ResourceExhausted, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1",
					message: "the RESPONSE has 2000", hint: "the keys limits.message and limits.metadata of the receiver bound it"})
				if tt.parts {
					w.readAs(p, coretest.TypeCancel)
				}
				for _, f := range send[1:] {
					w.must(p.Write(f))
				}
				w.must(p.Answer(request, []byte(`"held"`)))
				if got, err := held.wait(); got != "held" || err != nil {
					t.Errorf("got %q, %v, want the other call to go on", got, err)
				}
			})
		})
	}
}

// A peer that dribbles is disconnected after the frame timeout, one that is only slow
// is not, and one that is silent between frames is left alone.
func TestFrameTimeout(t *testing.T) {
	frame := coretest.AppendFrame(nil, coretest.Request(1<<20, "echo", "Say", quoted(900_000)))
	short := coretest.AppendFrame(nil, coretest.Request(1<<20, "echo", "Say", quoted(100)))
	for _, tt := range []struct {
		name  string
		bytes []byte
		piece int // bytes in every
		every time.Duration
		ends  time.Duration // 0: never
	}{
		{"within the header", short, 1, 4 * time.Second, 30 * time.Second},
		{"within a small body", short[:60], 60, time.Second, 30 * time.Second},
		{"within a large body", frame, 1000, time.Second, 30 * time.Second},
		{"within a large body, after a good while", frame[:500_000], 5000, time.Second, 120 * time.Second},
		{"slowly, but steadily", frame, 5000, time.Second, 0},
		{"small frames, seldom", short, len(short), 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.provider("p:1", nil, echo{})
				nc, err := w.network.Dial(t.Context(), "p:1")
				w.must(err)
				peer := coretest.NewPeer(nc)
				var writing sync.WaitGroup
				defer writing.Wait()
				defer peer.Close()
				_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json"}})
				w.must(err)
				time.Sleep(time.Hour) // nothing is due
				begin := time.Now()
				writing.Go(func() { dribble(nc, tt.bytes, tt.piece, tt.every) })
				if tt.ends == 0 {
					w.readAs(peer, coretest.TypeResponse)
					time.Sleep(time.Hour)
					if got := p.ConnCount(); got != 1 {
						t.Errorf("got %d conns, want 1", got)
					}
					return
				}
				w.must(peer.AwaitEnd())
				if got := time.Since(begin); got < tt.ends || got > tt.ends+4*time.Second {
					t.Errorf("got the end after %v, want it after %v", got, tt.ends)
				}
			})
		})
	}
}

// dribble writes b in pieces.
func dribble(nc net.Conn, b []byte, piece int, every time.Duration) {
	for len(b) > 0 {
		n := min(piece, len(b))
		if _, err := nc.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
		time.Sleep(every)
	}
}

// A body in chunks of which no more comes ends the connection; one that was given up
// leaves it in peace.
func TestFrameTimeoutBetweenChunks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cancel bool
		want   int // connections
	}{{"no more comes", false, 0}, {"given up", true, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.provider("p:1", nil, echo{})
				peer := w.dialChunky("p:1")
				begin := time.Now()
				for _, f := range coretest.Cut(coretest.Request(1<<20, "echo", "Say", quoted(100_000)), 30_000)[:3] {
					w.must(peer.Write(f))
				}
				time.Sleep(29 * time.Second)
				if p.ConnCount() != 1 || p.Requests() != 1 {
					t.Errorf("after %v: got %d connections and %d requests, want one", time.Since(begin), p.ConnCount(), p.Requests())
				}
				if tt.cancel {
					w.must(peer.Write(coretest.Frame{Type: coretest.TypeCancel, ID: 1 << 20}))
				}
				time.Sleep(time.Minute)
				if p.ConnCount() != tt.want || p.Requests() != 0 {
					t.Errorf("after %v: got %d connections and %d requests, want %d and none", time.Since(begin), p.ConnCount(), p.Requests(), tt.want)
				}
			})
		})
	}
}
