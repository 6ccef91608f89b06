package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
)

// What most of these tests beat at.
const (
	interval = time.Second
	look     = interval / 10 // the second look
)

// beat opens a strategy as a configuration would.
func (w *world) beat(role spi.Role, use string, keys map[string]any) spi.Heartbeat {
	w.Helper()
	cat := spi.NewCatalog()
	w.must(heartbeat.Register(cat))
	document, err := json.Marshal(keys)
	w.must(err)
	h, err := cat.Heartbeats.Open(context.Background(), spi.Env{Role: role}, spi.Ref{Use: use, With: spi.Raw{JSON: document}})
	w.must(err)
	return h
}

// strikes opens three-strike with an interval.
func (w *world) strikes(every time.Duration) spi.Heartbeat {
	w.Helper()
	return w.beat(spi.RoleConsumer, "three-strike", map[string]any{"interval": every.String()})
}

// TestConsumerStrikesOut: after three heartbeats in a row without an answer the
// consumer gives the connection up, fails what waited on it exactly once, and
// connects again.
func TestConsumerStrikesOut(t *testing.T) {
	for phase := range 40 { // the silence may begin anywhere in a round
		interval := []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Minute}[phase%4]
		look := min(interval/10, 100*time.Millisecond)
		synctest.Test(t, func(t *testing.T) {
			w, o, g := newWorld(t), tell(), newGate()
			w.provider("p:1", nil, g.service())
			c := w.consumer(beating(w.strikes(interval), o), "p:1")
			synctest.Wait()
			call := start[string](t.Context(), c, "Gate", "Pass", "x")
			<-g.entered
			time.Sleep(10*interval + time.Duration(phase)*interval/40 + interval/80)
			if got := o.text(); got != "connected 1" {
				t.Fatalf("got %q of a healthy connection, want nothing but its beginning", got)
			}
			w.network.Link("p:1").ToProvider.Drop()
			synctest.Wait()
			_, err := call.wait()
			w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonHeartbeatTimeout, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1",
				message: "3 heartbeats unanswered"})
			if !errors.Is(err, spi.ErrConnLost) {
				t.Errorf("got %v, want spi.ErrConnLost in it", err)
			}
			w.network.Link("p:1").Heal()
			w.until("a new connection", 5*time.Second, func() bool { return o.count("reconnected") == 1 })
			got, want := o.text(), "strike 1 1/3, strike 1 2/3, strike 1 3/3, disconnected 1 heartbeat_timeout after 3, attempt 1, connected 2, reconnected 2 in 1"
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			d := last[core.Disconnected](t, o)
			if least, most := 3*interval+look, 4*interval+look; d.Silent < least || d.Silent > most {
				t.Errorf("dead after a silence of %v, want %v to %v", d.Silent, least, most)
			}
			if d.Failed[spi.SentMaybe] != 1 || len(d.Failed) != 1 {
				t.Errorf("got failed calls %v, want one that may have been sent", d.Failed)
			}
			_, err = invoke[string](t.Context(), c, "Gate", "Unknown")
			if spi.CodeOf(err) != spi.Unimplemented {
				t.Errorf("got %v, want an answer of the provider that there is no such method", err)
			}
		})
	}
}

// TestExactlyThree counts on the wire: three PINGs without an answer, no fourth.
func TestExactlyThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		w.consumer(beating(w.strikes(interval), o), "p:1")
		p := w.accept(l)
		for range 5 {
			w.pong(p)
		}
		var asked []uint64
		for {
			f, err := p.Read()
			if err != nil {
				break
			}
			if f.Type == coretest.TypePing {
				asked = append(asked, f.ID)
			}
		}
		if want := []uint64{6, 7, 8}; !slices.Equal(asked, want) {
			t.Errorf("got PINGs %v before the end, want %v", asked, want)
		}
		if got, want := o.text(), "connected 1, strike 1 1/3, strike 1 2/3, strike 1 3/3, disconnected 1 heartbeat_timeout after 3"; !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
		l.Close()
	})
}

// pong reads up to the next PING and answers it.
func (w *world) pong(p *coretest.Peer) {
	w.Helper()
	f, err := p.Await(coretest.TypePing)
	w.must(err)
	w.must(p.Write(coretest.Frame{Type: coretest.TypePong, ID: f.ID}))
}

