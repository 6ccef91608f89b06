package spitest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Heartbeat tests that hb keeps the contract of [spi.Heartbeat]. It asks about
// connections that are plain arithmetic, so that hours take no time.
func Heartbeat(t *testing.T, hb spi.Heartbeat) {
	t.Helper()
	run(t, heartbeatRules, hb)
}

var heartbeatRules = []rule[spi.Heartbeat]{
	{"timing", "Timing never changes, and is not negative; who pings says how long a silence can be.", checkTiming},
	{"pure", "The same Snapshot and State give the same Decision and State, whatever was asked before.", checkPure},
	{"any-state", "Decide must not panic, whatever the State holds: another strategy may have been in its place.", checkAnyState},
	{"next", "Next is more than 0, or the host would ask without end.", checkNext},
	{"silent-peer", "A silent peer is dead at most Timing.Silence after its last sign of life, but for one interval and a second.", checkSilentPeer},
	{"answering-peer", "A peer that answers every PING at once is never suspect.", checkAnsweringPeer},
	{"too-soon", "A peer that has answered within the last interval is not dead.", checkTooSoon},
	{"allocations", "Decide does not allocate: it is asked for every connection, again and again.", checkDecideAllocations},
	{"concurrent", "Decide is asked by many goroutines.", checkDecideConcurrently},
}

func checkTiming(r *report, hb spi.Heartbeat) {
	want := hb.Timing()
	if want.Interval < 0 || want.Strikes < 0 || want.Interval > 0 && want.Silence < want.Interval {
		r.faultf("Timing: got %+v, want nothing negative, and a Silence of at least the Interval", want)
	}
	peer := heartbeatPeer{hb: hb, until: 10 * want.Interval, rtt: silentPeer}
	for range 100 {
		peer.play(r, nil)
		if got := hb.Timing(); got != want {
			r.faultf("Timing: got %+v, then %+v, want it to stay the same", want, got)
			return
		}
	}
}

// judged is one question and its answer.
type judged struct {
	s     spi.Snapshot
	st    spi.State
	d     spi.Decision
	after spi.State
}

