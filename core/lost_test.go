package core_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// scene is a connection with calls in every place: three wait for their answers,
// one is half written, one is in the queue, one waits for room in it.
type scene struct {
	*world
	listener net.Listener
	consumer *core.Consumer
	peer     *coretest.Peer
	waiting  []*started[string]
	half     *started[string]
	queued   *started[string]
	room     *started[string]
}

func newScene(t *testing.T) *scene {
	w := newWorld(t)
	s := &scene{world: w, listener: w.listen("p:1")}
	s.consumer = w.consumer(func(cfg *core.ConsumerConfig) {
		cfg.Limits.WriteQueue = 64 << 10
		cfg.Timeout = spi.Duration(time.Hour)
		cfg.WriteTimeout = spi.Duration(time.Hour)
	}, "p:1")
	nc, err := s.listener.Accept()
	w.must(err)
	s.peer = coretest.NewPeer(nc)
	t.Cleanup(func() { s.peer.Close() })
	_, err = s.peer.BeProvider(coretest.Hello{Serializers: []string{"json"}})
	w.must(err)
	for i := range 3 {
		s.waiting = append(s.waiting, s.call(fmt.Sprint("waiting ", i)))
		w.readAs(s.peer, coretest.TypeRequest)
	}
	s.half = s.call("half")
	if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 60<<10)
	s.queued = s.call("queued" + large)
	s.room = s.call("room" + large)
	if got := s.consumer.SlotsInUse(); got != 6 {
		t.Fatalf("got %d slots in use, want 6", got)
	}
	return s
}

func (s *scene) call(text string) *started[string] {
	call := start[string](s.Context(), s.consumer, "echo", "Say", text)
	synctest.Wait()
	return call
}

func TestConnectionLostWithCallsInEveryPlace(t *testing.T) {
	refused := failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "p:1", message: "connection refused", hint: "is the provider started?"}
	closed := func(phase spi.Phase, sent spi.Sent) failure {
		return failure{code: spi.Unavailable, reason: spi.ReasonClosed, phase: phase, sent: sent, endpoint: "p:1", message: "closed by this side"}
	}
	for _, tt := range []struct {
		name         string
		end          func(s *scene) error
		reason       string
		message      string
		cause        error
		queued, room failure
	}{
		{"reset", func(s *scene) error { s.network.Link("p:1").Cut(); return nil }, spi.ReasonReset, "the connection was reset", syscall.ECONNRESET, refused, refused},
		{"garbage", func(s *scene) error { return s.peer.WriteRaw(make([]byte, 24)) }, spi.ReasonProtocolError, "protocol error: not a bhrpc frame", wire.ErrMagic, refused, refused},
		{"damage", func(s *scene) error { return s.peer.WriteRaw(damaged()) }, spi.ReasonProtocolError, "protocol error: damaged frame header", wire.ErrCheck, refused, refused},
		{"too large", func(s *scene) error {
			return s.peer.WriteRaw(wire.AppendHeader(nil, wire.Header{Type: wire.Response, Body: 16<<20 + 1}))
		}, spi.ReasonProtocolError, "protocol error: frame larger than the limits announced", spi.ErrConnLost, refused, refused},
		{"a request from a provider", func(s *scene) error { return s.peer.Write(coretest.Request(1, "a", "b", nil)) },
			spi.ReasonProtocolError, "protocol error: REQUEST from a provider", spi.ErrConnLost, refused, refused},
		{"closed", func(s *scene) error { return s.consumer.Close() }, spi.ReasonClosed, "closed by this side", spi.ErrConnLost, closed(spi.PhaseWait, spi.SentNo), closed(spi.PhaseQueue, spi.SentNo)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				s.network.Link("p:1").Refuse()
				if err := tt.end(s); err != nil && !errors.Is(err, syscall.EPIPE) { // it need not be read to its end
					t.Fatal(err)
				}
				for _, call := range append(slices.Clone(s.waiting), s.half) {
					_, err := call.wait()
					s.expect(err, failure{code: spi.Unavailable, reason: tt.reason, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: tt.message})
					if !errors.Is(err, spi.ErrConnLost) || !errors.Is(err, tt.cause) {
						t.Errorf("got %v, want it to match spi.ErrConnLost and %v", err, tt.cause)
					}
				}
				_, err := s.queued.wait()
				s.expect(err, tt.queued)
				_, err = s.room.wait()
				s.expect(err, tt.room)
			})
		})
	}
}

