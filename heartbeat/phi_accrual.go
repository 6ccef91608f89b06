package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// PhiAccrualConfig configures phi-accrual. Start from [DefaultPhiAccrualConfig].
type PhiAccrualConfig struct {
	Interval  spi.Duration `json:"interval" doc:"time between two PINGs"`
	Suspect   float64      `json:"suspect" doc:"a peer is suspect from this phi on: 5 is wrong once in 10^5 answers, as far as they are normally distributed"`
	Dead      float64      `json:"dead" doc:"a peer is dead from this phi on, above suspect"`
	Deviation spi.Duration `json:"deviation" doc:"least standard deviation, so that a perfectly regular link is not trusted to stay so"`
	Pause     spi.Duration `json:"pause" doc:"silence beyond the usual that is always accepted"`
	Floor     spi.Duration `json:"floor" doc:"no peer is dead sooner, whatever its phi"`
	Ceiling   spi.Duration `json:"ceiling" doc:"a peer without a sign of life for this long is dead, whatever its phi"`
}

// DefaultPhiAccrualConfig returns the defaults.
func DefaultPhiAccrualConfig() PhiAccrualConfig {
	return PhiAccrualConfig{
		Interval: spi.Duration(2 * time.Second), Suspect: 5, Dead: 10,
		Deviation: spi.Duration(300 * time.Millisecond), Pause: spi.Duration(3 * time.Second),
		Floor: spi.Duration(5 * time.Second), Ceiling: spi.Duration(30 * time.Second),
	}
}

// maxPhi is beyond what a normal distribution can say in a float64.
const maxPhi = 300

// Validate lists everything that is wrong.
func (c PhiAccrualConfig) Validate() error {
	errs := []error{validateInterval("interval", c.Interval, "; write 100ms to 10m")}
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !(c.Suspect >= 1 && c.Suspect <= maxPhi) {
		fault("suspect: %v would suspect everybody or nobody; write 1 to %d, such as 5", c.Suspect, maxPhi)
	}
	if !(c.Dead > c.Suspect && c.Dead <= maxPhi) {
		fault("dead: %v is not above suspect, %v, and at most %d; write about twice suspect", c.Dead, c.Suspect, maxPhi)
	}
	if c.Deviation.D() < time.Millisecond || c.Deviation.D() > maxSilence {
		fault("deviation: %v is not between 1ms and 1h", c.Deviation)
	}
	if c.Pause < 0 || c.Pause.D() > maxSilence {
		fault("pause: %v is not between 0s and 1h", c.Pause)
	}
	if c.Floor < c.Interval {
		fault("floor: %v leaves no time to answer a PING; write at least the interval, %v", c.Floor, c.Interval)
	}
	if c.Ceiling < c.Floor || c.Ceiling < 2*c.Interval || c.Ceiling.D() > maxSilence {
		fault("ceiling: %v is not at least floor and twice the interval, and at most 1h", c.Ceiling)
	}
	return errors.Join(errs...)
}

// For returns what holds at one side: the same at both.
func (c PhiAccrualConfig) For(spi.Role) PhiAccrualConfig { return c }

func openPhiAccrual(_ context.Context, env spi.Env, cfg PhiAccrualConfig) (spi.Heartbeat, error) {
	return phiAccrual{cfg.For(env.Role)}, nil
}

// phiAccrual learns how regularly answers come, and calls a silence by how unlikely
// it has become: phi is the negative logarithm of the probability that a peer at work
// is silent for so long. The idea is Hayashibara and others', "The phi accrual
// failure detector", 2004.
type phiAccrual struct{ cfg PhiAccrualConfig }

// Timing returns no strikes: phi is measured, PINGs are not counted.
func (p phiAccrual) Timing() spi.Timing {
	return spi.Timing{Interval: p.cfg.Interval.D(), Silence: p.cfg.Ceiling.D() + p.tick()}
}

// tick is the time between two questions: the interval has some of them, since phi
// grows between PINGs.
func (p phiAccrual) tick() time.Duration { return p.cfg.Interval.D() / 4 }

