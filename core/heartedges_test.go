package core_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// TestSignsOfLifeAtAProvider: a consumer that sends these, and does not answer, is dead
// or alive.
func TestSignsOfLifeAtAProvider(t *testing.T) {
	for _, test := range []struct {
		name  string
		frame coretest.Frame
		alive bool
	}{
		{"its own PING", coretest.Frame{Type: coretest.TypePing, ID: 1}, false},
		{"a CANCEL", coretest.Frame{Type: coretest.TypeCancel, ID: 1 << 20}, false},
		{"a frame of an unknown type", coretest.Frame{Type: 200}, false},
		{"a CHUNK", coretest.Frame{Type: coretest.TypeChunk, ID: 1 << 20, Body: []byte("x")}, true},
		{"a REQUEST", coretest.Request(1<<20, "echo", "Unknown", nil), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, o := newWorld(t), tell()
				w.provider("p:1", served(w.strikes(interval), o), echo{})
				p := w.dial("p:1")
				go func() {
					for {
						if _, err := p.Read(); err != nil {
							return
						}
					}
				}()
				for i := range uint64(20) {
					time.Sleep(interval * 6 / 10)
					test.frame.ID += (i + 1) << 20
					if p.Write(test.frame) != nil {
						break
					}
				}
				if got := o.count("disconnected") == 0; got != test.alive {
					t.Errorf("got alive %v, want %v: %s", got, test.alive, o.text())
				}
			})
		})
	}
}

// TestProgressRecovers: a suspect is one no longer with the first 4 KiB of a large
// frame, and not only at the end of the round, or of the frame.
func TestProgressRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		defer l.Close()
		w.consumer(beating(w.strikes(interval), o), "p:1")
		p := w.accept(l)
		go func() {
			for {
				if _, err := p.Read(); err != nil {
					return
				}
			}
		}()
		w.until("a strike", 3*interval, func() bool { return o.count("strike") == 1 })
		frame := coretest.AppendFrame(nil, coretest.Frame{Type: coretest.TypeResponse, ID: 1 << 20, Body: make([]byte, 300_000)})
		w.must(p.WriteRaw(frame[:5000]))
		if got := o.count("recovered"); got != 1 {
			t.Errorf("got %d recoveries after 5,000 bytes of a frame, want one at once", got)
		}
	})
}

// TestSlowHandshakeIsNoSilence: what counts is when HELLO came.
func TestSlowHandshakeIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		defer l.Close()
		c := w.consumer(beating(w.strikes(interval), nil), "p:1")
		nc, err := l.Accept()
		w.must(err)
		const slow = 1500 * time.Millisecond
		time.Sleep(slow)
		p := coretest.NewPeer(nc)
		defer p.Close()
		_, err = p.BeProvider(coretest.Hello{Serializers: []string{"json"}})
		w.must(err)
		synctest.Wait()
		if i := w.conn(c, "p:1"); i.LastSign.D() != 0 || i.Age.D() != slow {
			t.Errorf("got the last sign of life %v ago on a connection of %v, want now", i.LastSign, i.Age)
		}
	})
}

// TestOneStrikeOfAStalledWrite: that the PING is being written, and not taken, is known
// before there is a second one.
func TestOneStrikeOfAStalledWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("p:1", nil, echo{})
		one := w.beat(spi.RoleConsumer, "three-strike", map[string]any{"interval": interval.String(), "strikes": 1})
		w.consumer(beating(one, o, func(cfg *core.ConsumerConfig) { cfg.WriteTimeout = spi.Duration(time.Minute) }), "p:1")
		time.Sleep(time.Minute)
		w.network.Link("p:1").ToProvider.Stall()
		w.until("the end", 3*interval, func() bool { return o.count("disconnected") == 1 })
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonWriteStalled || d.Strikes != 1 {
			t.Errorf("got %s with %d strikes, want write_stalled with 1", d.Reason, d.Strikes)
		}
	})
}

// TestCreditIsBounded: an hour of silence does not pay for a flood.
func TestCreditIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("p:1", served(nil, o), echo{})
		p := w.dial("p:1")
		w.must(p.Write(coretest.Frame{Type: coretest.TypePing, ID: 1}))
		w.readAs(p, coretest.TypePong)
		time.Sleep(time.Hour)
		var burst []byte
		for i := range uint64(51) {
			burst = coretest.AppendFrame(burst, coretest.Frame{Type: coretest.TypePing, ID: i + 2})
		}
		go func() { _ = p.WriteRaw(burst) }()
		if f, err := p.Await(coretest.TypeGoAway); err != nil || f.Code != 3 {
			t.Errorf("got %s, %v, want GOAWAY: too many pings", f, err)
		}
	})
}

// TestTokensOfTwins: a second connection with the name of a first one neither takes
// its place nor ends it, and its end does not make the name forgotten.
func TestTokensOfTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		p := w.provider("p:1", served(nil, o), echo{})
		enter := func(token, supersedes byte) *coretest.Peer {
			nc, err := w.network.Dial(t.Context(), "p:1")
			w.must(err)
			peer := coretest.NewPeer(nc)
			t.Cleanup(func() { peer.Close() })
			_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json"}, Token: [16]byte{token}, Supersedes: [16]byte{supersedes}})
			w.must(err)
			synctest.Wait()
			return peer
		}
		left := func() (ids []uint64) {
			synctest.Wait()
			for _, i := range p.Conns() {
				ids = append(ids, i.ID)
			}
			slices.Sort(ids)
			return ids
		}
		enter(1, 0)
		twin := enter(1, 1)
		if got, want := left(), []uint64{1, 2}; !slices.Equal(got, want) {
			t.Errorf("got %v left after a twin, want %v", got, want)
		}
		w.must(twin.Close())
		synctest.Wait()
		enter(2, 1)
		if got, want := left(), []uint64{3}; !slices.Equal(got, want) {
			t.Errorf("got %v left after the first was superseded, want %v", got, want)
		}
	})
}

