package core_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// suspected waits until a consumer has counted its first strike, of a peer whose
// answers are held up.
func (w *world) suspected(o *told, address string) {
	w.Helper()
	w.network.Link(address).ToConsumer.Stall()
	w.until("a strike", 3*interval, func() bool { return o.count("strike") > 0 })
}

// TestShutdownOfASuspect: a consumer that drains goes on to watch. It waits for a peer
// that comes back, and not for one that does not.
func TestShutdownOfASuspect(t *testing.T) {
	for _, test := range []struct {
		name  string
		back  bool
		least time.Duration
		most  time.Duration
		cut   string
	}{
		{"it comes back", true, 0, interval / 2, ""},
		{"it is dead", false, 0, 4 * interval, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, o, g := newWorld(t), tell(), newGate()
				w.provider("p:1", nil, g.service())
				c := w.consumer(beating(w.strikes(interval), o), "p:1")
				synctest.Wait()
				call := start[string](t.Context(), c, "Gate", "Pass", "x")
				<-g.entered
				w.suspected(o, "p:1")
				if test.back {
					time.AfterFunc(interval/10, func() {
						w.network.Link("p:1").Heal()
						g.leave <- struct{}{}
					})
				}
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if err := c.Shutdown(ctx); err != nil {
					t.Errorf("got %v, want nothing cut off by the end of the drain time", err)
				}
				if took := time.Since(began); took < test.least || took > test.most {
					t.Errorf("it took %v, want %v to %v", took, test.least, test.most)
				}
				_, err := call.wait()
				if test.back && err != nil {
					t.Errorf("got %v, want the answer", err)
				}
				if !test.back {
					w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonHeartbeatTimeout, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "3 heartbeats unanswered"})
				}
				w.network.Link("p:1").Heal()
				synctest.Wait()
			})
		})
	}
}

// TestShutdownWithADeadConsumer: a provider that drains does not wait for a consumer
// that is dead longer than its heartbeat does.
func TestShutdownWithADeadConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o, g := newWorld(t), tell(), newGate()
		p := w.provider("p:1", served(w.strikes(interval), o), g.service())
		silent := w.dial("p:1")
		w.must(silent.Write(coretest.Request(1, "Gate", "Pass", []byte(`"x"`))))
		<-g.entered
		go func() { // it reads, and answers nothing
			for {
				if _, err := silent.Read(); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w.must(p.Shutdown(ctx))
		if took := time.Since(began); took > 4*interval+2*look {
			t.Errorf("it took %v, want no longer than a death", took)
		}
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonHeartbeatTimeout || d.Cancelled != 1 {
			t.Errorf("got %s with %d cancelled, want heartbeat_timeout with 1", d.Reason, d.Cancelled)
		}
	})
}

// TestGoAwayOfASuspect: a suspect that says GOAWAY drains as any other; the next
// connection is not suspect, and does not call it dead.
func TestGoAwayOfASuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		defer l.Close()
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		p := w.accept(l)
		call := start[string](t.Context(), c, "echo", "Say", "x")
		request, err := p.Await(coretest.TypeRequest)
		w.must(err)
		read := make(chan struct{})
		go func() { // nothing is answered
			defer close(read)
			for {
				if f, err := p.Read(); err != nil || f.Type == coretest.TypeGoAway {
					return
				}
			}
		}()
		w.until("a strike", 3*interval, func() bool { return o.count("strike") == 1 })
		w.must(p.Write(coretest.GoAway(1, "bye")))
		<-read
		nc, err := l.Accept()
		w.must(err)
		next := coretest.NewPeer(nc)
		defer next.Close()
		hello, err := next.BeProvider(coretest.Hello{Serializers: []string{"json"}})
		w.must(err)
		if hello.Supersedes != [16]byte{} {
			t.Error("the next connection calls one dead that drains")
		}
		synctest.Wait()
		for _, i := range c.Conns() {
			if i.State == core.ConnSuspect {
				t.Errorf("got %+v, want the old one to drain and the new one to be up", i)
			}
		}
		w.must(p.Answer(request, []byte(`"x"`)))
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want the answer of the one that drains", got, err)
		}
		synctest.Wait()
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonGoAway {
			t.Errorf("got %s, want goaway", d.Reason)
		}
	})
}

// TestDeathOfAHedge: the death of one of two connections decides nothing while the
// other one may answer.
func TestDeathOfAHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		a, b := &shelf{name: "a", took: time.Hour}, &shelf{name: "b", took: 10 * interval}
		w.provider("a:1", nil, serviceOf("shelf", a))
		w.provider("b:1", nil, serviceOf("shelf", b))
		c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) {
			hedging(cfg)
			cfg.Timeout = spi.Duration(time.Hour)
		}), "a:1", "b:1")
		synctest.Wait()
		call := start[string](t.Context(), c, "shelf", "Read")
		time.Sleep(interval / 2) // both have it
		w.network.Link("a:1").ToConsumer.Drop()
		if got, err := call.wait(); got != "b" || err != nil {
			t.Errorf("got %q, %v, want the answer of b", got, err)
		}
		if got := o.count("disconnected"); got == 0 {
			t.Error("a did not die meanwhile")
		}
		if a.ran != 1 || b.ran != 1 {
			t.Errorf("it ran %d and %d times, want once each", a.ran, b.ran)
		}
		w.network.Link("a:1").Heal()
	})
}

