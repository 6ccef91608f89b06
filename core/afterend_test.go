package core

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// TestNothingIsToldAfterTheEnd: what the heartbeat, or the next connection, finds when
// a connection has ended is no event any more.
func TestNothingIsToldAfterTheEnd(t *testing.T) {
	for _, test := range []struct {
		name        string
		ended, over bool
		want        int // events
	}{
		{"up", false, false, 2},
		{"closed", true, false, 1}, // Superseded comes before Disconnected still
		{"Disconnected is told", true, true, 0},
		{"Disconnected is being told", false, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &conn{ended: make(chan struct{})}
				c.once.Do(func() {}) // close does nothing more
				c.heart.pulse = newPulse(spi.RoleProvider, nil)
				got := 0
				c.heart.events.observers = []*Observer{{Strike: func(Strike) { got++ }, Superseded: func(Superseded) { got++ }}}
				if c.heart.over = test.over; test.ended {
					close(c.ended)
				}
				c.tell(spi.Snapshot{}, 0, spi.Decision{Strikes: 1}, time.Second)
				c.supersededBy(2)
				if c.heart.close(); got != test.want {
					t.Errorf("got %d events, want %d", got, test.want)
				}
			})
		})
	}
}
