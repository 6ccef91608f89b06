package core_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// TestWriteStallCloses: a peer that takes no bytes is disconnected after twice the
// interval, before the strikes are full.
func TestWriteStallCloses(t *testing.T) {
	for _, interval := range []time.Duration{2 * time.Second, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w, o := newWorld(t), tell()
			w.provider("p:1", nil, echo{})
			w.consumer(beating(w.strikes(interval), o), "p:1")
			time.Sleep(time.Minute)
			w.network.Link("p:1").ToProvider.Stall()
			took := w.until("the end", time.Minute, func() bool { return o.count("disconnected") == 1 })
			d := last[core.Disconnected](t, o)
			// The PING goes within an interval; then its time begins.
			if d.Reason != spi.ReasonWriteStalled || took < 2*interval || took > 3*interval+20*time.Millisecond {
				t.Errorf("got %s after %v, want write_stalled after %v to %v", d.Reason, took, 2*interval, 3*interval)
			}
		})
	}
}

// TestStrikesBeatTheWriteTimeout: where that is longer, the heartbeat says that not
// even its PING has left.
func TestStrikesBeatTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("p:1", nil, echo{})
		w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) { cfg.WriteTimeout = spi.Duration(time.Minute) }), "p:1")
		time.Sleep(time.Minute)
		w.network.Link("p:1").ToProvider.Stall()
		w.until("the end", time.Minute, func() bool { return o.count("disconnected") == 1 })
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonWriteStalled || d.Strikes != 3 || d.Silent > 4*interval+look {
			t.Errorf("got %s with %d strikes after %v, want write_stalled with 3 after 4.1 s at most", d.Reason, d.Strikes, d.Silent)
		}
	})
}

// TestFlood: a peer that asks too often is told so and disconnected, on either side;
// one that was held up is not.
func TestFlood(t *testing.T) {
	for _, test := range []struct {
		name      string
		announced time.Duration
		gap       time.Duration
		pings     int
		flood     bool
	}{
		{"as announced", time.Second, time.Second, 1000, false},
		{"a little early", time.Second, 501 * time.Millisecond, 1000, false},
		{"too early", time.Second, 400 * time.Millisecond, 1000, true},
		{"eleven at once", time.Second, 0, 11, false},
		{"twelve at once", time.Second, 0, 12, true},
		{"without a heartbeat, slowly", 0, 50 * time.Millisecond, 1000, false},
		{"without a heartbeat, too early", 0, 40 * time.Millisecond, 1000, true},
		{"an interval below what may be", time.Millisecond, 40 * time.Millisecond, 1000, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, o := newWorld(t), tell()
				w.provider("p:1", served(nil, o), echo{})
				nc, err := w.network.Dial(t.Context(), "p:1")
				w.must(err)
				p := coretest.NewPeer(nc)
				defer p.Close()
				_, err = p.BeConsumer(coretest.Hello{Serializers: []string{"json"}, Heartbeat: test.announced})
				w.must(err)
				flood := false
				var writing sync.WaitGroup
				defer writing.Wait()
				writing.Go(func() {
					for i := range test.pings {
						if p.Write(coretest.Frame{Type: coretest.TypePing, ID: uint64(i + 1)}) != nil {
							return
						}
						time.Sleep(test.gap)
					}
					if !test.flood {
						_ = p.Close()
					}
				})
				for {
					f, err := p.Read()
					if err != nil {
						break
					}
					flood = flood || f.Type == coretest.TypeGoAway && f.Code == 3
				}
				synctest.Wait()
				if flood != test.flood {
					t.Errorf("got GOAWAY(too many pings) %v, want %v", flood, test.flood)
				}
				if d := last[core.Disconnected](t, o); (d.Reason == spi.ReasonProtocolError) != test.flood {
					t.Errorf("got %s %q, want a protocol error %v", d.Reason, d.Cause, test.flood)
				}
			})
		})
	}
}

// TestBurstIsNoFlood: PINGs that were held up come at once, as many as a peer may
// leave unanswered.
func TestBurstIsNoFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		p := w.dial("p:1")
		go func() { _ = p.Write(coretest.Frame{Type: coretest.TypePing, ID: 1}) }()
		w.readAs(p, coretest.TypePong)
		time.Sleep(time.Minute)
		var burst []byte
		for i := range uint64(50) {
			burst = coretest.AppendFrame(burst, coretest.Frame{Type: coretest.TypePing, ID: i + 2})
		}
		go func() { _ = p.WriteRaw(burst) }()
		for {
			if f := w.readAs(p, coretest.TypePong); f.ID == 51 {
				break
			}
		}
	})
}

