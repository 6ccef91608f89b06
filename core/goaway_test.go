package core_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// TestConsumerFinishesAfterGoAway: it says that it stopped, takes the answers that
// are left, and closes the connection after the last.
func TestConsumerFinishesAfterGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(nil, "p:1")
		peer := w.accept(l)
		var calls []*started[string]
		var requests []coretest.Frame
		for range 3 {
			calls = append(calls, start[string](t.Context(), c, "echo", "Say", "x"))
			requests = append(requests, w.readAs(peer, coretest.TypeRequest))
		}
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "bye")))
		w.readAs(peer, coretest.TypeGoAway)
		next := w.accept(l) // at once, beside the one that drains
		for i, call := range calls {
			if got := w.network.Link("p:1").Conns(); got != 2 {
				t.Errorf("got %d conns before answer %d, want the one that drains and the new one", got, i)
			}
			w.must(peer.Answer(requests[i], requests[i].Body))
			if got, err := call.wait(); got != "x" || err != nil {
				t.Errorf("got %q, %v, want x", got, err)
			}
		}
		if f, err := peer.Read(); err != io.EOF {
			t.Errorf("got %s, %v, want the consumer to close", f, err)
		}
		call := start[string](t.Context(), c, "echo", "Say", "y")
		w.must(next.Answer(w.readAs(next, coretest.TypeRequest), []byte(`"y"`)))
		if got, err := call.wait(); got != "y" || err != nil {
			t.Errorf("got %q, %v, want y over the new connection", got, err)
		}
	})
}

// TestNoRequestFollowsGoAway: calls that wait for room when the provider says GOAWAY
// go elsewhere, and those before them in the queue are still sent.
func TestNoRequestFollowsGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("a:1")
		w.provider("b:1", nil, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.LoadBalancer = inOrder{}
			cfg.Limits.WriteQueue = 64 << 10
			cfg.Timeout = spi.Duration(time.Minute)
		}, "a:1", "b:1")
		peer := w.accept(l)
		synctest.Wait()
		large := strings.Repeat("x", 60<<10)
		var calls []*started[string]
		for _, text := range []string{"written", "queued" + large, "room" + large, "behind"} {
			calls = append(calls, start[string](t.Context(), c, "echo", "Say", text))
			synctest.Wait()
		}
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "")))
		synctest.Wait()
		first, second := w.readAs(peer, coretest.TypeRequest), w.readAs(peer, coretest.TypeRequest)
		w.readAs(peer, coretest.TypeGoAway)
		for _, f := range []coretest.Frame{first, second} {
			w.must(peer.Answer(f, f.Body))
		}
		if f, err := peer.Read(); err != io.EOF {
			t.Errorf("got %s, %v after the consumer's GOAWAY, want the end", f, err)
		}
		for i, want := range []string{"a:1", "a:1", "b:1", "b:1"} {
			if _, err := calls[i].wait(); err != nil || calls[i].call.Peer != want {
				t.Errorf("call %d: got %v from %s, want no error from %s", i, err, calls[i].call.Peer, want)
			}
		}
	})
}

// TestDelistedDuringHandshake: a connection that nobody wants any more is not
// finished.
func TestDelistedDuringHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		l := w.listen("p:1")
		d.list("echo", endpointsOf("p:1"))
		c := w.viaRegistry(d, nil)
		c.Method("echo", "Say")
		nc, err := l.Accept()
		w.must(err)
		peer := coretest.NewPeer(nc)
		_, err = peer.ReadHello()
		w.must(err)
		d.list("echo", endpointsOf())
		w.must(peer.AwaitEnd())
		w.must(peer.Close())
		synctest.Wait()
		if got := w.network.Link("p:1").Conns(); got != 0 {
			t.Errorf("got %d conns, want 0", got)
		}
		if got := w.logged(logrus.InfoLevel); len(got) != 0 {
			t.Errorf("got %q, want nothing to say", got)
		}
	})
}
