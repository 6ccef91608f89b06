package heartbeat_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// until returns a peer that answers every PING, after rtt, and then never again.
func answersUntil(last, rtt time.Duration) func(uint64, time.Duration) time.Duration {
	return func(_ uint64, sent time.Duration) time.Duration {
		if sent+rtt > last {
			return never
		}
		return rtt
	}
}

// TestSilentPeerDies: wherever in a round a peer falls silent, it is dead S to S+1
// intervals and a second look later, after exactly S PINGs without an answer.
func TestSilentPeerDies(t *testing.T) {
	for strikes := range 5 {
		strikes := strikes + 1
		for _, every := range []time.Duration{100 * time.Millisecond, time.Second, interval, 10 * time.Minute} {
			t.Run(fmt.Sprintf("%d strikes of %v", strikes, every), func(t *testing.T) {
				hb := open(t, "three-strike", fmt.Sprintf(`{"interval": "%v", "strikes": %d}`, every, strikes))
				second := min(look, every/10)
				least, most := time.Duration(strikes)*every+second, time.Duration(strikes+1)*every+second
				for phase := range 100 {
					silent := 20*every + time.Duration(phase)*every/100 // after a sign of life at that moment, the last
					data := func(after time.Duration) time.Duration {
						if after >= silent {
							return never
						}
						return silent
					}
					out := simulation{hb: hb, until: never - 1, first: every / 3, pong: answersUntil(silent, time.Millisecond), data: data}.run()
					if got := out.died - out.lastIn; out.lastIn != silent || got < least || got > most {
						t.Fatalf("silent from %v: got death %v after the last sign of life at %v, want %v to %v", silent, got, out.lastIn, least, most)
					}
					unanswered := len(out.pings) - slices.IndexFunc(out.pings, func(at time.Duration) bool { return at > silent })
					if unanswered != strikes {
						t.Errorf("silent from %v: got %d PINGs after it, want %d", silent, unanswered, strikes)
					}
					if out.reason != spi.ReasonHeartbeatTimeout {
						t.Errorf("reason: got %q, want %q", out.reason, spi.ReasonHeartbeatTimeout)
					}
				}
			})
		}
	}
}

// TestNeverHeardOf: a peer that never answers at all is counted from the beginning.
func TestNeverHeardOf(t *testing.T) {
	for first := time.Duration(0); first < interval; first += 100 * time.Millisecond {
		out := simulation{hb: open(t, "three-strike", ""), until: never - 1, first: first, pong: silentPeer}.run()
		if want := first + 3*interval + look; out.died != want || !slices.Equal(out.strikes, []int{1, 2, 3}) {
			t.Errorf("first asked at %v: got death at %v after strikes %v, want %v after 1, 2, 3", first, out.died, out.strikes, want)
		}
	}
}

// TestGrid: ten hours of answers that come at any time, and PINGs stay 5 s apart.
func TestGrid(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	out := simulation{hb: open(t, "three-strike", ""), until: 10 * time.Hour, first: time.Second, pong: func(seq uint64, _ time.Duration) time.Duration {
		if seq%3 == 0 {
			return interval + look/2 // found at the second look
		}
		return time.Duration(random.Int64N(int64(interval - look)))
	}}.run()
	if out.died != never || out.most > 0 {
		t.Fatalf("got death at %v, %d strikes, want none", out.died, out.most)
	}
	for i, at := range out.pings {
		point := time.Second + time.Duration(i)*interval
		if at < point || at > point+look {
			t.Fatalf("PING %d: got %v, want %v to %v", i+1, at, point, point+look)
		}
	}
}

// TestTwoMissesThenAnAnswer: two strikes and an answer, for ten hours: strikes are
// consecutive, not accumulated.
func TestTwoMissesThenAnAnswer(t *testing.T) {
	out := simulation{hb: open(t, "three-strike", ""), until: 10 * time.Hour, first: 0, pong: func(seq uint64, _ time.Duration) time.Duration {
		if seq%3 != 0 {
			return never
		}
		return 20 * time.Millisecond
	}}.run()
	if out.died != never || out.most != 2 {
		t.Errorf("got death at %v, at most %d strikes, want neither death nor more than 2", out.died, out.most)
	}
	for i, got := range out.strikes {
		if want := []int{1, 2, 0}[i%3]; got != want {
			t.Fatalf("strikes: got %v, want 1, 2, 0 for ever", out.strikes[:i+1])
		}
	}
}