// TestConsumerToldOfItsPings: a consumer that is told that it asks too often says so,
// and does not come back at once.
func TestConsumerToldOfItsPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		w.consumer(beating(w.strikes(interval), o), "p:1")
		p := w.accept(l)
		w.must(p.Write(coretest.GoAway(3, "too many PINGs")))
		w.must(p.AwaitEnd())
		synctest.Wait()
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonProtocolError || !contains(d.Cause, "too many PINGs") {
			t.Errorf("got %s %q, want what the provider said", d.Reason, d.Cause)
		}
		l.Close()
	})
}

// TestSupersede: a consumer that gave a connection up names it in its next HELLO,
// and the provider ends exactly that one.
func TestSupersede(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o, at, g := newWorld(t), tell(), tell(), newGate()
		p := w.provider("p:1", served(w.strikes(10*time.Minute), at), g.service())
		sibling := w.consumer(beating(w.strikes(interval), nil), "p:1") // of the same provider, through the same link
		synctest.Wait()
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		synctest.Wait()
		other := start[string](t.Context(), sibling, "Gate", "Pass", "sibling")
		<-g.entered
		lost := start[string](t.Context(), c, "Gate", "Pass", "lost")
		<-g.entered
		before := p.Conns()
		w.network.Link("p:1").Forget() // so that the provider does not see their ends
		w.until("both are dead", 10*interval, func() bool {
			return o.count("disconnected") == 1 && sibling.Metrics().Disconnected[spi.ReasonHeartbeatTimeout] == 1
		})
		w.until("both are back", 20*interval, func() bool { return o.count("reconnected") == 1 && sibling.Metrics().Reconnected == 1 })
		synctest.Wait()
		after := p.Conns()
		if len(before) != 2 || len(after) != 2 {
			t.Errorf("got %d connections before and %d after, want 2 and 2", len(before), len(after))
		}
		_, _ = other.wait()
		_, _ = lost.wait()
		if superseded, ended := at.count("superseded"), p.Metrics().Disconnected[spi.ReasonSuperseded]; superseded != 2 || ended != 2 {
			t.Errorf("got %d superseded and %d ended for it, want both", superseded, ended)
		}
		if got := p.TokensKnown(); got != len(after) {
			t.Errorf("got the names of %d connections kept, want %d", got, len(after))
		}
		for _, i := range after {
			if slices.ContainsFunc(before, func(b core.ConnInfo) bool { return b.ID == i.ID }) {
				t.Errorf("connection %d is still there", i.ID)
			}
		}
	})
}

// givenUp is a connection whose end the kernel reports as ETIMEDOUT.
type givenUp struct{ net.Conn }

// Read implements [net.Conn].
func (g givenUp) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if errors.Is(err, syscall.ECONNRESET) {
		err = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}
	}
	return n, err
}

// TestSupersedeWhatTheKernelGaveUp: a peer that acknowledged nothing for too long may
// have its half of the connection still.
func TestSupersedeWhatTheKernelGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		w.consumer(beating(nil, o, func(cfg *core.ConsumerConfig) {
			cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				nc, err := w.network.Dial(ctx, address)
				return givenUp{nc}, err
			}
		}), "p:1")
		hello := func() coretest.Hello {
			nc, err := l.Accept()
			w.must(err)
			theirs, err := coretest.NewPeer(nc).BeProvider(coretest.Hello{Serializers: []string{"json"}})
			w.must(err)
			return theirs
		}
		first := hello()
		synctest.Wait()
		w.network.Link("p:1").Cut()
		if second := hello(); second.Supersedes != first.Token {
			t.Errorf("got %x superseded, want %x", second.Supersedes, first.Token)
		}
		if d := last[core.Disconnected](t, o); d.Reason != spi.ReasonReset || !strings.Contains(d.Cause, "connection timed out") {
			t.Errorf("got %s, %q, want a reset: connection timed out", d.Reason, d.Cause)
		}
	})
}

// TestReconnectedBeforeItsEnd: what is told of a connection ends with its end, however
// soon that comes.
func TestReconnectedBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		l := w.listen("p:1")
		w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) {
			cfg.Reconnect.Base, cfg.Reconnect.Cap = spi.Duration(interval), spi.Duration(interval)
		}), "p:1")
		for range 200 {
			w.must(w.accept(l).Close())
		}
		synctest.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		ended := make(map[uint64]bool)
		for _, event := range o.all {
			switch e := event.(type) {
			case core.Disconnected:
				ended[e.ID] = true
			case core.Reconnected:
				if ended[e.ID] {
					t.Errorf("connection %d: got reconnected after disconnected", e.ID)
				}
			}
		}
		if len(ended) != 200 {
			t.Errorf("got %d ends, want 200", len(ended))
		}
		l.Close()
	})
}

