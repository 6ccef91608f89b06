package heartbeat_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// strategies are all of them, with some configurations.
var strategies = []struct{ use, with string }{
	{"three-strike", ""}, {"three-strike", `{"life": "pong_only"}`}, {"three-strike", `{"strikes": 1, "interval": "100ms"}`}, {"three-strike", `{"strikes": 20, "preset": "fast", "local_pause": "2s"}`},
	{"idle", ""}, {"idle", `{"writer_idle": "100ms", "reader_idle": "200ms"}`},
	{"phi-accrual", ""}, {"phi-accrual", `{"interval": "100ms", "suspect": 1, "dead": 1.5, "deviation": "1ms", "pause": "0s", "floor": "100ms", "ceiling": "200ms"}`},
	{"none", ""},
}

// numbers reads a program: what is missing is 0.
type numbers []byte

func (n *numbers) next() uint64 {
	var word [8]byte
	*n = (*n)[copy(word[:], *n):]
	return binary.BigEndian.Uint64(word[:])
}

// below returns a number below limit.
func (n *numbers) below(limit uint64) uint64 { return n.next() % limit }

// FuzzDecide asks about anything, with any State: no panic, the same answer twice,
// and always a time for the next question.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(20) {
		f.Add(program(seed, 400))
	}
	hbs := openAll(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, hb := range hbs {
			askAnything(t, hb, strategies[i].use, numbers(data))
		}
	})
}

func openAll(t testing.TB) []spi.Heartbeat {
	hbs := make([]spi.Heartbeat, len(strategies))
	for i, s := range strategies {
		hbs[i] = open(t, s.use, s.with)
	}
	return hbs
}

func program(seed uint64, size int) []byte {
	random := rand.New(rand.NewPCG(seed, seed))
	bytes := make([]byte, size)
	for i := range bytes {
		bytes[i] = byte(random.Uint32())
	}
	return bytes
}

func askAnything(t *testing.T, hb spi.Heartbeat, use string, n numbers) {
	t.Helper()
	s := spi.Snapshot{
		Now: time.Duration(n.next()), Due: time.Duration(n.next()), LastIn: time.Duration(n.next()), LastOut: time.Duration(n.next()),
		LastPingAt: time.Duration(n.next()), LastRTT: time.Duration(n.next()),
		PingSeq: n.next(), AckSeq: n.next(), PongCount: n.next(), InCount: n.next(), WriteStalled: n.below(2) == 1,
	}
	var st spi.State
	copy(st[1:], n)
	for st[0] = range 8 { // as if it were of each
		d, after := hb.Decide(s, st)
		again, afterAgain := hb.Decide(s, st)
		if d != again || after != afterAgain {
			t.Errorf("%s, %+v, state %x:\ngot  %+v\nthen %+v, want the same", use, s, st, d, again)
		}
		if d.Next <= 0 || d.Next > max(hb.Timing().Interval, time.Hour) {
			t.Errorf("%s, %+v, state %x: got Next %v, want more than 0 and at most the interval", use, s, st, d.Next)
		}
		if d.Liveness > spi.Dead || d.Strikes < 0 {
			t.Errorf("%s, %+v, state %x: got %+v, want one of three degrees and no less than 0 strikes", use, s, st, d)
		}
	}
}

// FuzzConnection plays connections that could exist: nobody is dead before its time,
// nor alive after it.
func FuzzConnection(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(200) {
		f.Add(program(seed, 2000))
	}
	hbs := openAll(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for i, hb := range hbs {
			if hb.Timing().Interval > 0 {
				playAnything(t, hb, strategies[i].use, strategies[i].with, numbers(data))
			}
		}
	})
}

func playAnything(t *testing.T, hb spi.Heartbeat, use, with string, n numbers) {
	t.Helper()
	timing := hb.Timing()
	every := timing.Interval
	var mostLate time.Duration
	sim := simulation{
		hb: hb, until: 1000 * every, first: time.Duration(n.below(uint64(every))),
		pong: func(uint64, time.Duration) time.Duration {
			if n.below(3) == 0 {
				return never
			}
			return time.Duration(n.below(uint64(2 * every)))
		},
		late: func(time.Duration) time.Duration {
			if n.below(8) > 0 {
				return 0
			}
			late := time.Duration(n.below(uint64(3 * every)))
			mostLate = max(mostLate, late)
			return late
		},
	}
	if data := n.below(3); data > 0 {
		sim.data = func(after time.Duration) time.Duration {
			if len(n) == 0 {
				return never // a program without an end would not let it die
			}
			return after + 1 + time.Duration(n.below(uint64(data*3)*uint64(every)))
		}
	}
	out := sim.run()
	silent := out.died - out.lastIn
	if least := time.Duration(timing.Strikes)*every - min(mostLate, every/2+every/10); out.died != never && silent < least && with != `{"life": "pong_only"}` {
		t.Errorf("%s %s: got death after %v of silence, want %v at least", use, with, silent, least)
	}
	if out.died == never && sim.until-out.lastIn > timing.Silence+20*every {
		t.Errorf("%s %s: got life after %v of silence, want death", use, with, sim.until-out.lastIn)
	}
}
