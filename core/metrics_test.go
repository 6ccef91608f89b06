package core_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
)

// everySecond is three-strike with an interval of 1 s.
func (w *world) everySecond() spi.Heartbeat {
	w.Helper()
	cat := spi.NewCatalog()
	w.must(heartbeat.Register(cat))
	h, err := cat.Heartbeats.Open(context.Background(), spi.Env{}, spi.Ref{Use: "three-strike", With: spi.Raw{JSON: []byte(`{"interval":"1s"}`)}})
	w.must(err)
	return h
}

// TestMetricsOfADeath counts a strike-out and what follows, on both sides.
func TestMetricsOfADeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.Heartbeat = w.everySecond() }, g.service())
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Heartbeat, cfg.Timeout, cfg.Retry.Attempts = w.everySecond(), spi.Duration(time.Hour), 1
		}, "p:1")
		call := start[string](t.Context(), c, "Gate", "Pass", "x")
		<-g.entered
		time.Sleep(10*time.Second + time.Millisecond)
		before := c.Metrics()
		if before.Pings < 9 || before.Pings > 11 || before.RTT.Count != before.Pings || before.PingDelay.Count != before.Pings || before.Strikes != nil ||
			!maps.Equal(before.Conns, map[core.ConnState]int{core.ConnUp: 1}) {
			t.Errorf("healthy: got %+v, want ten PINGs answered on one connection that is up", before)
		}
		w.network.Link("p:1").ToConsumer.Drop()
		w.network.Link("p:1").ToProvider.Drop()
		time.Sleep(2200 * time.Millisecond)
		if m := c.Metrics(); m.Conns[core.ConnSuspect] != 1 {
			t.Errorf("silent for 2.2 s: got %v, want one suspect", m.Conns)
		}
		if _, err := call.wait(); err == nil {
			t.Error("got an answer over a dead connection")
		}
		w.network.Link("p:1").Heal()
		time.Sleep(5 * time.Second) // 1 s at most until the next attempt
		m := c.Metrics()
		if !maps.Equal(m.Strikes, map[int]uint64{1: 1, 2: 1, 3: 1}) || !maps.Equal(m.Disconnected, map[string]uint64{spi.ReasonHeartbeatTimeout: 1}) ||
			!maps.Equal(m.Failed, map[spi.Sent]uint64{spi.SentMaybe: 1}) || m.Connected != 2 || m.Reconnected != 1 || m.ReconnectAttempts != 1 ||
			m.ReconnectDelay.Count != 1 || m.Down.Count != 1 || m.Down.Sum != m.ReconnectDelay.Sum || m.Role != spi.RoleConsumer || m.Recovered != 0 || m.EventsLost != 0 {
			t.Errorf("consumer: got %+v, want three strikes, a death, a failed call and a new connection", m)
		}
		m = p.Metrics()
		gone := m.Disconnected[spi.ReasonHeartbeatTimeout] + m.Disconnected[spi.ReasonSuperseded] + m.Disconnected[spi.ReasonEOF] // which of them, is a matter of phase
		if m.Role != spi.RoleProvider || m.Connected != 2 || gone != 1 || m.Cancelled != 1 || m.Strikes[1] != 1 || m.Failed != nil || m.ReconnectAttempts != 0 {
			t.Errorf("provider: got %+v, want a connection lost with its request, and another one", m)
		}
		close(g.leave)
	})
}

// TestMetricsOfAStall: a PING that the kernel does not take, and the write that it
// waits behind, are seen for as long as they wait.
func TestMetricsOfAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Heartbeat = w.everySecond() }, "p:1")
		time.Sleep(3 * time.Second)
		way := w.network.Link("p:1").ToProvider
		way.Stall()
		time.Sleep(1900 * time.Millisecond) // a PING is due within 1 s, and dies after 2 s
		way.Resume()
		synctest.Wait()
		m := c.Metrics()
		if m.WriteStall.Count != 1 || m.WriteStall.Sum < 900*time.Millisecond || m.WriteStall.Sum > 1900*time.Millisecond {
			t.Errorf("got writes that waited %v, want one, of 0.9 s to 1.9 s", m.WriteStall)
		}
		if got := m.PingDelay.Quantile(1); m.PingDelay.Count != m.Pings || got < 800*time.Millisecond {
			t.Errorf("got a longest delay of %v of %d PINGs, want at least 0.8 s, and %d", got, m.PingDelay.Count, m.Pings)
		}
	})
}

// TestMetricsOfLateAnswers: one that nobody waits for any more.
func TestMetricsOfLateAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(nil, "p:1")
		peer := w.accept(l)
		call := start[string](t.Context(), c, "echo", "Say", "x")
		request := w.readAs(peer, coretest.TypeRequest)
		w.must(peer.Answer(request, request.Body))
		_, _ = call.wait()
		w.must(peer.Answer(request, request.Body))
		synctest.Wait()
		if m := c.Metrics(); m.Late != 1 {
			t.Errorf("got %d late answers, want 1", m.Late)
		}
	})
}

