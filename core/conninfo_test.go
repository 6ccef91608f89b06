package core_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// one returns the only connection of a listing.
func (w *world) one(list []core.ConnInfo) core.ConnInfo {
	w.Helper()
	if len(list) != 1 {
		w.Fatalf("got %+v, want one connection", list)
	}
	return list[0]
}

// states returns what a listing says of each peer, on one line.
func states(list []core.ConnInfo) string {
	var all []string
	for _, i := range list {
		all = append(all, i.Peer+" "+string(i.State))
	}
	return strings.Join(all, ", ")
}

// TestConnsOfBothSides: what one side counts as sent the other counts as read, and
// the times are those of the last bytes.
func TestConnsOfBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := newGate()
		p := w.provider("p:1", nil, g.service())
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Timeout = spi.Duration(time.Hour) }, "p:1")
		synctest.Wait()
		time.Sleep(time.Minute)
		call := start[string](t.Context(), c, "Gate", "Pass", strings.Repeat("x", 100_000))
		<-g.entered
		synctest.Wait()
		time.Sleep(2 * time.Second)

		out, in := w.one(c.Conns()), w.one(p.Conns())
		if out.BytesOut < 100_000 || in.BytesIn != out.BytesOut || in.BytesOut != out.BytesIn || out.FramesOut != 4 || in.FramesIn != 3 {
			t.Errorf("got  %+v\nand  %+v\nwant as much read as written, a HELLO and a request with two chunks", out, in)
		}
		const age, ago = spi.Duration(62 * time.Second), spi.Duration(2 * time.Second)
		want := core.ConnInfo{Side: "consumer", Peer: "p:1", State: core.ConnUp, Serializer: "json", InFlight: 1, Age: age, LastIn: age, LastOut: ago,
			BytesIn: out.BytesIn, BytesOut: out.BytesOut, FramesOut: 4, ID: 1, LastSign: age}
		if out != want {
			t.Errorf("consumer\ngot  %+v\nwant %+v", out, want)
		}
		want = core.ConnInfo{Side: "provider", Peer: in.Peer, State: core.ConnUp, Serializer: "json", InFlight: 1, Age: age, LastIn: ago, LastOut: age,
			BytesIn: in.BytesIn, BytesOut: in.BytesOut, FramesIn: 3, FramesOut: 1, ID: 1, LastSign: ago}
		if in != want {
			t.Errorf("provider\ngot  %+v\nwant %+v", in, want)
		}

		close(g.leave)
		if _, err := call.wait(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		out, in = w.one(c.Conns()), w.one(p.Conns())
		if out.InFlight+in.InFlight+out.Queued+in.Queued != 0 || out.BytesIn != in.BytesOut || out.BytesIn < 100_000 || out.FramesIn != 3 {
			t.Errorf("after the answer: got %+v and %+v, want nothing in flight", out, in)
		}
	})
}

// TestConnsOfAnEndpoint goes through the states of an endpoint.
func TestConnsOfAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.consumer(nil, "p:1")
		synctest.Wait()
		time.Sleep(time.Second)
		down := w.one(c.Conns())
		if down.State != core.ConnBackoff || !strings.Contains(down.Error, "refused") || down.Age != spi.Duration(time.Second) || down.Serializer != "" {
			t.Errorf("nobody listens: got %+v, want backoff, and why", down)
		}
		l := w.listen("p:1")
		nc, err := l.Accept()
		w.must(err)
		peer := coretest.NewPeer(nc)
		synctest.Wait()
		if i := w.one(c.Conns()); i.State != core.ConnConnecting {
			t.Errorf("before HELLO: got %+v, want connecting", i)
		}
		_, err = peer.BeProvider(coretest.Hello{Serializers: []string{"json"}})
		w.must(err)
		synctest.Wait()
		if i := w.one(c.Conns()); i.State != core.ConnUp || i.Error != "" || i.Reconnects != 0 {
			t.Errorf("after HELLO: got %+v, want up", i)
		}

		call := start[string](t.Context(), c, "echo", "Say", "x")
		request := w.readAs(peer, coretest.TypeRequest)
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "bye")))
		next := w.accept(l)
		synctest.Wait()
		if got := states(c.Conns()); got != "p:1 draining, p:1 up" {
			t.Errorf("after GOAWAY: got %s, want the old one beside the new one", got)
		}
		w.must(peer.Answer(request, request.Body))
		if _, err := call.wait(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if i := w.one(c.Conns()); i.State != core.ConnUp || i.Reconnects != 1 {
			t.Errorf("after the last answer: got %+v, want the new one alone", i)
		}
		stray := request
		w.must(next.Answer(stray, []byte("1")))
		synctest.Wait()
		if i := w.one(c.Conns()); i.Late != 1 {
			t.Errorf("an answer that nobody waits for: got %+v, want it counted", i)
		}

		w.must(next.Close())
		synctest.Wait()
		if i := w.one(c.Conns()); i.State != core.ConnBackoff || i.Error != "the peer closed the connection" || i.Reconnects != 1 {
			t.Errorf("lost: got %+v, want backoff, and why", i)
		}
		w.must(c.Close())
		if got := c.Conns(); len(got) != 0 {
			t.Errorf("closed: got %+v, want nothing", got)
		}
	})
}

// TestConnsOfAProvider goes through the states of a connection at a provider.
func TestConnsOfAProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := newGate()
		p := w.provider("p:1", nil, g.service())
		nc, err := w.network.Dial(t.Context(), "p:1")
		w.must(err)
		peer := coretest.NewPeer(nc)
		defer peer.Close()
		synctest.Wait()
		if i := w.one(p.Conns()); i.State != core.ConnConnecting || i.BytesIn != 0 {
			t.Errorf("before HELLO: got %+v, want connecting", i)
		}
		_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json", "gob"}})
		w.must(err)
		w.must(peer.Write(coretest.Request(1<<20, "Gate", "Pass", []byte(`"x"`))))
		<-g.entered
		if i := w.one(p.Conns()); i.State != core.ConnUp || i.Serializer != "json" || i.InFlight != 1 {
			t.Errorf("with a request: got %+v, want up and one in flight", i)
		}
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "")))
		synctest.Wait()
		if i := w.one(p.Conns()); i.State != core.ConnDraining || i.InFlight != 1 {
			t.Errorf("after GOAWAY: got %+v, want draining", i)
		}
		close(g.leave)
		w.must(peer.AwaitEnd())
		synctest.Wait()
		if got := p.Conns(); len(got) != 0 {
			t.Errorf("after the last answer: got %+v, want nothing", got)
		}
	})
}

// TestConnsWhileCalling looks at both sides all the time that others call.
func TestConnsWhileCalling(t *testing.T) {
	w := newWorld(t)
	p := w.provider("p:1", nil, echo{})
	c := w.consumer(nil, "p:1")
	done := make(chan struct{})
	var looking, calling sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			for _, i := range append(c.Conns(), p.Conns()...) {
				if i.InFlight < 0 || i.Age < 0 || i.LastIn < 0 || i.LastOut < 0 || i.Queued < 0 {
					t.Errorf("got %+v, want nothing below zero", i)
				}
			}
		}
	})
	for range 8 {
		calling.Go(func() {
			for range 200 {
				if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
					t.Errorf("got %q, %v, want x", got, err)
				}
			}
		})
	}
	calling.Wait()
	close(done)
	looking.Wait()
}
