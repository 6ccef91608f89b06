package spitest

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// patient is a small strategy that conforms: a PING a second, dead after four without
// a sign of life.
type patient struct{}

func (patient) Timing() spi.Timing {
	return spi.Timing{Interval: time.Second, Silence: 4 * time.Second}
}

func (patient) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	d := spi.Decision{SendPing: true, Next: time.Second}
	switch silent := s.Now - s.LastIn; {
	case silent >= 4*time.Second:
		d = spi.Decision{Liveness: spi.Dead, Next: time.Second, Reason: spi.ReasonHeartbeatTimeout}
	case silent >= 2*time.Second:
		d.Liveness = spi.Suspect
	}
	return d, st
}

// trusting never asks anybody.
type trusting struct{}

func (trusting) Timing() spi.Timing { return spi.Timing{} }

func (trusting) Decide(_ spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	return spi.Decision{Next: time.Hour}, st
}

// altered is patient with another Timing or Decide.
type altered struct {
	patient
	timing func() spi.Timing
	change func(s spi.Snapshot, st spi.State, d *spi.Decision, after *spi.State)
}

func (a altered) Timing() spi.Timing {
	if a.timing != nil {
		return a.timing()
	}
	return a.patient.Timing()
}

func (a altered) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	d, after := a.patient.Decide(s, st)
	if a.change != nil {
		a.change(s, st, &d, &after)
	}
	return d, after
}

func TestHeartbeat(t *testing.T) {
	if os.Getenv(inChild) != "" {
		Heartbeat(t, altered{change: func(_ spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) { d.Next = 0 }})
		return
	}
	Heartbeat(t, patient{})
	Heartbeat(t, trusting{})
	failsInChild(t, "FAIL: TestHeartbeat/next", "got Next 0s, want more than 0", "the rule: Next is more than 0")
}

var keptDecision *spi.Decision

func TestHeartbeatFindsFaults(t *testing.T) {
	var asked, timed atomic.Int64
	var busy atomic.Bool
	change := func(f func(s spi.Snapshot, st spi.State, d *spi.Decision, after *spi.State)) spi.Heartbeat {
		return altered{change: f}
	}
	testBroken(t, heartbeatRules, []broken[spi.Heartbeat]{
		{"speeds up", altered{timing: func() spi.Timing {
			return spi.Timing{Interval: time.Second, Silence: time.Minute - time.Duration(timed.Add(1))}
		}}, []string{"timing"}},
		{"has less than no interval", altered{timing: func() spi.Timing { return spi.Timing{Interval: -time.Second} }}, []string{"timing"}},
		{"kills before it asks", altered{timing: func() spi.Timing { return spi.Timing{Interval: time.Minute, Silence: time.Second} }}, []string{"timing"}},
		{"counts its questions", change(func(_ spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) { d.Strikes = int(asked.Add(1)) }), []string{"pure", "concurrent"}},
		{"remembers at home", change(func(_ spi.Snapshot, _ spi.State, _ *spi.Decision, after *spi.State) { after[9] = byte(asked.Add(1)) }), []string{"pure", "concurrent"}},
		{"trusts its State", change(func(_ spi.Snapshot, st spi.State, d *spi.Decision, _ *spi.State) {
			d.Reason = [...]string{"", spi.ReasonLocalPause}[st[5]]
		}), []string{"any-state", "pure"}},
		{"asks again at once", change(func(s spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) {
			if s.InCount > 3 {
				d.Next = 0
			}
		}), []string{"next"}},
		{"asks without end", change(func(_ spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) { d.Next = 1 }), []string{"silent-peer"}},
		{"never gives up", change(func(_ spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) {
			if d.Liveness == spi.Dead {
				*d = spi.Decision{Liveness: spi.Suspect, SendPing: true, Next: time.Second}
			}
		}), []string{"silent-peer"}},
		{"gives up late", altered{timing: func() spi.Timing {
			return spi.Timing{Interval: 100 * time.Millisecond, Silence: 200 * time.Millisecond}
		}}, []string{"silent-peer"}},
		{"suspects everybody", change(func(_ spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) {
			d.Liveness = max(d.Liveness, spi.Suspect)
		}), []string{"answering-peer"}},
		{"loses patience", change(func(s spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) {
			if s.PingSeq == 30 {
				d.Liveness = spi.Dead
			}
		}), []string{"too-soon"}},
		{"allocates", change(func(_ spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) {
			kept := *d
			keptDecision = &kept
		}), []string{"allocations"}},
		{"one at a time", change(func(_ spi.Snapshot, _ spi.State, d *spi.Decision, _ *spi.State) {
			if !busy.CompareAndSwap(false, true) {
				d.Strikes = 99
				return
			}
			runtime.Gosched() // whoever else asks finds it busy
			busy.Store(false)
		}), []string{"concurrent"}},
	})
}
