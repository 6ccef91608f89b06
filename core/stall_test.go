package core_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// TestDeadlineAgainstStoppedReader: callers come back at their deadlines from a
// provider that takes no bytes, each with the truth about its request: what was not
// sent never arrives, even if the provider begins to read again.
func TestDeadlineAgainstStoppedReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Limits.WriteQueue = 64 << 10 }, "p:1")
		peer := w.accept(l)
		large := strings.Repeat("x", 60<<10)
		warm := start[string](t.Context(), c, "echo", "Say", "warm")
		w.must(peer.Answer(w.readAs(peer, coretest.TypeRequest), []byte(`"warm"`)))
		if _, err := warm.wait(); err != nil {
			t.Fatal(err)
		}

		type attempt struct {
			name, text string
			want       failure
			call       *started[string]
		}
		waits := failure{code: spi.DeadlineExceeded, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "the deadline passed"}
		noRoom := failure{code: spi.DeadlineExceeded, phase: spi.PhaseQueue, sent: spi.SentNo, endpoint: "p:1",
			message: "the deadline passed; the connection's write queue was full: the provider takes no bytes"}
		attempts := []attempt{{"being written", "first", waits, nil}, {"in the queue", large, waits, nil}, {"without room", large + "!", noRoom, nil}, {"behind it", "last", noRoom, nil}}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begin := time.Now()
		for i := range attempts {
			attempts[i].call = start[string](ctx, c, "echo", "Say", attempts[i].text)
			synctest.Wait()
		}
		claims := make(map[string]spi.Sent)
		for _, a := range attempts {
			_, err := a.call.wait()
			if got := time.Since(begin); got != 50*time.Millisecond {
				t.Errorf("%s: got the error after %v, want 50ms", a.name, got)
			}
			claims[`"`+a.text+`"`] = w.expect(err, a.want).Sent
		}
		synctest.Wait()
		if got := c.SlotsInUse(); got != 0 {
			t.Errorf("got %d slots in use, want 0", got)
		}

		canceled := make(map[uint64]bool)
		next := start[string](t.Context(), c, "echo", "Say", "next")
		for done := false; !done; {
			f, err := peer.Read()
			switch {
			case err != nil:
				t.Fatal(err)
			case f.Type == coretest.TypeCancel:
				canceled[f.ID] = true
			case string(f.Body) == `"next"`:
				w.must(peer.Answer(f, f.Body))
				done = true
			case claims[string(f.Body)] != spi.SentMaybe:
				t.Errorf("got a request that was %q, want only those that may have been sent", claims[string(f.Body)])
			default:
				canceled[f.ID] = canceled[f.ID] || false
			}
		}
		for id, ok := range canceled {
			if !ok {
				t.Errorf("got request %d without a CANCEL, want one for each that arrives", id)
			}
		}
		if len(canceled) != 2 {
			t.Errorf("got %d of the requests, want 2", len(canceled))
		}
		if got, err := next.wait(); got != "next" || err != nil {
			t.Errorf("got %q, %v, want the connection to go on", got, err)
		}
	})
}

// TestDeadlineAgainstFullSocket is the same with a kernel in between: callers come
// back although the socket takes nothing any more.
func TestDeadlineAgainstFullSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := newWorld(t)
	c := w.consumer(func(cfg *core.ConsumerConfig) {
		cfg.Dial = nil
		cfg.Limits.WriteQueue = 64 << 10
	}, l.Addr().String())
	w.accept(l)
	large := strings.Repeat("x", 1<<20)
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		_, err := invoke[string](ctx, c, "echo", "Say", large)
		cancel()
		var e *spi.Error
		if !errors.As(err, &e) || e.Code != spi.DeadlineExceeded {
			t.Fatalf("got %v, want DEADLINE_EXCEEDED", err)
		}
		switch {
		case e.Sent == spi.SentNo && e.Phase == spi.PhaseQueue: // no room: the socket is full, and so is the queue
			return
		case e.Sent == spi.SentNo: // a busy machine: it was not connected, or not encoded, in time
		case e.Sent != spi.SentMaybe || e.Phase != spi.PhaseWait:
			t.Fatalf("got %v, want it queued and unsent, or maybe sent", err)
		}
	}
	t.Error("got 100 MiB taken by nobody, want calls that find no room")
}

// TestConsumerDisconnectsStalledProvider: after exactly the write timeout, and other
// endpoints are not touched.
func TestConsumerDisconnectsStalledProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("a:1")
		w.provider("b:1", nil, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.LoadBalancer = inOrder{}
			cfg.Timeout = spi.Duration(time.Minute)
		}, "a:1", "b:1")
		nc, err := l.Accept()
		w.must(err)
		peer := coretest.NewPeer(nc)
		defer peer.Close()
		_, err = peer.BeProvider(coretest.Hello{Serializers: []string{"json"}})
		w.must(err)
		synctest.Wait()
		begin := time.Now()
		begun := start[string](t.Context(), c, "echo", "Say", "begun")
		if _, err := io.ReadFull(nc, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		queued := start[string](t.Context(), c, "echo", "Say", "queued")
		synctest.Wait()

		_, err = begun.wait()
		if got := time.Since(begin); got != 10*time.Second {
			t.Errorf("got the error after %v, want the write timeout of 10s", got)
		}
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonWriteStalled, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "a:1",
			message: "the peer took no bytes for the write timeout"})
		if got, err := queued.wait(); got != "queued" || err != nil || queued.call.Peer != "b:1" {
			t.Errorf("got %q, %v from %s, want the unsent call to move to b:1", got, err, queued.call.Peer)
		}
		if got, want := time.Since(begin), 10*time.Second; got != want {
			t.Errorf("got the answer to the unsent call after %v, want %v", got, want)
		}
	})
}