// Decide learns from a new answer and judges the silence since the last sign of life.
func (p phiAccrual) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	a := answersOf(&st)
	late := s.Now-s.Due > p.cfg.Interval.D()/2
	a.learn(s, late, p.cfg.Ceiling.D())
	var d spi.Decision
	d.SendPing = s.PingSeq == 0 || s.Now-s.LastPingAt >= p.cfg.Interval.D()
	d.Next = p.tick()
	if !d.SendPing { // the next is not late by more than half a tick
		d.Next = min(d.Next, max(s.LastPingAt+p.cfg.Interval.D()-s.Now, d.Next/2))
	}
	silent := s.Now - s.LastIn
	switch phi := p.phi(silent, a); {
	case late && phi >= p.cfg.Suspect && a.voids < mostVoids:
		a.voids++
		d.SendPing, d.Next, d.Reason = true, p.cfg.Interval.D(), spi.ReasonLocalPause // the peer stays what it was, and has an interval to answer
	case silent >= p.cfg.Ceiling.D(), phi >= p.cfg.Dead && silent >= p.cfg.Floor.D():
		return spi.Decision{Liveness: spi.Dead, Strikes: unanswered(s), Next: d.Next, Reason: causeOf(s)}, a.state()
	default:
		a.suspect, a.voids = phi >= p.cfg.Suspect, 0
	}
	if a.suspect {
		d.Liveness, d.Strikes = spi.Suspect, unanswered(s)
	}
	return d, a.state()
}

// enough answers say something about the next; before, one interval with a deviation
// of half of it is assumed.
const (
	enough = 8
	window = 200 // answers that count
)

// phi returns how suspicious a silence is.
func (p phiAccrual) phi(silent time.Duration, a answers) float64 {
	mean, deviation := a.mean, math.Sqrt(a.variance)
	if a.n < enough {
		mean, deviation = p.cfg.Interval.D().Seconds(), p.cfg.Interval.D().Seconds()/2
	}
	deviation = max(deviation, p.cfg.Deviation.D().Seconds())
	y := (silent - p.cfg.Pause.D()).Seconds() - mean
	return -math.Log10(math.Erfc(y/deviation/math.Sqrt2) / 2)
}

// answers is the State of phi-accrual: what the gaps between answers were like.
type answers struct {
	n              float64 // gaps learnt, at most window
	mean, variance float64 // of the gaps, in seconds
	seen           uint64  // PONGs
	last           time.Duration
	paused         bool // this side was late since the last answer
	voids          int  // questions in a row that did not count
	suspect        bool
}

// learn takes the gap before a new answer, unless this side was late within it. A
// gap is at most so long.
func (a *answers) learn(s spi.Snapshot, late bool, most time.Duration) {
	a.paused = a.paused || late
	if s.PongCount <= a.seen {
		return
	}
	at := s.LastIn
	if s.AckSeq == s.PingSeq {
		at = s.LastPingAt + s.LastRTT
	}
	if gap := min(at-a.last, most).Seconds(); a.seen > 0 && !a.paused && gap > 0 {
		a.n = min(a.n+1, window)
		off := gap - a.mean
		a.mean += off / a.n
		a.variance += (off*(gap-a.mean) - a.variance) / a.n
	}
	a.seen, a.last, a.paused = s.PongCount, at, false
}

const (
	answersN field = iota
	answersMean
	answersVariance
	answersSeen
	answersLast
	answersPaused
	answersVoids
	answersSuspect
)

// answersOf reads a State. One that is not of this strategy, or that no arithmetic
// can have led to, is that of a connection without answers.
func answersOf(st *spi.State) answers {
	a := answers{
		n: answersN.float(st), mean: answersMean.float(st), variance: answersVariance.float(st), seen: answersSeen.uint(st),
		last: answersLast.time(st), paused: answersPaused.bool(st), voids: int(uint8(answersVoids.uint(st))), suspect: answersSuspect.bool(st),
	}
	sane := a.n >= 0 && a.n <= window && a.mean >= 0 && a.variance >= 0 && !math.IsInf(a.mean+a.variance, 0)
	if st[0] != ofPhiAccrual || !sane {
		return answers{}
	}
	return a
}

func (a answers) state() (st spi.State) {
	st[0] = ofPhiAccrual
	answersN.setFloat(&st, a.n)
	answersMean.setFloat(&st, a.mean)
	answersVariance.setFloat(&st, a.variance)
	answersSeen.setUint(&st, a.seen)
	answersLast.setTime(&st, a.last)
	answersPaused.setBool(&st, a.paused)
	answersVoids.setUint(&st, uint64(a.voids))
	answersSuspect.setBool(&st, a.suspect)
	return st
}
