package core_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// TestLogOfStrategiesThatDoNotCount: a peer that is only suspect is not said to be
// given up, and "1/0" is no count.
func TestLogOfStrategiesThatDoNotCount(t *testing.T) {
	for _, use := range []string{"idle", "phi-accrual"} {
		t.Run(use, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, o := newWorld(t), tell()
				w.provider("p:1", nil, echo{})
				c := w.consumer(beating(w.beat(spi.RoleConsumer, use, nil), o), "p:1")
				time.Sleep(5 * time.Minute)
				w.network.Link("p:1").ToConsumer.Stall()
				w.until("a strike", time.Minute, func() bool { return o.count("strike") == 1 })
				if state := w.conn(c, "p:1").State; state != core.ConnSuspect {
					t.Errorf("got state %s with a strike, want suspect", state)
				}
				w.network.Link("p:1").ToConsumer.Resume()
				w.until("a recovery", time.Second, func() bool { return o.count("recovered") == 1 })
				if i := w.conn(c, "p:1"); i.State != core.ConnUp || i.Strikes != 0 {
					t.Errorf("got state %s and %d strikes after a sign of life, want up and none", i.State, i.Strikes)
				}
				w.network.Link("p:1").ToConsumer.Drop()
				w.until("the end", time.Minute, func() bool { return o.count("disconnected") == 1 })
				d := last[core.Disconnected](t, o)
				if d.Reason != spi.ReasonHeartbeatTimeout || d.Strikes == 0 {
					t.Errorf("got %s with %d strikes, want heartbeat_timeout with some", d.Reason, d.Strikes)
				}
				strikes := 0
				for _, e := range w.logs.AllEntries() {
					if e.Message != "heartbeat unanswered" {
						continue
					}
					strikes++
					if s := e.Data["strike"]; s != "1" && s != "2" && s != "3" && s != "4" {
						t.Errorf("got strike %v in the log, want a number alone", s)
					}
					if action, ok := e.Data["action"]; ok {
						t.Errorf("got action %v in the log at a suspicion, want none", action)
					}
				}
				if strikes < 2 {
					t.Errorf("got %d strikes in the log, want one for each silence", strikes)
				}
			})
		})
	}
}