// TestSupersedeByName plays the consumer: only a connection whose token is named ends,
// and an unknown token, or its own, ends nothing.
func TestSupersedeByName(t *testing.T) {
	token := func(b byte) (t [16]byte) { t[0] = b; return t }
	for _, test := range []struct {
		name       string
		supersedes byte
		want       []uint64 // connections that are left
		told       string
	}{
		{"the first", 1, []uint64{2, 3}, "superseded 1 by 3, disconnected 1 superseded after 0"},
		{"the second", 2, []uint64{1, 3}, "superseded 2 by 3, disconnected 2 superseded after 0"},
		{"none", 0, []uint64{1, 2, 3}, ""},
		{"unknown", 9, []uint64{1, 2, 3}, ""},
		{"itself", 3, []uint64{1, 2, 3}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, o := newWorld(t), tell()
				p := w.provider("p:1", served(nil, o), echo{})
				for i := range byte(3) {
					nc, err := w.network.Dial(t.Context(), "p:1")
					w.must(err)
					peer := coretest.NewPeer(nc)
					defer peer.Close()
					hello := coretest.Hello{Serializers: []string{"json"}, Token: token(i + 1)}
					if i == 2 {
						o.text()
						hello.Supersedes = token(test.supersedes)
					}
					_, err = peer.BeConsumer(hello)
					w.must(err)
					synctest.Wait() // connections are numbered in the order of their handshakes' ends
				}
				told := o.text()
				if want := "connected 3"; test.told == "" && told != want || test.told != "" && told != want+", "+test.told {
					t.Errorf("got told %q, want %q and %q", told, want, test.told)
				}
				var left []uint64
				for _, i := range p.Conns() {
					left = append(left, i.ID)
				}
				slices.Sort(left)
				if !slices.Equal(left, test.want) {
					t.Errorf("got connections %v left, want %v", left, test.want)
				}
			})
		})
	}
}

// TestSupersedesIsSentAfterADeathOnly: what the consumer itself says.
func TestSupersedesIsSentAfterADeathOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		w.consumer(beating(w.strikes(interval), nil), "p:1")
		hello := func() (*coretest.Peer, coretest.Hello) {
			nc, err := l.Accept()
			w.must(err)
			p := coretest.NewPeer(nc)
			theirs, err := p.BeProvider(coretest.Hello{Serializers: []string{"json"}})
			w.must(err)
			synctest.Wait() // until the consumer has read the other HELLO too
			return p, theirs
		}
		none := [16]byte{}
		p, first := hello()
		if first.Supersedes != none || first.Heartbeat != interval {
			t.Errorf("got %x and interval %v at first, want nothing to supersede, and %v", first.Supersedes, first.Heartbeat, interval)
		}
		p.Close() // an end that both sides see
		p, second := hello()
		if second.Supersedes != none || second.Token == first.Token {
			t.Errorf("got %x after an end that was seen, want nothing", second.Supersedes)
		}
		w.must(p.AwaitEnd()) // dead: nothing is answered
		nc, err := l.Accept()
		w.must(err)
		nc.Close() // an attempt that fails changes nothing
		p, third := hello()
		if third.Supersedes != second.Token {
			t.Errorf("got %x after a death, want the token of the dead one, %x", third.Supersedes, second.Token)
		}
		p.Close()
		p, fourth := hello()
		if fourth.Supersedes != none {
			t.Errorf("got %x after another end that was seen, want nothing", fourth.Supersedes)
		}
		p.Close()
		l.Close()
	})
}

// TestFrozenProviderIsNotBack: that a connection can be made to a frozen provider is
// no success. The delays grow, and nothing is published, until HELLO comes.
func TestFrozenProviderIsNotBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("p:1", nil, echo{})
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		synctest.Wait()
		time.Sleep(time.Minute)
		link := w.network.Link("p:1")
		link.ToProvider.Stall()
		link.ToConsumer.Stall()
		w.until("the end", 10*interval, func() bool { return o.count("disconnected") == 1 })
		before := link.Dials()
		time.Sleep(10 * time.Minute)
		// 3 s each for the handshake, and up to 30 s between.
		if got := link.Dials() - before; got < 10 || got > 60 {
			t.Errorf("got %d attempts in ten minutes, want 10 to 60: the delays grow up to the cap", got)
		}
		if got := o.count("connected"); got != 1 {
			t.Errorf("got %d connections, want only the first", got)
		}
		if state := w.conn(c, "p:1").State; state != core.ConnBackoff && state != core.ConnConnecting {
			t.Errorf("got state %s, want backoff or connecting", state)
		}
		link.Heal()
		w.until("a connection", 31*time.Second, func() bool { return o.count("reconnected") == 1 })
		if r := last[core.Reconnected](t, o); r.Attempt < 10 || r.Down < 10*time.Minute {
			t.Errorf("got attempt %d after %v, want what it took", r.Attempt, r.Down)
		}
	})
}