// connLedger notes the events of each connection.
type connLedger struct {
	mu    sync.Mutex
	conns map[uint64][]string
}

func (l *connLedger) note(id uint64, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[id] = append(l.conns[id], what)
}

func (l *connLedger) observer() *core.Observer {
	return &core.Observer{
		Connected:    func(e core.Connected) { l.note(e.ID, "connected") },
		Strike:       func(e core.Strike) { l.note(e.ID, "strike") },
		Recovered:    func(e core.Recovered) { l.note(e.ID, "recovered") },
		Disconnected: func(e core.Disconnected) { l.note(e.ID, "disconnected") },
		Reconnected:  func(e core.Reconnected) { l.note(e.ID, "reconnected") },
		Superseded:   func(e core.Superseded) { l.note(e.ID, "superseded") },
	}
}

// check holds the life of every connection against the rules.
func (l *connLedger) check(t *testing.T, side string) {
	t.Helper()
	for id, life := range l.conns {
		ends := len(slices.DeleteFunc(slices.Clone(life), func(e string) bool { return e != "disconnected" }))
		if life[0] != "connected" || life[len(life)-1] != "disconnected" || ends != 1 {
			t.Errorf("%s, connection %d: got %q, want connected first, and disconnected once and last", side, id, life)
		}
	}
}

// TestOneDisconnectedPerConnected, whatever ends the connections, and in order.
func TestOneDisconnectedPerConnected(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, r := newWorld(t), rand.New(rand.NewPCG(seed, 1))
				atProvider, atConsumer := &connLedger{conns: make(map[uint64][]string)}, &connLedger{conns: make(map[uint64][]string)}
				p := w.provider("p:1", func(cfg *core.ProviderConfig) {
					cfg.Heartbeat, cfg.Observers = w.everySecond(), []*core.Observer{atProvider.observer()}
				}, echo{})
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					cfg.Heartbeat, cfg.Observers = w.everySecond(), []*core.Observer{atConsumer.observer()}
				}, "p:1")
				link := w.network.Link("p:1")
				for range 30 {
					time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
					switch r.IntN(6) {
					case 0:
						link.Cut()
					case 1:
						link.ToConsumer.Drop()
					case 2:
						link.ToProvider.Drop()
					case 3:
						link.ToProvider.Stall()
					default:
						link.Heal()
					}
				}
				link.Heal()
				time.Sleep(time.Minute)
				w.must(c.Close())
				w.must(p.Shutdown(t.Context()))
				for _, side := range []struct {
					name string
					m    core.Metrics
					l    *connLedger
				}{{"consumer", c.Metrics(), atConsumer}, {"provider", p.Metrics(), atProvider}} {
					side.l.check(t, side.name)
					var ended uint64
					for _, n := range side.m.Disconnected {
						ended += n
					}
					if n := uint64(len(side.l.conns)); side.m.Connected != n || ended != n || n == 0 {
						t.Errorf("%s: got %d connected and %d disconnected counted, want %d as told", side.name, side.m.Connected, ended, n)
					}
				}
			})
		})
	}
}

// TestSlowObserverDelaysNobody: while one blocks, calls are answered, the dead are
// found and connections made; Close waits for it, and for the last event.
func TestSlowObserverDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, release := newWorld(t), make(chan struct{})
		var told []string
		slow := &core.Observer{
			Connected:    func(core.Connected) { <-release; told = append(told, "connected") },
			Disconnected: func(core.Disconnected) { told = append(told, "disconnected") },
		}
		w.provider("p:1", nil, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Heartbeat, cfg.Observers = w.everySecond(), []*core.Observer{slow}
		}, "p:1")
		say := func() {
			t.Helper()
			if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
				t.Errorf("got %q, %v, want x", got, err)
			}
		}
		say()
		w.network.Link("p:1").ToConsumer.Drop()
		time.Sleep(5 * time.Second)
		w.network.Link("p:1").Heal()
		time.Sleep(10 * time.Second)
		say()
		if m := c.Metrics(); m.Reconnected == 0 || m.Strikes[3] == 0 {
			t.Errorf("got %+v, want a death and a new connection", m)
		}
		if len(told) != 0 {
			t.Errorf("got %q told, want nothing yet", told)
		}
		closed := make(chan struct{})
		go func() { c.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned before the observer did")
		default:
		}
		close(release)
		<-closed
		if want := c.Metrics().Connected; uint64(len(told)) != 2*want || told[len(told)-1] != "disconnected" {
			t.Errorf("got %q, want %d connections with their ends", told, want)
		}
	})
}
