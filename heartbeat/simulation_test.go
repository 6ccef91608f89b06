package heartbeat_test

import (
	"cmp"
	"slices"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// never is later than anything.
const never = time.Duration(1<<63 - 1)

// simulation is a connection and its peer in plain arithmetic: no clock and no
// goroutine, so that hours take no time.
type simulation struct {
	hb    spi.Heartbeat
	until time.Duration
	first time.Duration // when the strategy is asked first

	pong    func(seq uint64, sent time.Duration) time.Duration // how long the answer takes; never: it does not come
	data    func(after time.Duration) time.Duration            // when the next sign of life that is no PONG comes; nil: never
	written func(now time.Duration) time.Duration              // when the kernel took bytes last; nil: with the last PING
	late    func(due time.Duration) time.Duration              // how late this side is; nil: not at all
	stalled bool
}

// outcome is what happened in a simulation.
type outcome struct {
	died      time.Duration // never: the peer is alive at the end
	reason    string
	lastIn    time.Duration
	pings     []time.Duration
	strikes   []int // every new number of strikes
	most      int   // strikes
	pauses    int
	suspected time.Duration // first; never: it was never suspect
	recovered time.Duration // first time that it was no longer suspect
}

func silentPeer(uint64, time.Duration) time.Duration { return never }

func prompt(uint64, time.Duration) time.Duration { return time.Millisecond }

// sign is a sign of life on its way.
type sign struct {
	at  time.Duration
	seq uint64 // of the PING that it answers; 0: it is no PONG
}

// run plays until the peer is dead or the time is over.
func (sim simulation) run() outcome {
	out := outcome{died: never, suspected: never, recovered: never}
	var s spi.Snapshot
	var st spi.State
	var coming []sign
	sentAt := map[uint64]time.Duration{}
	due, suspect := sim.first, false
	if sim.data != nil {
		coming = append(coming, sign{at: sim.data(0)})
	}
	asked := due + sim.lateness(due) // when the next question is asked
	for {
		now := asked
		if len(coming) > 0 && coming[0].at <= now {
			x := coming[0]
			coming = coming[1:]
			s.LastIn = x.at
			s.InCount++
			if x.seq == 0 {
				coming = append(coming, sign{at: sim.data(x.at)})
			} else {
				s.AckSeq, s.PongCount, s.LastRTT = max(s.AckSeq, x.seq), s.PongCount+1, x.at-sentAt[x.seq]
			}
			slices.SortFunc(coming, func(a, b sign) int { return cmp.Compare(a.at, b.at) })
			if !suspect {
				continue
			}
			now = x.at // asked early
		}
		if now > sim.until {
			out.lastIn = s.LastIn
			return out
		}
		s.Now, s.Due = now, due
		if sim.written != nil {
			s.LastOut = sim.written(now)
		}
		s.WriteStalled = sim.stalled
		var d spi.Decision
		d, st = sim.hb.Decide(s, st)
		out.note(s, d, suspect)
		if d.Liveness == spi.Dead {
			return out
		}
		suspect = d.Liveness == spi.Suspect
		if d.SendPing {
			s.PingSeq++
			s.LastPingAt, s.LastOut = now, now
			sentAt[s.PingSeq] = now
			out.pings = append(out.pings, now)
			if rtt := sim.pong(s.PingSeq, now); rtt != never {
				coming = append(coming, sign{now + rtt, s.PingSeq})
				slices.SortFunc(coming, func(a, b sign) int { return cmp.Compare(a.at, b.at) })
			}
		}
		due = now + max(d.Next, min(sim.hb.Timing().Interval/10, 100*time.Millisecond))
		asked = due + sim.lateness(due)
	}
}

func (sim simulation) lateness(due time.Duration) time.Duration {
	if sim.late == nil {
		return 0
	}
	return sim.late(due)
}

func (out *outcome) note(s spi.Snapshot, d spi.Decision, suspect bool) {
	if len(out.strikes) == 0 && d.Strikes > 0 || len(out.strikes) > 0 && out.strikes[len(out.strikes)-1] != d.Strikes {
		out.strikes = append(out.strikes, d.Strikes)
	}
	out.most = max(out.most, d.Strikes)
	if d.Reason == spi.ReasonLocalPause {
		out.pauses++
	}
	if d.Liveness != spi.Alive {
		out.suspected = min(out.suspected, s.Now)
	} else if suspect {
		out.recovered = min(out.recovered, s.Now)
	}
	if d.Liveness == spi.Dead {
		out.died, out.reason, out.lastIn = s.Now, d.Reason, s.LastIn
	}
}