// every returns signs of life at regular times.
func every(d time.Duration) func(time.Duration) time.Duration {
	return func(after time.Duration) time.Duration { return after + d }
}

// TestLife: what counts as an answer.
func TestLife(t *testing.T) {
	for _, tt := range []struct {
		name, life string
		data       func(time.Duration) time.Duration
		pong       func(uint64, time.Duration) time.Duration
		dies       bool
	}{
		{"data is an answer", "any_answer", every(time.Second), silentPeer, false},
		{"data is none", "pong_only", every(time.Second), silentPeer, true},
		{"a PONG is one", "pong_only", nil, prompt, false},
		{"a PONG of the PING before is none", "pong_only", nil, func(uint64, time.Duration) time.Duration { return interval + 2*look }, true},
		{"but a sign of life", "any_answer", nil, func(uint64, time.Duration) time.Duration { return interval + 2*look }, false},
		{"nor is the peer's own PING, which is not in InCount", "any_answer", nil, silentPeer, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := simulation{hb: open(t, "three-strike", `{"life": "`+tt.life+`"}`), until: time.Hour, pong: tt.pong, data: tt.data}.run()
			if died := out.died != never; died != tt.dies {
				t.Errorf("got death at %v, want dead: %v", out.died, tt.dies)
			}
		})
	}
}

// TestLocalPause: rounds that this side judges too late do not count, twice in a row
// at most.
func TestLocalPause(t *testing.T) {
	for _, tt := range []struct {
		name   string
		late   func(time.Duration) time.Duration
		died   time.Duration
		pauses int
	}{
		{"in time", nil, 3*interval + look, 0},
		{"late by what is allowed", func(due time.Duration) time.Duration {
			if due == interval {
				return interval / 2
			}
			return 0
		}, 3*interval + look, 0},
		{"late once", func(due time.Duration) time.Duration {
			if due == interval {
				return 7 * time.Second
			}
			return 0
		}, 12*time.Second + 3*interval + look, 1},
		// Each strike takes two void rounds of 8 s, one that counts, and a second look
		// that is late, too.
		{"always late", func(time.Duration) time.Duration { return 3 * time.Second }, 3*(16*time.Second+11*time.Second+look) + 3*time.Second, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := simulation{hb: open(t, "three-strike", ""), until: time.Hour, pong: silentPeer, late: tt.late}.run()
			if out.died != tt.died || out.pauses != tt.pauses {
				t.Errorf("got death at %v after %d local pauses, want %v after %d", out.died, out.pauses, tt.died, tt.pauses)
			}
		})
	}
}

// TestLateAgainAndAgain: only what is late in a row is counted in the end.
func TestLateAgainAndAgain(t *testing.T) {
	// Three of four questions are late, and the answer comes before the fourth.
	asked := 0
	out := simulation{hb: open(t, "three-strike", ""), until: time.Hour, pong: func(seq uint64, _ time.Duration) time.Duration {
		if seq%3 > 0 {
			return never
		}
		return 20 * time.Millisecond
	}, late: func(time.Duration) time.Duration {
		if asked++; asked%3 != 1 {
			return 3 * time.Second
		}
		return 0
	}}.run()
	if out.most > 0 || out.pauses < 100 {
		t.Errorf("two pauses, an answer, and so on: got %d strikes and %d pauses, want none and hundreds", out.most, out.pauses)
	}
	for _, use := range []string{"idle", "phi-accrual"} {
		hb := open(t, use, "")
		every := hb.Timing().Interval
		out := simulation{hb: hb, until: time.Hour, pong: silentPeer, late: func(time.Duration) time.Duration { return every }}.run()
		if out.died > hb.Timing().Silence+6*every || out.pauses == 0 || out.pauses > 2 {
			t.Errorf("%s, always late: got death at %v after %d pauses, want it before %v after 1 or 2", use, out.died, out.pauses, hb.Timing().Silence+6*every)
		}
	}
	// A pause that is too short for death makes nobody suspect.
	late := simulation{hb: open(t, "idle", ""), until: time.Hour, pong: func(_ uint64, sent time.Duration) time.Duration {
		if sent > time.Minute && sent < 65*time.Second {
			return 20 * time.Second
		}
		return time.Millisecond
	}, late: func(due time.Duration) time.Duration {
		if due > time.Minute && due <= 66*time.Second {
			return 6 * time.Second
		}
		return 0
	}}.run()
	if late.died != never || late.suspected != never && late.suspected < 75*time.Second {
		t.Errorf("idle, late by 6s: got suspicion at %v and death at %v, want none so soon", late.suspected, late.died)
	}
}