// TestUnsentCallsGoOn: of the calls of a lost connection those that were not sent,
// and no others, are made on the next one, with the time that is left.
func TestUnsentCallsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		begin := time.Now()
		<-time.After(time.Minute)
		s.network.Link("p:1").Cut()
		for _, call := range append(slices.Clone(s.waiting), s.half) {
			if _, err := call.wait(); !errors.Is(err, spi.ErrConnLost) {
				t.Errorf("got %v, want it to match spi.ErrConnLost", err)
			}
		}
		s.peer = s.accept(s.listener)
		seen := make(map[string]bool)
		for range 2 {
			f := s.readAs(s.peer, coretest.TypeRequest)
			seen[strings.Trim(string(f.Body), `"x`)] = true
			if got := f.Timeout + time.Since(begin); got > time.Hour || got <= time.Hour-time.Microsecond {
				t.Errorf("got %v left after %v, want the rest of the hour", f.Timeout, time.Since(begin))
			}
			s.must(s.peer.Answer(f, f.Body))
		}
		if !seen["queued"] || !seen["room"] {
			t.Errorf("got %v on the next connection, want those that were not sent", seen)
		}
		for _, call := range []*started[string]{s.queued, s.room} {
			if got, err := call.wait(); len(got) < 60<<10 || err != nil {
				t.Errorf("got %d bytes, %v, want the answer", len(got), err)
			}
		}
		if got := s.consumer.SlotsInUse(); got != 0 {
			t.Errorf("got %d slots in use, want 0", got)
		}
		synctest.Wait()
		if got := s.logged(logrus.WarnLevel); len(got) != 1 || got[0] != "warning disconnected" {
			t.Errorf("got %q, want one warning", got)
		}
	})
}

// TestPeerCloses: an orderly end is named as such.
func TestPeerCloses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		last    []byte
		message string
	}{
		{"between frames", nil, "the peer closed the connection"},
		{"in a header", coretest.AppendFrame(nil, coretest.Failure(1<<20, spi.Internal, "text"))[:20], "the peer closed the connection in the middle of a frame"},
		{"in a body", coretest.AppendFrame(nil, coretest.Failure(1<<20, spi.Internal, "text"))[:26], "the peer closed the connection in the middle of a frame"},
		{"in a large body", coretest.AppendFrame(nil, coretest.Failure(1<<20, spi.Internal, strings.Repeat("x", 100_000)))[:90_000], "the peer closed the connection in the middle of a frame"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := w.listen("p:1")
				c := w.consumer(nil, "p:1")
				peer := w.accept(l)
				call := start[string](t.Context(), c, "echo", "Say", "x")
				w.readAs(peer, coretest.TypeRequest)
				w.must(peer.WriteRaw(tt.last))
				w.must(peer.Close())
				_, err := call.wait()
				e := w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonEOF, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: tt.message})
				if e.Message != tt.message {
					t.Errorf("got %q, want %q", e.Message, tt.message)
				}
			})
		})
	}
}

// TestUnknownFramesAreSkipped: what a later version may send, on either side.
func TestUnknownFramesAreSkipped(t *testing.T) {
	strange := coretest.Frame{Type: 200, Flags: 0xff, Serializer: 9, Code: 9, ID: 1 << 20, Metadata: []byte("any"), Body: make([]byte, 100_000)}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		consumer := w.dial("p:1")
		w.must(consumer.Write(strange))
		w.must(consumer.Write(coretest.Request(1<<20, "echo", "Say", []byte(`"x"`))))
		w.readAs(consumer, coretest.TypeResponse)

		l := w.listen("p:2")
		c := w.consumer(nil, "p:2")
		provider := w.accept(l)
		call := start[string](t.Context(), c, "echo", "Say", "x")
		request := w.readAs(provider, coretest.TypeRequest)
		w.must(provider.Write(strange))
		w.must(provider.Answer(request, request.Body))
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want x", got, err)
		}
	})
}