// serviceOf registers an implementation under a name.
func serviceOf(name string, impl any) *core.Service {
	s, err := core.NewService(name, impl)
	if err != nil {
		panic(err)
	}
	return s
}

// TestDeathWithAFullQueue: of calls that wait in the queue, or for room in it, when the
// peer dies, nothing was sent, so that they are made again.
func TestDeathWithAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("p:1", nil, echo{})
		c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) {
			cfg.Limits.WriteQueue, cfg.WriteTimeout = 64<<10, spi.Duration(time.Hour) // the heartbeat finds it
		}), "p:1")
		synctest.Wait()
		w.network.Link("p:1").ToProvider.Stall()
		const calls, size = 20, 30_000
		var all []*started[string]
		for range calls {
			all = append(all, start[string](t.Context(), c, "echo", "Say", strings.Repeat("x", size)))
			synctest.Wait()
		}
		w.until("the end", 10*interval, func() bool { return o.count("disconnected") == 1 })
		d := last[core.Disconnected](t, o)
		if d.Reason != spi.ReasonWriteStalled || d.QueueBytes == 0 || d.Failed[spi.SentMaybe] != 0 || d.Failed[spi.SentNo] == 0 {
			t.Errorf("got %s with %d bytes queued and %v failed, want write_stalled, some, and none that may have been sent", d.Reason, d.QueueBytes, d.Failed)
		}
		w.network.Link("p:1").Heal()
		for _, call := range all {
			if got, err := call.wait(); len(got) != size || err != nil {
				t.Errorf("got %d bytes, %v, want the answer on the next connection", len(got), err)
			}
		}
	})
}

// TestDeathInTheMidstOfLargeBodies: what was cut, collected or waits to be decoded is
// given back on both sides.
func TestDeathInTheMidstOfLargeBodies(t *testing.T) {
	for _, direction := range []string{"request", "answer"} {
		t.Run(direction, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, o, at := newWorld(t), tell(), tell()
				p := w.provider("p:1", served(w.strikes(interval), at), echo{}, faulty{})
				c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) {
					cfg.WriteTimeout, cfg.FrameTimeout = spi.Duration(time.Hour), spi.Duration(time.Hour)
				}), "p:1")
				synctest.Wait()
				link := w.network.Link("p:1")
				way := link.ToProvider
				if direction == "answer" {
					way = link.ToConsumer
				}
				passed := 0
				way.Corrupt(func(_ int64, b []byte) { // it damages nothing
					if passed += len(b); passed > 300_000 {
						go way.Stall()
					}
				})
				var calls []*started[string]
				for range 3 {
					if direction == "answer" {
						calls = append(calls, start[string](t.Context(), c, "faulty", "Large", 1<<20))
					} else {
						calls = append(calls, start[string](t.Context(), c, "echo", "Say", strings.Repeat("x", 1<<20)))
					}
				}
				w.until("both ends", 20*interval, func() bool { return o.count("disconnected") == 1 && at.count("disconnected") >= 1 })
				lost := 0
				for _, call := range calls {
					if _, err := call.wait(); errors.Is(err, spi.ErrConnLost) {
						lost++
					} else if err != nil {
						t.Errorf("got %v, want a lost connection, or nothing where all had passed", err)
					}
				}
				if lost == 0 {
					t.Error("no call was lost")
				}
				w.until("nothing under way", interval, func() bool { return p.Requests() == 0 })
				link.Heal()
				w.until("a new connection", 5*interval, func() bool { return o.count("reconnected") == 1 })
				if got, err := invoke[string](t.Context(), c, "faulty", "Large", 1<<20); len(got) != 1<<20 || err != nil {
					t.Errorf("got %d bytes, %v on the next connection, want all", len(got), err)
				}
			})
		})
	}
}