// TestVoidBeginsAGrid: a round that does not count gives the peer a whole interval.
func TestVoidBeginsAGrid(t *testing.T) {
	follow(t, open(t, "three-strike", `{"local_pause": "500ms"}`), []asked{
		{now: 0, want: ping(interval)},
		{now: 6 * time.Second, late: time.Second, want: pause(ping(interval))},
		{now: 11 * time.Second, ack: 2, in: 1, want: ping(interval)},
	})
}

// TestStateOfAnother: what another strategy remembers means nothing.
func TestStateOfAnother(t *testing.T) {
	s := spi.Snapshot{Now: time.Hour, Due: time.Hour, LastIn: time.Hour - time.Second, LastOut: time.Hour - time.Second, PingSeq: 9, AckSeq: 9, PongCount: 9}
	for _, one := range []string{"three-strike", "idle", "phi-accrual"} {
		for _, other := range []string{"three-strike", "idle", "phi-accrual"} {
			if one == other {
				continue
			}
			_, st := open(t, other, "").Decide(s, spi.State{})
			got, _ := open(t, one, "").Decide(s, st)
			want, _ := open(t, one, "").Decide(s, spi.State{})
			if got != want {
				t.Errorf("%s with the State of %s: got %+v, want %+v as with none", one, other, got, want)
			}
		}
	}
}

// TestStopOfAnHour: a machine that slept finds its peer alive, or dead, without
// haste.
func TestStopOfAnHour(t *testing.T) {
	late := func(due time.Duration) time.Duration {
		if due > 30*time.Minute && due <= 30*time.Minute+interval {
			return time.Hour
		}
		return 0
	}
	for _, tt := range []struct{ use string }{{"three-strike"}, {"idle"}, {"phi-accrual"}} {
		t.Run(tt.use, func(t *testing.T) {
			hb := open(t, tt.use, "")
			answered := func(_ uint64, sent time.Duration) time.Duration {
				if sent > 20*time.Minute && sent < time.Hour { // nothing arrives while we sleep
					return never
				}
				return time.Millisecond
			}
			data := func(after time.Duration) time.Duration {
				if next := after + time.Second; next < 30*time.Minute {
					return next
				}
				return never
			}
			out := simulation{hb: hb, until: 3 * time.Hour, pong: answered, data: data, late: late}.run()
			if out.died != never || out.pauses != 1 {
				t.Errorf("alive again: got death at %v after %d local pauses, want none after 1", out.died, out.pauses)
			}
			out = simulation{hb: hb, until: 3 * time.Hour, pong: silentPeer, data: data, late: late}.run()
			if woken := 90*time.Minute + 10*time.Second; out.died > woken+hb.Timing().Silence || out.pauses != 1 {
				t.Errorf("dead: got death at %v after %d local pauses, want it before %v after 1", out.died, out.pauses, woken+hb.Timing().Silence)
			}
		})
	}
}

