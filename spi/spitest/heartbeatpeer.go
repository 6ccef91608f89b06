package spitest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// lost is how long the answer takes that never comes.
const lost = time.Duration(-1)

// mostQuestions bounds a play, should a strategy want to be asked without end.
const mostQuestions = 20_000

// heartbeatPeer is a connection whose other side answers PINGs, or does not. This
// side is never late.
type heartbeatPeer struct {
	hb    spi.Heartbeat
	first time.Duration                                           // when the strategy is asked first
	until time.Duration                                           // since the connection came up
	rtt   func(sequence uint64, sent time.Duration) time.Duration // how long an answer takes; lost: it never comes
}

func silentPeer(uint64, time.Duration) time.Duration { return lost }

// moody answers two PINGs of three, within two intervals.
func moody(seed uint64, interval time.Duration) func(uint64, time.Duration) time.Duration {
	random := rand.New(rand.NewPCG(seed, 7))
	return func(uint64, time.Duration) time.Duration {
		if random.IntN(3) == 0 {
			return lost
		}
		return 1 + time.Duration(random.Int64N(int64(2*interval)))
	}
}

// play lives until the peer is dead or the time is over. note, which may be nil, is
// told every question and its answer. It returns the last.
func (p heartbeatPeer) play(r *report, note func(judged)) (spi.Snapshot, spi.Decision) {
	type pong struct {
		at, sent time.Duration
		sequence uint64
	}
	var j judged
	var coming []pong // the earliest first
	due := p.first
	for range mostQuestions {
		j.s.Now, j.s.Due = due, due
		for len(coming) > 0 && coming[0].at <= due {
			c := coming[0]
			coming = coming[1:]
			j.s.LastIn, j.s.LastRTT, j.s.AckSeq = c.at, c.at-c.sent, max(j.s.AckSeq, c.sequence)
			j.s.InCount++
			j.s.PongCount++
			if j.d.Liveness == spi.Suspect { // asked early
				j.s.Now = c.at
				break
			}
		}
		if j.s.Now > p.until {
			return j.s, j.d
		}
		j.st = j.after
		j.d, j.after = p.hb.Decide(j.s, j.st)
		if note != nil {
			note(j)
		}
		if j.d.Liveness == spi.Dead || j.d.Next <= 0 {
			return j.s, j.d
		}
		if now := j.s.Now; j.d.SendPing {
			j.s.PingSeq++
			j.s.LastPingAt, j.s.LastOut = now, now
			if rtt := p.rtt(j.s.PingSeq, now); rtt != lost {
				c := pong{now + rtt, now, j.s.PingSeq}
				at, _ := slices.BinarySearchFunc(coming, c, func(a, b pong) int { return cmp.Compare(a.at, b.at) })
				coming = slices.Insert(coming, at, c)
			}
		}
		due = j.s.Now + j.d.Next
	}
	r.faultf("asked %d times within %v, want far fewer questions", mostQuestions, j.s.Now)
	return j.s, j.d
}
