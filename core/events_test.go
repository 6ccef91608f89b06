package core

import (
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/spi"
)

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
				if m := p.metrics(); m.Connected != conns || m.Strikes[1] != conns || m.Disconnected[spi.ReasonHeartbeatTimeout] != conns || m.Cancelled != 2*conns {
					t.Errorf("got %d connections, %v strikes, %v ends and %d requests counted, want all", m.Connected, m.Strikes, m.Disconnected, m.Cancelled)
				}
				close(move)
				p.close()
				if came != test.told || ended != test.told {
					t.Errorf("got %d beginnings and %d ends told, want %d of both", came, ended, test.told)
				}
				if lost, want := p.metrics().EventsLost, uint64(3*conns-came-ended-struck); lost != want {
					t.Errorf("got %d events lost, want %d", lost, want)
				}
			})
		})
	}
}