// TestOwnPauseLeavesTimeToAnswer: after a pause of this side, however long and whenever
// it began, a peer that answers has the time for it, up to half of the interval on the way.
func TestOwnPauseLeavesTimeToAnswer(t *testing.T) {
	const step = 250 * time.Millisecond
	for _, use := range []string{"three-strike", "idle", "phi-accrual"} {
		hb := open(t, use, "")
		for _, rtt := range []time.Duration{50 * time.Millisecond, 520 * time.Millisecond, 900 * time.Millisecond} {
			for stop := time.Minute; stop < time.Minute+2*interval; stop += step {
				for pause := 3 * time.Second; pause < 40*time.Second; pause += 2 * step {
					resume := stop + pause
					out := simulation{hb: hb, until: 3 * time.Minute, pong: func(_ uint64, sent time.Duration) time.Duration {
						if at := sent + rtt; at <= stop || at >= resume {
							return rtt
						}
						return resume - sent // it is read only then
					}, late: func(due time.Duration) time.Duration {
						if due > stop && due < resume {
							return resume - due
						}
						return 0
					}}.run()
					if out.died != never {
						t.Fatalf("%s, answers after %v, this side stopped at %v for %v: got death at %v, want none", use, rtt, stop, pause, out.died)
					}
				}
			}
		}
	}
}

// TestWriteStalled: the reason says when the PING never left.
func TestWriteStalled(t *testing.T) {
	for _, use := range []string{"three-strike", "idle", "phi-accrual"} {
		out := simulation{hb: open(t, use, ""), until: time.Hour, pong: silentPeer, stalled: true}.run()
		if out.reason != spi.ReasonWriteStalled {
			t.Errorf("%s: got reason %q, want %q", use, out.reason, spi.ReasonWriteStalled)
		}
	}
}

// TestIdle: a PING only where nothing happens, and death at reader_idle.
func TestIdle(t *testing.T) {
	hb := open(t, "idle", "")
	now := func(now time.Duration) time.Duration { return now }
	for _, tt := range []struct {
		name   string
		sim    simulation
		pings  int // at least, and at most one more; -1: any
		died   time.Duration
		within time.Duration
	}{
		{"traffic both ways", simulation{data: every(time.Second), written: now, pong: prompt}, 0, never, 0},
		{"nothing, but answers", simulation{pong: prompt}, int(time.Hour / interval), never, 0},
		{"the peer talks, this side does not", simulation{pong: prompt, data: every(time.Second)}, int(time.Hour/interval) - 1, never, 0},
		{"this side talks to nobody", simulation{pong: silentPeer, written: now}, 2, 15 * time.Second, interval / 10},
		{"nobody talks", simulation{pong: silentPeer}, 2, 15 * time.Second, interval / 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.sim.hb, tt.sim.until, tt.sim.first = hb, time.Hour, time.Second
			out := tt.sim.run()
			if out.died < tt.died || out.died > tt.died+tt.within && tt.died != never {
				t.Errorf("death: got %v, want %v to %v", out.died, tt.died, tt.died+tt.within)
			}
			if got := len(out.pings); got < tt.pings || got > tt.pings+1 || tt.pings == 0 && got > 0 {
				t.Errorf("PINGs: got %d, want about %d", got, tt.pings)
			}
		})
	}
	out := simulation{hb: hb, until: time.Hour, pong: answersUntil(time.Minute, time.Millisecond)}.run()
	if out.suspected-out.lastIn < 10*time.Second || out.suspected-out.lastIn > 10*time.Second+interval/10 {
		t.Errorf("suspected after %v of silence, want 10s", out.suspected-out.lastIn)
	}
}