// questions returns what was asked and answered while some peers lived and died.
func questions(r *report, hb spi.Heartbeat) []judged {
	var asked []judged
	note := func(j judged) {
		if len(asked) < 1000 {
			asked = append(asked, j)
		}
	}
	every := hb.Timing().Interval
	for seed := uint64(0); seed < 50 && every > 0 && len(asked) < 1000; seed++ {
		heartbeatPeer{hb: hb, first: every / 3, until: 50 * every, rtt: moody(seed, every)}.play(r, note)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for len(asked) < 1200 {
		j := judged{s: anySnapshot(random), st: anyState(random)}
		j.d, j.after = hb.Decide(j.s, j.st)
		asked = append(asked, j)
	}
	return asked
}

func anySnapshot(random *rand.Rand) spi.Snapshot {
	moment := func() time.Duration { return time.Duration(random.Int64N(int64(time.Hour))) }
	now := moment()
	return spi.Snapshot{
		ConnID: random.Uint64(), Role: [...]spi.Role{spi.RoleConsumer, spi.RoleProvider}[random.IntN(2)],
		Now: now, Due: min(now, moment()), LastIn: min(now, moment()), LastOut: min(now, moment()), LastPingAt: min(now, moment()), LastRTT: min(now, moment()),
		PingSeq: random.Uint64N(100), AckSeq: random.Uint64N(100), PongCount: random.Uint64N(100), InCount: random.Uint64N(100),
		WriteStalled: random.IntN(2) == 0, QueueBytes: random.Int64N(1 << 20), Inflight: random.IntN(100),
	}
}

func anyState(random *rand.Rand) (st spi.State) {
	for i := range st {
		st[i] = byte(random.Uint32())
	}
	st[random.IntN(len(st))] = 0
	return st
}

func checkPure(r *report, hb spi.Heartbeat) {
	asked := questions(r, hb)
	random := rand.New(rand.NewPCG(3, 4))
	random.Shuffle(len(asked), func(i, j int) { asked[i], asked[j] = asked[j], asked[i] })
	for _, j := range asked {
		if d, after := hb.Decide(j.s, j.st); (d != j.d || after != j.after) && !r.broken() {
			r.faultf("Decide(%+v, %x):\ngot  %+v, %x\nthen %+v, %x", j.s, j.st, j.d, j.after, d, after)
		}
	}
}

func checkAnyState(r *report, hb spi.Heartbeat) {
	random := rand.New(rand.NewPCG(5, 6))
	for first := range 256 {
		for range 20 {
			st := anyState(random)
			st[0] = byte(first)
			hb.Decide(anySnapshot(random), st)
		}
	}
}

func checkNext(r *report, hb spi.Heartbeat) {
	for _, j := range questions(r, hb) {
		if j.d.Next <= 0 && !r.broken() {
			r.faultf("Decide(%+v, %x): got Next %v, want more than 0", j.s, j.st, j.d.Next)
		}
	}
}

func checkSilentPeer(r *report, hb spi.Heartbeat) {
	timing := hb.Timing()
	if timing.Interval == 0 {
		return
	}
	most := timing.Silence + timing.Interval + time.Second
	for phase := time.Duration(0); phase < 20 && !r.broken(); phase++ {
		silent := 10*timing.Interval + phase*timing.Interval/20
		s, d := heartbeatPeer{hb: hb, first: timing.Interval / 3, until: silent + 2*most, rtt: func(_ uint64, sent time.Duration) time.Duration {
			if sent >= silent {
				return lost
			}
			return time.Millisecond
		}}.play(r, nil)
		if d.Liveness != spi.Dead || s.Now-s.LastIn > most {
			r.faultf("a peer that is silent from %v: got %v after %v of silence, want dead after %v at most", silent, d.Liveness, s.Now-s.LastIn, most)
		}
	}
}

func checkAnsweringPeer(r *report, hb spi.Heartbeat) {
	every := hb.Timing().Interval
	if every == 0 {
		return
	}
	for _, rtt := range []time.Duration{time.Microsecond, every / 20} {
		heartbeatPeer{hb: hb, first: every / 3, until: 1000 * every, rtt: func(uint64, time.Duration) time.Duration { return rtt }}.play(r, func(j judged) {
			if j.d.Liveness != spi.Alive && !r.broken() {
				r.faultf("a peer that answers within %v: got %v at %v, want alive", rtt, j.d.Liveness, j.s.Now)
			}
		})
	}
}

func checkTooSoon(r *report, hb spi.Heartbeat) {
	every := hb.Timing().Interval
	if every == 0 {
		return
	}
	for seed := uint64(0); seed < 100 && !r.broken(); seed++ {
		s, d := heartbeatPeer{hb: hb, first: every / 3, until: 1000 * every, rtt: moody(seed, every)}.play(r, nil)
		if silent := s.Now - s.LastIn; d.Liveness == spi.Dead && silent < every {
			r.faultf("at %v: got dead, %v after an answer, want no less than %v after it", s.Now, silent, every)
		}
	}
}

func checkDecideAllocations(r *report, hb spi.Heartbeat) {
	defer func() {
		if why := recover(); why != nil { // not possible beside parallel tests
			r.notef("allocations not counted: %v", why)
		}
	}()
	asked := questions(r, hb)
	i := 0
	if n := testing.AllocsPerRun(len(asked), func() {
		j := &asked[i%len(asked)]
		j.d, j.after = hb.Decide(j.s, j.st)
		i++
	}); n > 0 {
		r.faultf("Decide: got %v allocations, want none", n)
	}
}

func checkDecideConcurrently(r *report, hb spi.Heartbeat) {
	asked := questions(r, hb)
	r.concurrently(8, func(g int) {
		for i := range asked {
			j := asked[(i+g*100)%len(asked)]
			if d, after := hb.Decide(j.s, j.st); (d != j.d || after != j.after) && !r.broken() {
				r.faultf("Decide(%+v, %x), asked by many:\ngot  %+v\nwant %+v", j.s, j.st, d, j.d)
			}
		}
	})
}