// TestDeathOfAConsumerThatWaitsToBeUnpacked: its bodies wait no more, and leave room.
func TestDeathOfAConsumerThatWaitsToBeUnpacked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, o := newWorld(t), newSlowJSON(), tell()
		p := w.unpackingProvider(s, func(cfg *core.ProviderConfig) { served(w.strikes(interval), o)(cfg) })
		answering := func(p *coretest.Peer) {
			for {
				f, err := p.Read()
				if err != nil {
					return
				}
				if f.Type == coretest.TypePing {
					_ = p.Write(coretest.Frame{Type: coretest.TypePong, ID: f.ID})
				}
			}
		}
		const large = 900 << 10
		lively, silent := w.dialDeflating(), w.dialDeflating()
		for id := range uint64(4) {
			w.must(lively.Write(packedRequest(id+1, large)))
		}
		if got := s.seen(); got != 4 {
			t.Fatalf("got %d large bodies at once, want 4", got)
		}
		go answering(lively)
		for id := range uint64(3) {
			w.must(silent.Write(packedRequest(id+1, large)))
		}
		synctest.Wait()
		if got := p.Requests(); got != 7 {
			t.Fatalf("got %d requests, want 4 that are decoded and 3 that wait", got)
		}
		w.must(silent.AwaitEnd())
		w.until("only those of the other", interval, func() bool { return p.Requests() == 4 })
		w.must(lively.Write(packedRequest(9, large)))
		s.leave <- struct{}{}
		w.until("its place is taken", interval, func() bool { return s.seen() == 1 })
		close(s.leave)
		w.until("nothing under way", interval, func() bool { return p.Requests() == 0 })
	})
}

// TestObserverCallsBack: an observer may look, call and close, the latter in a
// goroutine of its own.
func TestObserverCallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("a:1", nil, echo{})
		w.provider("b:1", nil, echo{})
		var c *core.Consumer
		ready, closed := make(chan struct{}), make(chan struct{})
		calls := 0
		look := func() {
			<-ready
			_, _ = c.Conns(), c.Metrics()
			if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
				t.Errorf("got %q, %v from an observer, want an answer", got, err)
			}
			calls++
		}
		c = w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) {
			cfg.Observers = append(cfg.Observers, &core.Observer{
				Connected: func(core.Connected) { look() },
				Strike:    func(core.Strike) { look() },
				Disconnected: func(d core.Disconnected) {
					if d.Reason == spi.ReasonHeartbeatTimeout {
						look()
						go func() {
							defer close(closed)
							_ = c.Close()
						}()
					}
				},
			})
		}), "a:1", "b:1")
		close(ready)
		synctest.Wait()
		w.network.Link("a:1").ToConsumer.Drop()
		<-closed
		if calls != 2+3+1 {
			t.Errorf("got %d calls, want one of each event", calls)
		}
	})
}

// TestSuspectIsRemoved: an endpoint that is suspect and no longer listed drains, and is
// not connected to again; one of the same address that is listed anew is.
func TestSuspectIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o, d, g := newWorld(t), tell(), newDirectory(), newGate()
		d.list("Gate", endpointsOf("p:1"))
		d.list("echo", endpointsOf("p:1")) // two services, one endpoint
		w.provider("p:1", nil, g.service(), echo{})
		c := w.viaRegistry(d, beating(w.strikes(interval), o))
		_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
		w.must(err)
		call := start[string](t.Context(), c, "Gate", "Pass", "x")
		<-g.entered
		w.suspected(o, "p:1")
		d.list("echo", endpointsOf())
		synctest.Wait()
		if state := w.conn(c, "p:1").State; state != core.ConnSuspect {
			t.Errorf("got %s where one of two services is removed, want suspect still", state)
		}
		d.list("Gate", endpointsOf())
		synctest.Wait()
		if state := w.conn(c, "p:1").State; state != core.ConnDraining {
			t.Errorf("got %s where both are removed, want draining", state)
		}
		d.list("echo", endpointsOf("p:1"))
		w.network.Link("p:1").Heal()
		if got, err := invoke[string](t.Context(), c, "echo", "Say", "y"); got != "y" || err != nil {
			t.Errorf("got %q, %v of the endpoint that is listed anew, want an answer", got, err)
		}
		g.leave <- struct{}{}
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v of the connection that drains, want the answer", got, err)
		}
		synctest.Wait()
		if list := c.Conns(); len(list) != 1 || list[0].State != core.ConnUp {
			t.Errorf("got %+v, want one connection, which is up", list)
		}
	})
}

// TestHTTPHasNoHeartbeat: a client of HTTP that reads slowly is not measured by the
// interval of those that have a heartbeat.
func TestHTTPHasNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", served(w.strikes(100*time.Millisecond), nil), faulty{})
		nc, err := w.network.Dial(t.Context(), "p:1")
		w.must(err)
		defer nc.Close()
		_, err = io.WriteString(nc, "POST /faulty/Large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nConnection: close\r\n\r\n[1048576]")
		w.must(err)
		time.Sleep(9 * time.Second)
		if text, err := io.ReadAll(nc); err != nil || len(text) < 1<<20 || !strings.HasPrefix(string(text), "HTTP/1.1 200") {
			t.Errorf("got %d bytes, %v, %.50q after a pause of 9 s, want the answer", len(text), err, text)
		}
	})
}
