package adaptive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Config is what stands under `with:`. Start from [DefaultConfig].
type Config struct {
	Interval    spi.Duration `json:"interval" doc:"shortest time between two PINGs, and the least that is allowed for an answer"`
	MaxInterval spi.Duration `json:"max_interval" doc:"longest time between two PINGs, and the most that is allowed for an answer"`
	Strikes     int          `json:"strikes" doc:"unanswered PINGs in a row that make a peer dead, 3 or more"`
	Trust       int          `json:"trust" doc:"answers in a row that double the time between two PINGs"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{Interval: spi.Duration(time.Second), MaxInterval: spi.Duration(5 * time.Second), Strikes: 3, Trust: 4}
}

// The bounds of the keys.
const (
	leastInterval = 100 * time.Millisecond
	mostInterval  = 10 * time.Minute
	leastStrikes  = 3
	mostStrikes   = 20
	mostTrust     = 1000
)

// Validate lists everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if d := c.Interval.D(); d < leastInterval || d > mostInterval {
		fault("interval: %v is not between %v and %v", c.Interval, leastInterval, mostInterval)
	}
	if d := c.MaxInterval.D(); d < c.Interval.D() || d > mostInterval {
		fault("max_interval: %v is not between the interval, %v, and %v", c.MaxInterval, c.Interval, mostInterval)
	}
	if c.Strikes < leastStrikes || c.Strikes > mostStrikes {
		fault("strikes: %d is not between %d and %d", c.Strikes, leastStrikes, mostStrikes)
	}
	if c.Trust < 1 || c.Trust > mostTrust {
		fault("trust: %d is not between 1 and %d", c.Trust, mostTrust)
	}
	return errors.Join(errs...)
}

// Register adds the heartbeat "adaptive" to a catalog.
func Register(cat *spi.Catalog) error {
	return spi.Register(cat.Heartbeats, "adaptive",
		"Gives an answer the time that the link takes, and asks a peer less often the longer it has answered; three PINGs or more in a row without an answer make it dead.",
		DefaultConfig(), open)
}

func open(_ context.Context, _ spi.Env, cfg Config) (spi.Heartbeat, error) {
	return strategy{cfg.Interval.D(), cfg.MaxInterval.D(), cfg.Strikes, cfg.Trust}, nil
}

// strategy sends a PING, looks after the time that an answer may take, and if there
// was one sends the next when the interval that the peer has earned is over.
type strategy struct {
	least, most    time.Duration
	strikes, trust int
}

// Timing returns the shortest interval. The longest silence: a peer that dies as it
// has answered is asked again an interval later, and then as often as there are
// strikes.
func (a strategy) Timing() spi.Timing {
	return spi.Timing{Interval: a.least, Strikes: a.strikes, Silence: time.Duration(a.strikes+1) * a.most}
}

// mostVoids is how many looks in a row may not count.
const mostVoids = 2

// Decide implements [spi.Heartbeat].
func (a strategy) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	m := recall(st)
	m.learn(s)
	if m.resting && s.PingSeq > m.seq { // the host asked, too
		m.seq, m.start, m.due, m.resting = s.PingSeq, s.LastPingAt, s.LastPingAt+a.answer(m), false
	}
	answered := s.AckSeq >= m.seq || s.LastIn > m.start
	switch {
	case m.seq == 0: // nothing was asked yet
		return a.ping(s, m)
	case answered && !m.resting:
		m.run, m.strikes, m.voids, m.resting = min(m.run+1, longestRun), 0, 0, true
		m.due = m.start + a.interval(m)
		if s.Now >= m.due {
			return a.ping(s, m)
		}
		return a.wait(s, m)
	case s.Now < m.due:
		return a.wait(s, m)
	case m.resting, s.PingSeq < m.seq: // or the host did not ask
		return a.ping(s, m)
	case s.Now-s.Due > a.answer(m)/2 && m.voids < mostVoids: // this side was late itself
		m.voids++
		d, st := a.ping(s, m)
		d.Reason = spi.ReasonLocalPause
		return d, st
	}
	m.run, m.strikes, m.voids = 0, m.strikes+1, 0
	if m.strikes < a.strikes {
		return a.ping(s, m)
	}
	d, st := a.wait(s, m)
	d.Liveness, d.Reason = spi.Dead, spi.ReasonHeartbeatTimeout
	if s.WriteStalled {
		d.Reason = spi.ReasonWriteStalled
	}
	return d, st
}

// ping sends the next PING and looks for its answer when that may be expected.
func (a strategy) ping(s spi.Snapshot, m memory) (spi.Decision, spi.State) {
	m.seq, m.start, m.resting = s.PingSeq+1, s.Now, false
	m.due = s.Now + a.answer(m)
	d, st := a.wait(s, m)
	d.SendPing = true
	return d, st
}

// wait asks to be asked again when m is due.
func (a strategy) wait(s spi.Snapshot, m memory) (spi.Decision, spi.State) {
	d := spi.Decision{Strikes: m.strikes, Next: min(max(m.due-s.Now, 1), a.most)}
	if m.strikes > 0 {
		d.Liveness = spi.Suspect
	}
	return d, m.state()
}

// answer returns how long an answer may take: the mean round trip and four times its
// mean deviation, as RFC 6298 has it for TCP, within the bounds; before the first
// answer the most.
func (a strategy) answer(m memory) time.Duration {
	if m.pongs == 0 {
		return a.most
	}
	return min(max(m.rtt+4*m.deviation, a.least), a.most)
}

// interval returns the time between two PINGs: the least, doubled for every so many
// answers in a row, and no shorter than what an answer may take.
func (a strategy) interval(m memory) time.Duration {
	interval := a.answer(m)
	for n := m.run / a.trust; n > 0 && interval < a.most; n-- {
		interval *= 2
	}
	return min(interval, a.most)
}