// curious is a heartbeat that counts what it is asked about.
type curious struct {
	spi.Heartbeat
	mu    sync.Mutex
	asked map[uint64]int
}

func (c *curious) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	c.mu.Lock()
	c.asked[s.ConnID]++
	c.mu.Unlock()
	return c.Heartbeat.Decide(s, st)
}

func (c *curious) of(id uint64) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[id]
}

// TestNobodyAsksAboutTheGone: however a connection ends, its watch ends with it.
func TestNobodyAsksAboutTheGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		h := &curious{Heartbeat: w.strikes(interval), asked: make(map[uint64]int)}
		w.provider("p:1", nil, echo{})
		w.consumer(beating(h, o), "p:1")
		for id := range uint64(5) {
			w.until(fmt.Sprintf("connection %d", id+1), time.Minute, func() bool { return o.count("connected") == int(id)+1 })
			time.Sleep(11 * time.Second)
			w.network.Link("p:1").Cut()
			synctest.Wait()
			before := h.of(id + 1)
			time.Sleep(10 * interval)
			if after := h.of(id + 1); before == 0 || after != before {
				t.Errorf("connection %d: asked %d times, then %d, want some, and none after its end", id+1, before, after)
			}
		}
	})
}

// TestDrainingIsNotTheEndpoint: that the connection of before is suspect says nothing
// about the one that took its place.
func TestDrainingIsNotTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("a:1")
		defer l.Close()
		w.provider("b:1", nil, named("b"))
		c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = inOrder{} }), "a:1", "b:1")
		old := w.accept(l)
		synctest.Wait()
		start[string](t.Context(), c, "named", "Name") // so that it drains
		_, err := old.Await(coretest.TypeRequest)
		w.must(err)
		w.must(old.Write(coretest.GoAway(1, "bye")))
		go func() {
			for {
				if _, err := old.Read(); err != nil {
					return
				}
			}
		}()
		next := w.accept(l)
		go func() { // it answers everything
			for {
				f, err := next.Read()
				switch {
				case err != nil:
					return
				case f.Type == coretest.TypePing:
					_ = next.Write(coretest.Frame{Type: coretest.TypePong, ID: f.ID})
				case f.Type == coretest.TypeRequest:
					_ = next.Answer(f, []byte(`"a"`))
				}
			}
		}()
		w.until("a strike", 4*interval, func() bool { return o.count("strike") == 1 })
		if got, err := invoke[string](t.Context(), c, "named", "Name"); got != "a" || err != nil {
			t.Errorf("got %q, %v with the old connection suspect, want the answer of the new one", got, err)
		}
	})
}

// TestSupersedesAfterAStall: a peer that takes no bytes is presumed dead as one that
// is silent.
func TestSupersedesAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		defer l.Close()
		w.consumer(beating(w.strikes(interval), o), "p:1")
		meet := func() coretest.Hello {
			nc, err := l.Accept()
			w.must(err)
			p := coretest.NewPeer(nc)
			t.Cleanup(func() { p.Close() })
			theirs, err := p.BeProvider(coretest.Hello{Serializers: []string{"json"}})
			w.must(err)
			return theirs
		}
		first := meet()
		second := meet() // nothing was read of the first
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonWriteStalled {
			t.Errorf("got %s, want write_stalled", d.Reason)
		}
		if second.Supersedes != first.Token {
			t.Errorf("got %x, want the token of the one that stalled, %x", second.Supersedes, first.Token)
		}
	})
}

// TestAfterADeathTheyComeApart: consumers of a dead provider find it dead at the same
// time, so that they take longer to come back than after another loss.
func TestAfterADeathTheyComeApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("p:1", nil, echo{})
		w.consumer(beating(w.strikes(interval), o), "p:1")
		first := core.DefaultReconnect().First.D()
		link := w.network.Link("p:1")
		for _, loss := range []struct {
			name string
			lose func()
			most time.Duration
		}{
			{"cut", link.Cut, first},
			{"dead", link.ToConsumer.Drop, 5 * first},
		} {
			longest := time.Duration(0)
			for range 30 {
				time.Sleep(time.Minute)
				before := o.count("disconnected")
				loss.lose()
				w.until("the end", 10*interval, func() bool { return o.count("disconnected") == before+1 })
				longest = max(longest, last[core.ReconnectAttempt](t, o).Delay)
				link.Heal()
			}
			if longest <= loss.most*3/10 || longest > loss.most {
				t.Errorf("%s: got delays up to %v, want up to %v", loss.name, longest, loss.most)
			}
		}
	})
}

// TestEndAfterGoAway: whichever side closes, the end of a connection that drained was
// agreed upon.
func TestEndAfterGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		defer l.Close()
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		p := w.accept(l)
		start[string](t.Context(), c, "echo", "Say", "x")
		_, err := p.Await(coretest.TypeRequest)
		w.must(err)
		w.must(p.Write(coretest.GoAway(1, "bye")))
		_, err = p.Await(coretest.TypeGoAway)
		w.must(err)
		w.must(p.Close())
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonGoAway || d.Failed[spi.SentMaybe] != 1 {
			t.Errorf("got %s with %v failed, want goaway with the call that was not answered", d.Reason, d.Failed)
		}
	})
}
