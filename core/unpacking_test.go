package core_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// slowJSON is JSON that waits before it decodes a large value, so that the test sees
// how many there are at once.
type slowJSON struct {
	jsonSerializer
	decoding chan int      // receives the bytes of every large value
	leave    chan struct{} // sent to, or closed, to let one decode
}

func newSlowJSON() *slowJSON {
	return &slowJSON{decoding: make(chan int, 1000), leave: make(chan struct{})}
}

func (s *slowJSON) Decode(data []byte, v any) error {
	if len(data) > 64<<10 {
		s.decoding <- len(data)
		<-s.leave
	}
	return s.jsonSerializer.Decode(data, v)
}

// seen returns how many values are being decoded, and forgets them.
func (s *slowJSON) seen() int {
	synctest.Wait()
	n := len(s.decoding)
	for range n {
		<-s.decoding
	}
	return n
}

// deflating shakes hands as a peer that compresses.
var deflating = coretest.Hello{Serializers: []string{"json"}, Compressors: []string{"deflate"}}

// unpackingProvider serves echo at p:1, with room for four bodies of a MiB.
func (w *world) unpackingProvider(s spi.Serializer, edit func(*core.ProviderConfig)) *core.Provider {
	w.Helper()
	return w.provider("p:1", func(cfg *core.ProviderConfig) {
		cfg.Serializers = map[string]spi.Serializer{"json": s}
		cfg.Compressors = map[string]spi.Compressor{"deflate": new(deflate)}
		cfg.Limits.Message, cfg.Limits.Unpacked = 1<<20, 4<<20
		if edit != nil {
			edit(cfg)
		}
	}, length{})
}

// length is a service whose answers are short.
type length struct{}

func (length) Of(text string) (int, error) { return len(text), nil }

// dialDeflating connects to p:1 as a consumer that compresses.
func (w *world) dialDeflating() *coretest.Peer {
	w.Helper()
	nc, err := w.network.Dial(context.Background(), "p:1")
	w.must(err)
	p := coretest.NewPeer(nc)
	_, err = p.BeConsumer(deflating)
	w.must(err)
	w.Cleanup(func() { p.Close() })
	return p
}

// packedRequest is a small body that becomes n bytes.
func packedRequest(id uint64, n int) coretest.Frame {
	f := coretest.Request(id<<20, "length", "Of", packed(string(quoted(n))))
	f.Flags, f.Code = coretest.FlagCompressed, 1
	return f
}

// Of the bodies that are large when they are unpacked only as many are there at once
// as there is room for, on all connections together, by turns; everything else goes on
// meanwhile.
func TestUnpackedBodiesWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), newSlowJSON()
		w.unpackingProvider(s, nil)
		const large, atOnce = 900 << 10, 4
		crowd, other := w.dialDeflating(), w.dialDeflating()
		for id := range uint64(20) {
			w.must(crowd.Write(packedRequest(id+1, large)))
		}
		if got := s.seen(); got != atOnce {
			t.Errorf("got %d large bodies at once, want %d", got, atOnce)
		}
		w.must(other.Write(packedRequest(1, large)))
		for i, p := range []*coretest.Peer{crowd, other} {
			w.must(p.Write(packedRequest(100, 60<<10)))
			w.must(p.Write(coretest.Request(101<<20, "length", "Of", []byte(`"plain"`))))
			for range 2 {
				if f := w.readAs(p, coretest.TypeResponse); f.ID < 100<<20 {
					t.Errorf("connection %d: got %s, want the answers to small requests", i, f)
				}
			}
		}
		for range 2 { // after the crowd's next it is the other's turn
			s.leave <- struct{}{}
			if got := s.seen(); got != 1 {
				t.Errorf("got %d more bodies where one was decoded, want 1", got)
			}
		}
		close(s.leave)
		w.readAs(other, coretest.TypeResponse)
		for range 20 {
			if f := w.readAs(crowd, coretest.TypeResponse); string(f.Body) != fmt.Sprint(large-2) {
				t.Errorf("got %s %s, want %d", f, f.Body, large-2)
			}
		}
	})
}