// TestStrikesAreConsecutive: a peer that answers every third PING, for ten hours, is
// suspected ten thousand times and never dead.
func TestStrikesAreConsecutive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		p := w.accept(l)
		const rounds = 12_000
		for i := range 3 * rounds {
			f, err := p.Await(coretest.TypePing)
			w.must(err)
			if i%3 == 2 {
				w.must(p.Write(coretest.Frame{Type: coretest.TypePong, ID: f.ID}))
			}
		}
		synctest.Wait()
		if strikes, back, ends := o.count("strike"), o.count("recovered"), o.count("disconnected"); strikes != 2*rounds || back != rounds || ends != 0 {
			t.Errorf("got %d strikes, %d recoveries, %d ends, want %d, %d and 0", strikes, back, ends, 2*rounds, rounds)
		}
		if m := c.Metrics(); m.Strikes[1] != rounds || m.Strikes[2] != rounds || m.Strikes[3] != 0 || m.RTT.Count != rounds {
			t.Errorf("got %v strikes and %d round trips counted, want %d of the first and of the second, and as many", m.Strikes, m.RTT.Count, rounds)
		}
		l.Close()
	})
}

// TestWhatIsNoSignOfLife: a peer that sends these, and does not answer, is dead; a
// peer that sends the others is not.
func TestWhatIsNoSignOfLife(t *testing.T) {
	for _, test := range []struct {
		name  string
		life  string
		frame coretest.Frame
		alive bool
	}{
		{"its own PING", "any_answer", coretest.Frame{Type: coretest.TypePing, ID: 1}, false},
		{"a PONG of a PING that was never sent", "any_answer", coretest.Frame{Type: coretest.TypePong, ID: 1 << 40}, false},
		{"the same, where only a PONG counts", "pong_only", coretest.Frame{Type: coretest.TypePong, ID: 1 << 40}, false},
		{"a PONG of no PING", "any_answer", coretest.Frame{Type: coretest.TypePong}, false},
		{"a late PONG", "any_answer", coretest.Frame{Type: coretest.TypePong, ID: 1}, true},
		{"a PONG of an old PING", "pong_only", coretest.Frame{Type: coretest.TypePong, ID: 1}, false},
		{"a frame of an unknown type", "any_answer", coretest.Frame{Type: 200}, false},
		{"a late answer", "any_answer", coretest.Failure(1<<20, spi.Internal, "late"), true},
		{"a late answer, where only a PONG counts", "pong_only", coretest.Failure(1<<20, spi.Internal, "late"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, o := newWorld(t), tell()
				l := w.listen("p:1")
				w.consumer(beating(w.beat(spi.RoleConsumer, "three-strike", map[string]any{"interval": interval.String(), "life": test.life}), o), "p:1")
				p := w.accept(l)
				w.pong(p)
				go func() { // what the consumer sends is not looked at
					for {
						if _, err := p.Read(); err != nil {
							return
						}
					}
				}()
				for range 100 {
					time.Sleep(interval * 6 / 10)
					if p.Write(test.frame) != nil {
						break
					}
				}
				if got, want := o.count("disconnected") == 0, test.alive; got != want {
					t.Errorf("got alive %v, want %v: %s", got, want, o.text())
				}
				l.Close()
				p.Close()
			})
		})
	}
}

// TestGoAwayIsNoSignOfLife: a peer that says only that it leaves, again and again, is
// dead to a call that waits.
func TestGoAwayIsNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		p := w.accept(l)
		call := start[string](t.Context(), c, "echo", "Say", "x")
		w.readAs(p, coretest.TypeRequest)
		go func() { _ = p.AwaitEnd() }()
		for range 20 {
			time.Sleep(interval * 6 / 10)
			if p.Write(coretest.GoAway(coretest.GoAwayShutdown, "")) != nil {
				break
			}
		}
		if d := last[core.Disconnected](t, o); d.ID != 1 || d.Reason != spi.ReasonHeartbeatTimeout || d.Failed[spi.SentMaybe] != 1 {
			t.Errorf("got %+v, want the first connection given up, with its call", d)
		}
		_, err := call.wait()
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonHeartbeatTimeout, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "3 heartbeats unanswered"})
		l.Close()
	})
}