// TestPhiAccrual: how long a silence is trusted depends on what came before.
func TestPhiAccrual(t *testing.T) {
	// jitter delays answers by up to so much, evenly, in the order of their PINGs.
	jitter := func(most time.Duration, silent time.Duration) func(uint64, time.Duration) time.Duration {
		random := rand.New(rand.NewPCG(3, 4))
		last := time.Duration(0)
		return func(_ uint64, sent time.Duration) time.Duration {
			if sent >= silent {
				return never
			}
			last = max(last, sent+time.Millisecond+time.Duration(random.Int64N(int64(most))))
			return last - sent
		}
	}
	// worse delays the answers to every tenth PING and those behind it, by more and more.
	worse := func(silent time.Duration) func(uint64, time.Duration) time.Duration {
		last := time.Duration(0)
		return func(seq uint64, sent time.Duration) time.Duration {
			if sent >= silent {
				return never
			}
			if last = max(last, sent+time.Millisecond); seq%10 == 0 {
				last = sent + sent/60
			}
			return last - sent
		}
	}
	const silent = 20 * time.Minute
	for _, tt := range []struct {
		name, with  string
		pong        func(uint64, time.Duration) time.Duration
		least, most time.Duration
	}{
		{"a calm link", "", jitter(time.Millisecond, silent), 6500 * time.Millisecond, 7500 * time.Millisecond},
		{"a jittery link", "", jitter(4*time.Second, silent), 10 * time.Second, 18 * time.Second},
		{"a link that slowly gets terrible", "", worse(silent), 25 * time.Second, 30500 * time.Millisecond},
		{"a floor", `{"deviation": "1ms", "pause": "0s"}`, jitter(time.Millisecond, silent), 5 * time.Second, 5500 * time.Millisecond},
		{"a ceiling", `{"dead": 300, "deviation": "1m", "ceiling": "12s"}`, jitter(time.Millisecond, silent), 12 * time.Second, 12500 * time.Millisecond},
		{"nothing learnt yet", "", silentPeer, 11 * time.Second, 12 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := simulation{hb: open(t, "phi-accrual", tt.with), until: time.Hour, pong: tt.pong}.run()
			if got := out.died - out.lastIn; got < tt.least || got > tt.most {
				t.Errorf("death: got %v after the last answer, want %v to %v", got, tt.least, tt.most)
			}
		})
	}
}

// TestPhiAccrualDoesNotLearnPauses: after many pauses of this side, a calm link is
// still a calm one.
func TestPhiAccrualDoesNotLearnPauses(t *testing.T) {
	const silent = 20 * time.Minute
	paused := 0
	out := simulation{hb: open(t, "phi-accrual", ""), until: time.Hour, pong: answersUntil(silent, time.Millisecond), late: func(due time.Duration) time.Duration {
		if paused++; paused%10 == 0 && due < silent {
			return 4 * time.Second
		}
		return 0
	}}.run()
	if got := out.died - out.lastIn; got > 7500*time.Millisecond {
		t.Errorf("death: got %v after the last answer, want 7.5s at most", got)
	}
}

// TestPhiAccrualLearnsAnswersOnly: other signs of life, at any time, do not make a
// calm link look like a jittery one.
func TestPhiAccrualLearnsAnswersOnly(t *testing.T) {
	const silent = 2 * time.Hour
	random := rand.New(rand.NewPCG(5, 6))
	out := simulation{hb: open(t, "phi-accrual", `{"interval": "20s", "deviation": "100ms", "floor": "20s", "ceiling": "5m"}`), until: 3 * time.Hour,
		pong: answersUntil(silent, time.Millisecond), data: func(after time.Duration) time.Duration {
			if after += time.Duration(random.Int64N(int64(4 * time.Second))); after < silent {
				return after
			}
			return never
		}}.run()
	if got := out.died - out.lastIn; got > 29*time.Second { // an interval, the pause, six deviations and a tick
		t.Errorf("death: got %v after the last sign of life, want 29s at most", got)
	}
}

// TestRecovery: every strategy takes a sign of life for what it is, at once.
func TestRecovery(t *testing.T) {
	for _, use := range []string{"three-strike", "idle", "phi-accrual"} {
		const silent = time.Minute
		var back time.Duration
		hb := open(t, use, "")
		dies := simulation{hb: hb, until: time.Hour, pong: answersUntil(silent, time.Millisecond)}.run()
		back = (dies.suspected + dies.died) / 2
		pong := func(_ uint64, sent time.Duration) time.Duration {
			if sent+time.Millisecond > silent && sent < back {
				return never
			}
			return time.Millisecond
		}
		data := func(after time.Duration) time.Duration {
			if after < back {
				return back
			}
			return never
		}
		out := simulation{hb: hb, until: time.Hour, pong: pong, data: data}.run()
		if out.died != never || out.recovered != back {
			t.Errorf("%s: a sign of life at %v: got recovery at %v and death at %v, want recovery then", use, back, out.recovered, out.died)
		}
	}
}