// TestProviderDisconnectsStalledConsumer: after exactly the write timeout; its
// handlers end, and other consumers are not touched.
func TestProviderDisconnectsStalledConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, g := newWorld(t), newWatcher(), newGate()
		p := w.provider("p:1", nil, echo{}, s, g.service())
		other := w.consumer(nil, "p:1")
		peer := w.dial("p:1")
		watch := coretest.Request(1<<20, "watcher", "Watch", []byte{0})
		watch.Flags = coretest.FlagList
		w.must(peer.Write(watch))
		<-s.entered
		held := start[string](t.Context(), other, "Gate", "Pass", "held")
		<-g.entered

		begin := time.Now()
		w.must(peer.Write(coretest.Request(2<<20, "echo", "Say", []byte(`"x"`)))) // and nobody reads the answer
		if e := <-s.ended; e.cause != core.ErrPeerGone || e.at.Sub(begin) != 10*time.Second {
			t.Errorf("got handlers ended by %v after %v, want %v after the write timeout of 10s", e.cause, e.at.Sub(begin), core.ErrPeerGone)
		}
		synctest.Wait()
		if got := p.ConnCount(); got != 1 {
			t.Errorf("got %d conns, want the other one only", got)
		}
		if got := p.Requests(); got != 0 {
			t.Errorf("got %d requests, want 0: the other consumer's deadline was 5s", got)
		}
		if _, err := held.wait(); spi.CodeOf(err) != spi.DeadlineExceeded {
			t.Errorf("got %v, want the deadline", err)
		}
		if got, err := invoke[string](t.Context(), other, "echo", "Say", "fine"); got != "fine" || err != nil {
			t.Errorf("got %q, %v, want the other consumer to go on", got, err)
		}
		if got := w.logged(logrus.WarnLevel); len(got) != 1 || got[0] != "warning disconnected a consumer" {
			t.Errorf("got %q, want one warning", got)
		}
	})
}

// slowly reads a little, and then waits.
type slowly struct {
	net.Conn
	every time.Duration
}

func (s slowly) Read(b []byte) (int, error) {
	<-time.After(s.every)
	return s.Conn.Read(b[:min(len(b), 64<<10)])
}

// TestSlowReaderIsNotStalled: who takes a little all the time is slow, not dead.
func TestSlowReaderIsNotStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, faulty{})
		nc, err := w.network.Dial(t.Context(), "p:1")
		w.must(err)
		peer := coretest.NewPeer(slowly{nc, 3 * time.Second})
		defer peer.Close()
		w.must(peer.SayHello(coretest.Hello{Serializers: []string{"json"}}))
		w.must(peer.Write(coretest.Request(1<<20, "faulty", "Large", []byte("1000000"))))
		if _, err := peer.ReadHello(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		f := w.readAs(peer, coretest.TypeResponse)
		if len(f.Body) != 1_000_002 {
			t.Errorf("got %d bytes, want the million and two quotes", len(f.Body))
		}
		if got := time.Since(begin); got < 40*time.Second {
			t.Errorf("got the answer within %v, want it slow enough to say something", got)
		}
	})
}

// TestStalledLink: bytes stop in both directions and sockets stay open, as when a
// cable is pulled. Whoever writes finds out after the write timeout, the other side
// is not told, and a call of which nothing was sent survives.
func TestStalledLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), new(tally)
		p := w.provider("p:1", nil, s)
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Timeout = spi.Duration(time.Minute) }, "p:1")
		if _, err := invoke[int](t.Context(), c, "tally", "Add", 1); err != nil {
			t.Fatal(err)
		}
		link := w.network.Link("p:1")
		link.ToProvider.Stall()
		link.ToConsumer.Stall()
		begin := time.Now()
		call := start[int](t.Context(), c, "tally", "Add", 1)
		<-time.After(10*time.Second - time.Nanosecond)
		if got := link.Dials(); got != 1 {
			t.Errorf("got %d dials before the write timeout, want 1", got)
		}
		<-time.After(time.Second)
		if got := link.Dials(); got != 2 {
			t.Errorf("got %d dials a second after the write timeout, want 2", got)
		}
		if got := p.ConnCount(); got != 2 {
			t.Errorf("got %d conns at the provider, want 2: nobody told it that one is gone", got)
		}
		link.Heal()
		if got, err := call.wait(); got != 2 || err != nil {
			t.Errorf("got %d, %v, want the call made once: 2", got, err)
		}
		if got := time.Since(begin); got != 11*time.Second-time.Nanosecond {
			t.Errorf("got the answer after %v, want it as soon as the link was healed", got)
		}
		synctest.Wait()
		if got := p.ConnCount(); got != 1 {
			t.Errorf("got %d conns at the provider, want only the new one", got)
		}
	})
}