// TestLargeFrameIsASignOfLife: a peer that brings a large answer slowly has no time
// to answer, and is alive.
func TestLargeFrameIsASignOfLife(t *testing.T) {
	for _, size := range []int{60_000, 300_000} { // read in one buffer, and in a buffer of its own
		synctest.Test(t, func(t *testing.T) {
			w, o := newWorld(t), tell()
			l := w.listen("p:1")
			w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) { cfg.FrameTimeout = spi.Duration(time.Hour) }), "p:1")
			p := w.accept(l)
			go func() {
				for {
					if _, err := p.Read(); err != nil {
						return
					}
				}
			}()
			frame := coretest.AppendFrame(nil, coretest.Frame{Type: coretest.TypeResponse, ID: 1 << 20, Body: make([]byte, size)})
			for len(frame) > 0 {
				n := min(len(frame), 5_000)
				w.must(p.WriteRaw(frame[:n]))
				frame = frame[n:]
				time.Sleep(interval * 9 / 10)
			}
			if got := o.text(); got != "connected 1" {
				t.Errorf("%d bytes: got %s, want no strike", size, got)
			}
			l.Close()
			p.Close()
		})
	}
}

// TestProviderStrikesOut: a provider disconnects a consumer that does not answer,
// cancels what it runs for it, and forgets it. It never dials.
func TestProviderStrikesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o, g := newWorld(t), tell(), newGate()
		p := w.provider("p:1", served(w.strikes(interval), o), g.service())
		silent := w.dial("p:1")
		synctest.Wait() // so that it is connection 1
		lively := w.dial("p:1")
		w.must(silent.Write(coretest.Request(1, "Gate", "Pass", []byte(`"x"`))))
		<-g.entered
		go func() {
			for {
				f, err := lively.Read()
				if err != nil {
					return
				}
				if f.Type == coretest.TypePing {
					_ = lively.Write(coretest.Frame{Type: coretest.TypePong, ID: f.ID})
				}
			}
		}()
		began := time.Now()
		w.must(silent.AwaitEnd())
		if took := time.Since(began); took < 3*interval+look || took > 4*interval+look {
			t.Errorf("dead after %v, want %v to %v", took, 3*interval+look, 4*interval+look)
		}
		time.Sleep(20 * interval)
		if got, want := o.text(), "connected 1, connected 2, strike 1 1/3, strike 1 2/3, strike 1 3/3, disconnected 1 heartbeat_timeout after 3"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if d := last[core.Disconnected](t, o); d.Cancelled != 1 {
			t.Errorf("got %d requests cancelled, want 1", d.Cancelled)
		}
		if list := p.Conns(); len(list) != 1 || list[0].ID != 2 || list[0].InFlight != 0 {
			t.Errorf("got %+v, want the second connection only, with nothing to do", list)
		}
	})
}

// TestSuspectIsAvoided: from the first strike calls go elsewhere, none of those under
// way is failed, and a sign of life brings the endpoint back at once.
func TestSuspectIsAvoided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o, g := newWorld(t), tell(), newGate()
		w.provider("a:1", nil, g.service(), named("a"))
		w.provider("b:1", nil, named("b"))
		c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = inOrder{} }), "a:1", "b:1")
		ask := func() string {
			got, err := invoke[string](t.Context(), c, "named", "Name")
			w.must(err)
			return got
		}
		synctest.Wait()
		waiting := start[string](t.Context(), c, "Gate", "Pass", "x")
		<-g.entered
		link := w.network.Link("a:1")
		for range 3 {
			if got := ask(); got != "a" {
				t.Fatalf("got an answer of %s, want the first", got)
			}
			link.ToConsumer.Stall()
			w.until("a strike", 3*interval, func() bool { return o.count("strike") > 0 })
			if got := ask(); got != "b" {
				t.Errorf("got an answer of %s with a strike, want the other", got)
			}
			if state := w.conn(c, "a:1").State; state != core.ConnSuspect {
				t.Errorf("got state %s, want suspect", state)
			}
			link.ToConsumer.Resume()
			synctest.Wait() // no time passes
			if got := ask(); got != "a" {
				t.Errorf("got an answer of %s after a sign of life, want the first again", got)
			}
			if got := o.count("recovered"); got == 0 {
				t.Error("the recovery was not told")
			}
			o.mu.Lock()
			clear(o.counts)
			o.mu.Unlock()
		}
		if waiting.isOver() {
			t.Error("a call under way has failed")
		}
		g.leave <- struct{}{}
		if got, err := waiting.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want the answer", got, err)
		}
	})
}

// named answers with its name.
type namedService string

func named(name string) *core.Service {
	s, err := core.NewService("named", namedService(name))
	if err != nil {
		panic(err)
	}
	return s
}

func (n namedService) Name() (string, error) { return string(n), nil }

// conn returns what a consumer says of one peer.
func (w *world) conn(c *core.Consumer, peer string) core.ConnInfo {
	w.Helper()
	for _, i := range c.Conns() {
		if i.Peer == peer {
			return i
		}
	}
	w.Fatalf("no connection to %s", peer)
	return core.ConnInfo{}
}

