package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// ThreeStrikeConfig configures three-strike. Start from [DefaultThreeStrikeConfig].
type ThreeStrikeConfig struct {
	Preset     string       `json:"preset" doc:"lan: 5s, and 10s at a provider; wan: 10s and 20s; fast: 1s and 2s" oneof:"lan,wan,fast"`
	Interval   spi.Duration `json:"interval" doc:"time between two PINGs; 0s: the preset's"`
	Strikes    int          `json:"strikes" doc:"unanswered PINGs in a row that make a peer dead"`
	Life       string       `json:"life" doc:"what answers a PING. any_answer: its PONG, or anything else that only a peer at work sends; pong_only: its PONG" oneof:"any_answer,pong_only"`
	LocalPause spi.Duration `json:"local_pause" doc:"a round that this side judges later than this does not count, twice in a row at most; 0s: half of the interval"`
}

// DefaultThreeStrikeConfig returns the defaults.
func DefaultThreeStrikeConfig() ThreeStrikeConfig {
	return ThreeStrikeConfig{Preset: "lan", Strikes: 3, Life: anyAnswer}
}

// The values of Life.
const (
	anyAnswer = "any_answer"
	pongOnly  = "pong_only"
)

// presets holds the intervals of a consumer. That of a provider is twice as long,
// so that usually the consumer acts first, and reconnects.
var presets = map[string]time.Duration{"lan": 5 * time.Second, "wan": 10 * time.Second, "fast": time.Second}

// The bounds of the keys.
const (
	minInterval   = 100 * time.Millisecond
	maxInterval   = 10 * time.Minute
	maxStrikes    = 20
	maxLocalPause = 10 * time.Minute
)

// Validate lists everything that is wrong.
func (c ThreeStrikeConfig) Validate() error {
	var errs []error
	if _, ok := presets[c.Preset]; !ok {
		errs = append(errs, unknown("preset", c.Preset, "lan", "wan", "fast"))
	}
	if c.Life != anyAnswer && c.Life != pongOnly {
		errs = append(errs, unknown("life", c.Life, anyAnswer, pongOnly))
	}
	interval := validateInterval("interval", c.Interval, "; write 100ms to 10m, or 0s for that of the preset")
	if c.Interval == 0 {
		interval = nil
	}
	errs = append(errs, interval)
	switch {
	case c.Strikes < 1:
		errs = append(errs, fmt.Errorf("strikes: %d would end every connection, or none; write 1 to %d, or use the heartbeat none", c.Strikes, maxStrikes))
	case c.Strikes > maxStrikes:
		errs = append(errs, fmt.Errorf("strikes: %d in a row keep a dead peer for too long; write 1 to %d, or a longer interval", c.Strikes, maxStrikes))
	}
	if interval == nil {
		errs = append(errs, c.validateLocalPause())
	}
	return errors.Join(errs...)
}

func (c ThreeStrikeConfig) validateLocalPause() error {
	least := lookAfter(max(c.For(spi.RoleConsumer).Interval.D(), c.For(spi.RoleProvider).Interval.D()))
	switch p := c.LocalPause.D(); {
	case p == 0 || p >= least && p <= maxLocalPause:
		return nil
	case p > maxLocalPause:
		return fmt.Errorf("local_pause: %v is longer than any pause that should not count; write %v to 10m, or 0s for half of the interval", c.LocalPause, least)
	}
	return fmt.Errorf("local_pause: %v is within the usual lateness of a busy process; write %v to 10m, or 0s for half of the interval", c.LocalPause, least)
}

// For returns what holds at one side, with nothing left to be derived. The role ""
// is a consumer's. c must be valid.
func (c ThreeStrikeConfig) For(role spi.Role) ThreeStrikeConfig {
	if c.Interval == 0 {
		c.Interval = spi.Duration(presets[c.Preset])
		if role == spi.RoleProvider {
			c.Interval *= 2
		}
	}
	if c.LocalPause == 0 {
		c.LocalPause = c.Interval / 2
	}
	return c
}

func openThreeStrike(_ context.Context, env spi.Env, cfg ThreeStrikeConfig) (spi.Heartbeat, error) {
	cfg = cfg.For(env.Role)
	return threeStrike{
		interval: cfg.Interval.D(), strikes: cfg.Strikes, pongOnly: cfg.Life == pongOnly,
		localPause: cfg.LocalPause.D(), look: lookAfter(cfg.Interval.D()),
	}, nil
}