// TestRemovedWhileDead: an endpoint that is no longer listed is not connected to
// again.
func TestRemovedWhileDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		d := newDirectory()
		d.list("echo", endpointsOf("p:1"))
		w.provider("p:1", nil, echo{})
		c := w.viaRegistry(d, beating(w.strikes(interval), o))
		_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
		w.must(err)
		link := w.network.Link("p:1")
		link.ToConsumer.Drop()
		w.until("the end", 10*interval, func() bool { return o.count("disconnected") == 1 })
		d.list("echo", endpointsOf())
		synctest.Wait()
		before := link.Dials()
		link.Heal()
		time.Sleep(time.Hour)
		if got := link.Dials() - before; got != 0 {
			t.Errorf("got %d attempts after the endpoint was removed, want none", got)
		}
		if got := len(c.Conns()); got != 0 {
			t.Errorf("got %d endpoints, want none", got)
		}
	})
}

// TestSlownessIsForgotten: that calls of a dying connection took long says nothing
// about the next one.
func TestSlownessIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o, seen := newWorld(t), tell(), &observer{}
		w.provider("p:1", nil, echo{})
		c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = seen }), "p:1")
		synctest.Wait()
		w.network.Link("p:1").ToConsumer.Drop()
		_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonHeartbeatTimeout, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "3 heartbeats unanswered"})
		load := seen.builds[0][0].Load
		if got := load.Latency(0); got < 3*interval {
			t.Errorf("got latency %v after a call that was lost, want what it took at least", got)
		}
		w.network.Link("p:1").Heal()
		w.until("a new connection", 10*interval, func() bool { return o.count("reconnected") == 1 })
		if got := load.Latency(0); got != 0 {
			t.Errorf("got latency %v on a new connection, want nothing known", got)
		}
	})
}

// TestDeathOfOneOfTwo: strikes are a connection's own.
func TestDeathOfOneOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		w.provider("a:1", nil, echo{})
		w.provider("b:1", nil, echo{})
		c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) { cfg.Reconnect.Cap = spi.Duration(interval) }), "a:1", "b:1")
		synctest.Wait()
		for range 50 { // a is dead half of the time; its strikes never add up on b
			w.network.Link("a:1").ToConsumer.Drop()
			time.Sleep(5 * interval)
			w.network.Link("a:1").Heal()
			time.Sleep(5 * interval)
		}
		b := w.conn(c, "b:1")
		if b.Reconnects != 0 || b.Strikes != 0 {
			t.Errorf("got %d reconnects and %d strikes of the healthy one, want none", b.Reconnects, b.Strikes)
		}
		synctest.Wait()
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, event := range o.all {
			if s, ok := event.(core.Strike); ok && s.Peer != "a:1" {
				t.Errorf("got a strike of %s", s.Peer)
			}
		}
		if a := w.conn(c, "a:1"); a.Reconnects < 10 {
			t.Errorf("got %d reconnects of the other, want many", a.Reconnects)
		}
	})
}

// TestCloseEndsTheHeartbeat: nothing is told after Close, and Close waits for what
// was.
func TestCloseEndsTheHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		p := w.provider("p:1", served(w.strikes(interval), o), echo{})
		slow := &core.Observer{Disconnected: func(core.Disconnected) { time.Sleep(time.Minute) }}
		c := w.consumer(beating(w.strikes(interval), o, func(cfg *core.ConsumerConfig) { cfg.Observers = append(cfg.Observers, slow) }), "p:1")
		synctest.Wait()
		began := time.Now()
		w.must(c.Close())
		if got := time.Since(began); got != time.Minute {
			t.Errorf("Close took %v, want the minute that the observer takes", got)
		}
		w.must(p.Shutdown(t.Context()))
		o.text()
		time.Sleep(time.Hour)
		if got := o.text(); got != "" {
			t.Errorf("got %s after the end, want nothing", got)
		}
		if got := o.count("disconnected"); got != 2 {
			t.Errorf("got %d ends, want one on each side", got)
		}
	})
}