// Who waits gives up with its deadline, and when its consumer gives up or goes; what
// it would have taken is there for others.
func TestUnpackingEndsWithTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), newSlowJSON()
		p := w.unpackingProvider(s, nil)
		const large = 900 << 10
		first, second, third := w.dialDeflating(), w.dialDeflating(), w.dialDeflating()
		for id := range uint64(4) {
			w.must(first.Write(packedRequest(id+1, large)))
		}
		if got := s.seen(); got != 4 {
			t.Errorf("got %d large bodies at once, want 4", got)
		}
		late := packedRequest(5, large)
		late.Metadata = wire.AppendTimeout(late.Metadata, 100_000)
		w.must(second.Write(late))
		f := w.readAs(second, coretest.TypeError)
		if spi.Code(f.Code) != spi.DeadlineExceeded || !strings.Contains(f.Message, "waited to be decompressed, which the key limits.unpacked bounds") {
			t.Errorf("got %s %q, want DEADLINE_EXCEEDED with the key", f, f.Message)
		}
		w.must(second.Write(packedRequest(6, large)))
		w.must(second.Write(packedRequest(7, large)))
		w.must(second.Write(coretest.Frame{Type: coretest.TypeCancel, ID: 6 << 20}))
		synctest.Wait()
		if got := p.Requests(); got != 5 {
			t.Errorf("got %d requests, want 4 that are decoded and one that waits", got)
		}
		w.must(second.Close())
		synctest.Wait()
		if got := p.Requests(); got != 4 {
			t.Errorf("got %d requests, want 4 that are decoded", got)
		}
		w.must(third.Write(packedRequest(1, large)))
		close(s.leave)
		w.readAs(third, coretest.TypeResponse)
	})
}

// Bodies are counted as what they have become, so that many small ones fit where few
// large ones would.
func TestUnpackedBodiesCountAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), newSlowJSON()
		w.unpackingProvider(s, nil)
		p := w.dialDeflating()
		for id := range uint64(30) { // their first try is 64 KiB, their second 256 KiB
			w.must(p.Write(packedRequest(id+1, 70<<10)))
		}
		if got := s.seen(); got <= 4<<20/(256<<10) {
			t.Errorf("got %d bodies of 70 KiB in 4 MiB, want more than their second tries would be", got)
		}
		close(s.leave)
		for range 30 {
			w.readAs(p, coretest.TypeResponse)
		}
	})
}

// brittle panics in the middle of a large body.
type brittle struct{ deflate }

func (f *brittle) Decompress(dst, src []byte, limit int) ([]byte, error) {
	if limit > 64<<10 {
		panic("out of order")
	}
	return f.deflate.Decompress(dst, src, limit)
}

// A compressor that panics gives its room back.
func TestUnpackingPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.unpackingProvider(jsonSerializer{}, func(cfg *core.ProviderConfig) {
			cfg.Compressors["deflate"] = new(brittle)
			cfg.Limits.Unpacked = 64 << 10 // one body at a time
		})
		p := w.dialDeflating()
		for id := range uint64(3) {
			w.must(p.Write(packedRequest(id+1, 900<<10)))
			if f := w.readAs(p, coretest.TypeError); spi.Code(f.Code) != spi.Internal {
				t.Errorf("got %s, want INTERNAL", f)
			}
		}
	})
}

// The same bound holds for answers, which callers unpack.
func TestUnpackedAnswersWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), newSlowJSON()
		l := w.listen("p:1")
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Serializer, cfg.CompressorName, cfg.Compressor = s, "deflate", new(deflate)
			cfg.Limits.Message, cfg.Limits.Unpacked = 1<<20, 1<<20
			cfg.Timeout = spi.Duration(time.Minute)
		}, "p:1")
		nc, err := l.Accept()
		w.must(err)
		p := coretest.NewPeer(nc)
		defer p.Close()
		_, err = p.BeProvider(deflating)
		w.must(err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var calls []*started[string]
		for i, ctx := range []context.Context{t.Context(), t.Context(), ctx} {
			calls = append(calls, start[string](ctx, c, "echo", "Say", fmt.Sprint(i)))
			f := w.readAs(p, coretest.TypeRequest)
			w.must(p.Write(coretest.Frame{Type: coretest.TypeResponse, Flags: coretest.FlagCompressed, Serializer: 1, Code: 1, ID: f.ID, Body: packed(string(quoted(900 << 10)))}))
			synctest.Wait()
		}
		if got := s.seen(); got != 1 {
			t.Errorf("got %d large answers at once, want 1", got)
		}
		_, err = calls[2].wait()
		w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1", message: "waited to be decompressed"})
		close(s.leave)
		for _, call := range calls[:2] {
			if got, err := call.wait(); len(got) != 900<<10-2 || err != nil {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, 900<<10-2)
			}
		}
		var late *started[string] // of which only the Consumer keeps the time
		s.leave = make(chan struct{})
		for range 2 {
			late = start[string](t.Context(), c, "echo", "Say", "x")
			f := w.readAs(p, coretest.TypeRequest)
			w.must(p.Write(coretest.Frame{Type: coretest.TypeResponse, Flags: coretest.FlagCompressed, Serializer: 1, Code: 1, ID: f.ID, Body: packed(string(quoted(900 << 10)))}))
			synctest.Wait()
		}
		_, err = late.wait()
		w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1", message: "waited to be decompressed"})
		close(s.leave)
		synctest.Wait()
	})
}