// TestAllSuspect: where every endpoint is suspect, calls use them all the same.
func TestAllSuspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("p:1", nil, echo{})
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		synctest.Wait()
		w.network.Link("p:1").ToConsumer.Stall()
		w.until("a strike", 3*interval, func() bool { return o.count("strike") > 0 })
		call := start[string](t.Context(), c, "echo", "Say", "x")
		synctest.Wait()
		w.network.Link("p:1").Heal()
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want the answer", got, err)
		}
	})
}

// TestDifferentHeartbeatsAreHealthy: what the other side does makes no difference;
// nothing happens for hours.
func TestDifferentHeartbeatsAreHealthy(t *testing.T) {
	fast := func(w *world) spi.Heartbeat { return w.strikes(5 * time.Second) }
	slow := func(w *world) spi.Heartbeat { return w.strikes(10 * time.Minute) }
	idle := func(w *world) spi.Heartbeat { return w.beat(spi.RoleConsumer, "idle", nil) }
	none := func(w *world) spi.Heartbeat { return w.beat(spi.RoleConsumer, "none", nil) }
	phi := func(w *world) spi.Heartbeat { return w.beat(spi.RoleConsumer, "phi-accrual", nil) }
	off := func(*world) spi.Heartbeat { return nil }
	kinds := []func(*world) spi.Heartbeat{fast, slow, idle, none, phi, off}
	for i, consumer := range kinds {
		for j, provider := range kinds {
			t.Run(fmt.Sprint(i, j), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, o := newWorld(t), tell()
					w.provider("p:1", served(provider(w), o), echo{})
					c := w.consumer(beating(consumer(w), o), "p:1")
					time.Sleep(3 * time.Hour)
					if got, want := o.text(), "connected 1, connected 1"; got != want {
						t.Errorf("got %s, want %s", got, want)
					}
					if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
						t.Errorf("got %q, %v after hours, want an answer", got, err)
					}
				})
			})
		}
	}
}

// TestTenThousandDeaths: connect, strike out, connect again, ten thousand times; what
// is left is what was there.
func TestTenThousandDeaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o, at := newWorld(t), tell(), tell()
		w.log.SetLevel(0)
		p := w.provider("p:1", served(w.strikes(interval), at), echo{})
		quick := func(cfg *core.ConsumerConfig) {
			cfg.Reconnect = core.Reconnect{First: 1, Base: spi.Duration(time.Millisecond), Factor: 1, Cap: spi.Duration(time.Millisecond), Stable: 0}
		}
		c := w.consumer(beating(w.strikes(interval), o, quick), "p:1")
		link := w.network.Link("p:1")
		const deaths = 10_000
		w.until("the first connection", time.Second, func() bool { return o.count("connected") == 1 && at.count("connected") == 1 })
		runtime.GC()
		before := runtime.NumGoroutine()
		for i := range deaths {
			switch i % 3 { // who finds out: the consumer, the provider by its next connection, both
			case 0:
				link.ToProvider.Drop()
			case 1:
				link.ToConsumer.Drop()
			default:
				link.ToProvider.Drop()
				link.ToConsumer.Drop()
			}
			for o.count("disconnected") <= i {
				time.Sleep(interval / 4)
			}
			link.Heal()
			for o.count("connected") < i+2 {
				time.Sleep(interval / 20)
			}
		}
		time.Sleep(10 * interval)
		synctest.Wait()
		if got := o.count("disconnected"); got != deaths {
			t.Errorf("got %d ends at the consumer, want %d", got, deaths)
		}
		if up, down := at.count("connected"), at.count("disconnected"); up-down != 1 {
			t.Errorf("the provider was told of %d connections and %d ends, want one more", up, down)
		}
		if got := len(p.Conns()); got != 1 {
			t.Errorf("got %d connections at the provider, want 1", got)
		}
		if after := runtime.NumGoroutine(); after > before+3 { // those of other tests may still be ending
			t.Errorf("got %d goroutines, %d before", after, before)
		}
		if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
			t.Errorf("got %q, %v at the end, want an answer", got, err)
		}
		// Where the provider was first, and its end came through, the consumer saw that.
		if m := c.Metrics(); m.Disconnected[spi.ReasonHeartbeatTimeout]+m.Disconnected[spi.ReasonEOF] != deaths || m.Reconnected != deaths {
			t.Errorf("got %v and %d reconnects counted, want %d", m.Disconnected, m.Reconnected, deaths)
		}
	})
}
