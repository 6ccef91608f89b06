package core

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// TestEventsAreBounded: behind an observer that blocks only so many events wait; the
// others are dropped and counted, and the counts of Metrics miss none.
func TestEventsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const more = 100
		p, release := newPulse(spi.RoleProvider, nil), make(chan struct{})
		var told []int
		p.events.observers = []*Observer{{}, {Strike: func(s Strike) {
			<-release
			told = append(told, s.N)
		}}}
		p.report(Strike{N: 0})
		synctest.Wait() // it is being told
		for n := 1; n <= waitingEvents+more; n++ {
			p.report(Strike{N: n})
		}
		close(release)
		p.close()
		if len(told) != waitingEvents+1 || told[0] != 0 || told[waitingEvents] != waitingEvents {
			t.Errorf("got %d events told, want the first %d, and all of them before close returns", len(told), waitingEvents+1)
		}
		m := p.metrics(nil)
		if m.EventsLost != more || len(m.Strikes) != waitingEvents+more+1 {
			t.Errorf("got %d lost of %d counted, want %d of %d", m.EventsLost, len(m.Strikes), more, waitingEvents+more+1)
		}
		p.report(Recovered{}) // room again
		p.close()
		if m := p.metrics(nil); m.EventsLost != more || m.Recovered != 1 {
			t.Errorf("got %d lost, %d recovered, want as many as before, and 1", m.EventsLost, m.Recovered)
		}
	})
}

// TestEventLogIsLimited: of one peer so many lines, then one a second; a peer that
// is restless does not silence the others.
func TestEventLogIsLimited(t *testing.T) {
	of := func(peer string) Strike { return Strike{ConnID: ConnID{Peer: peer}, N: 1, Of: 3} }
	for _, tt := range []struct {
		name string
		make func(logrus.FieldLogger) *Observer
	}{
		{"consumer", logConsumer},
		{"provider", func(log logrus.FieldLogger) *Observer { return logProvider(log, new(rateLimit)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, hook := logtest.NewNullLogger()
				o := tt.make(log)
				lines := func(peer string, events int) int {
					hook.Reset()
					for range events {
						o.observe(of(peer))
					}
					return len(hook.AllEntries())
				}
				if got := lines("a:1", 1000); got != linesPerPeer {
					t.Errorf("got %d lines at once, want %d", got, linesPerPeer)
				}
				if got := lines("b:1", 5); got != 5 {
					t.Errorf("got %d lines of another peer, want 5", got)
				}
				crowd := 0
				for i := range 2 * linesOfAll {
					crowd += lines(fmt.Sprintf("c:%d", i), 1)
				}
				if want := linesOfAll - linesPerPeer - 5; crowd != want {
					t.Errorf("got %d lines of a crowd, want %d", crowd, want)
				}
				time.Sleep(3500 * time.Millisecond)
				if got := lines("a:1", 1000); got != 3 {
					t.Errorf("got %d lines after 3.5 s, want 3", got)
				}
			})
		})
	}
}

// TestCrowdOfEvents: an observer that stands still misses events, but never the end of
// a connection that it knows; and everything is counted.
func TestCrowdOfEvents(t *testing.T) {
	const conns = 20_000
	for _, test := range []struct {
		name  string
		still int // connections, of all, whose observers stand still at their beginning
		told  int // connections that are told
	}{
		{"all die at once", 0, conns},
		{"all come and die at once", conns, 1 + waitingEvents},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPulse(spi.RoleProvider, nil)
				move := make(chan struct{})
				came, ended, struck := 0, 0, 0
				p.events.observers = []*Observer{{
					Connected: func(Connected) {
						if came++; test.still > 0 {
							<-move
						}
					},
					Strike:       func(Strike) { struck++; <-move },
					Disconnected: func(Disconnected) { ended++ },
				}}
				hearts := make([]heart, conns)
				for i := range hearts {
					hearts[i].pulse = p
					hearts[i].told = p.report(Connected{})
					synctest.Wait()
				}
				for i := range hearts {
					p.report(Strike{N: 1})
					hearts[i].ended(Disconnected{Reason: spi.ReasonHeartbeatTimeout, Cancelled: 2})
				}
				if m := p.metrics(nil); m.Connected != conns || m.Strikes[1] != conns || m.Disconnected[spi.ReasonHeartbeatTimeout] != conns || m.Cancelled != 2*conns {
					t.Errorf("got %d connections, %v strikes, %v ends and %d requests counted, want all", m.Connected, m.Strikes, m.Disconnected, m.Cancelled)
				}
				close(move)
				p.close()
				if came != test.told || ended != test.told {
					t.Errorf("got %d beginnings and %d ends told, want %d of both", came, ended, test.told)
				}
				if lost, want := p.metrics(nil).EventsLost, uint64(3*conns-came-ended-struck); lost != want {
					t.Errorf("got %d events lost, want %d", lost, want)
				}
			})
		})
	}
}