// lookAfter returns when the second look comes after the end of a round.
func lookAfter(interval time.Duration) time.Duration {
	return min(100*time.Millisecond, interval/10)
}

// threeStrike counts rounds of one PING each that were not answered, in a row;
// docs/heartbeat.md §1 draws a round.
type threeStrike struct {
	interval   time.Duration
	strikes    int
	pongOnly   bool
	localPause time.Duration
	look       time.Duration // from the end of a round to the second look
}

// Timing returns the interval, the strikes, and the longest silence: all of one
// round after a sign of life at its beginning, the rounds that count, and the second
// look.
func (t threeStrike) Timing() spi.Timing {
	return spi.Timing{Interval: t.interval, Strikes: t.strikes, Silence: time.Duration(t.strikes+1)*t.interval + t.look}
}

// mostVoids is how many rounds in a row may not count.
const mostVoids = 2

// Decide judges the round when it is over.
func (t threeStrike) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	r, begun := roundOf(&st)
	if !begun {
		return t.next(s, round{end: s.Now})
	}
	answered := s.AckSeq >= r.seq || !t.pongOnly && s.InCount > r.inCount
	switch {
	case answered && s.Now < r.end: // asked early
		r.strikes, r.voids = 0, 0
		return t.wait(s, r)
	case answered:
		r.strikes, r.voids = 0, 0
		return t.next(s, r)
	case s.Now < r.due: // asked early
		return t.wait(s, r)
	case s.Now-s.Due > t.localPause && r.voids < mostVoids:
		r.voids++
		r.end = s.Now // a new grid
		d, st := t.next(s, r)
		d.Reason = spi.ReasonLocalPause
		return d, st
	case r.due == r.end:
		r.due = s.Now + t.look
		return t.wait(s, r)
	}
	r.strikes, r.voids = r.strikes+1, 0
	if r.strikes >= t.strikes {
		d, st := t.wait(s, r)
		d.Liveness, d.Reason = spi.Dead, causeOf(s)
		return d, st
	}
	return t.next(s, r)
}

// next begins a round. It ends at the next point of the grid, so that answers and
// second looks do not make the interval longer. If this side was so late that the
// peer would have less than about half of it, a new grid begins.
func (t threeStrike) next(s spi.Snapshot, r round) (spi.Decision, spi.State) {
	r.end += t.interval
	if left := r.end - s.Now; left < t.interval/2-t.look || left > t.interval {
		r.end = s.Now + t.interval
	}
	r.seq, r.inCount, r.due = s.PingSeq+1, s.InCount, r.end
	d, st := t.wait(s, r)
	d.SendPing = true
	return d, st
}

// wait goes on with a round.
func (t threeStrike) wait(s spi.Snapshot, r round) (spi.Decision, spi.State) {
	d := spi.Decision{Strikes: r.strikes, Next: min(max(r.due-s.Now, 1), t.interval)}
	if r.strikes > 0 {
		d.Liveness = spi.Suspect
	}
	return d, r.state()
}

// causeOf returns why a peer is dead.
func causeOf(s spi.Snapshot) string {
	if s.WriteStalled {
		return spi.ReasonWriteStalled
	}
	return spi.ReasonHeartbeatTimeout
}

// round is the State of three-strike: the round under way.
type round struct {
	seq     uint64        // of its PING
	inCount uint64        // signs of life before it
	end     time.Duration // on the grid
	due     time.Duration // when it is judged: at its end, or at the second look
	strikes int           // before it
	voids   int           // before it, in a row
}

const (
	roundSeq field = iota
	roundInCount
	roundEnd
	roundDue
	roundStrikes
	roundVoids
)

// roundOf reads a State. ok is false if it is not of this strategy, as at first.
func roundOf(st *spi.State) (r round, ok bool) {
	return round{
		seq: roundSeq.uint(st), inCount: roundInCount.uint(st), end: roundEnd.time(st), due: roundDue.time(st),
		strikes: int(uint8(roundStrikes.uint(st))), voids: int(uint8(roundVoids.uint(st))),
	}, st[0] == ofThreeStrike
}

func (r round) state() (st spi.State) {
	st[0] = ofThreeStrike
	roundSeq.setUint(&st, r.seq)
	roundInCount.setUint(&st, r.inCount)
	roundEnd.setTime(&st, r.end)
	roundDue.setTime(&st, r.due)
	roundStrikes.setUint(&st, uint64(r.strikes))
	roundVoids.setUint(&st, uint64(r.voids))
	return st
}
