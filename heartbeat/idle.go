package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// IdleConfig configures idle. Start from [DefaultIdleConfig].
type IdleConfig struct {
	WriterIdle spi.Duration `json:"writer_idle" doc:"after so long without a write, or without a sign of life, a PING is sent"`
	ReaderIdle spi.Duration `json:"reader_idle" doc:"a peer without a sign of life for this long is dead; at least twice writer_idle"`
}

// DefaultIdleConfig returns the defaults.
func DefaultIdleConfig() IdleConfig {
	return IdleConfig{WriterIdle: spi.Duration(5 * time.Second), ReaderIdle: spi.Duration(15 * time.Second)}
}

// maxSilence bounds the keys that say how long a peer may be silent.
const maxSilence = time.Hour

// Validate lists everything that is wrong.
func (c IdleConfig) Validate() error {
	errs := []error{validateInterval("writer_idle", c.WriterIdle, "; write 100ms to 10m")}
	switch {
	case c.ReaderIdle < 2*c.WriterIdle:
		errs = append(errs, fmt.Errorf("reader_idle: %v leaves no time to answer a PING that is sent after %v; write at least twice writer_idle", c.ReaderIdle, c.WriterIdle))
	case c.ReaderIdle.D() > maxSilence:
		errs = append(errs, fmt.Errorf("reader_idle: %v is too long to find a dead peer in time; write 1h at most", c.ReaderIdle))
	}
	return errors.Join(errs...)
}

// For returns what holds at one side: the same at both.
func (c IdleConfig) For(spi.Role) IdleConfig { return c }

func openIdle(_ context.Context, env spi.Env, cfg IdleConfig) (spi.Heartbeat, error) {
	cfg = cfg.For(env.Role)
	return idle{cfg.WriterIdle.D(), cfg.ReaderIdle.D()}, nil
}

// idle asks a peer only when nothing happens on the connection.
type idle struct{ writer, reader time.Duration }

// Timing returns no strikes: silence is measured, PINGs are not counted.
func (i idle) Timing() spi.Timing {
	return spi.Timing{Interval: i.writer, Silence: i.reader + i.tick()}
}

// tick is the shortest time between two questions.
func (i idle) tick() time.Duration { return i.writer / 10 }

// Decide compares the time since the last sign of life.
func (i idle) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	q := silenceOf(&st, s.LastIn)
	silent, late := s.Now-s.LastIn, s.Now-s.Due > i.writer/2
	pause := late && silent > i.reader-i.writer && !q.looked // or the next question, the last, might come too soon for an answer
	switch {
	case pause:
		q.looked = true
	case silent >= i.reader:
		return spi.Decision{Liveness: spi.Dead, Strikes: unanswered(s), Next: i.writer, Reason: causeOf(s)}, st
	case silent >= 2*i.writer && !late: // the PING of one writer_idle ago was not answered
		q.suspect = true
	}
	var d spi.Decision
	if q.suspect {
		d.Liveness, d.Strikes = spi.Suspect, unanswered(s)
	}
	if pause {
		d.SendPing, d.Next, d.Reason = true, i.writer, spi.ReasonLocalPause
		return d, q.state()
	}
	d.SendPing, d.Next = i.next(s)
	return d, q.state()
}

// next returns whether a PING is due, and when to ask again: at the next one, or when
// the silence will have got a new meaning.
func (i idle) next(s spi.Snapshot) (sendPing bool, next time.Duration) {
	next = max(min(s.LastIn, s.LastOut), s.LastPingAt) + i.writer - s.Now
	if next <= 0 {
		sendPing, next = true, i.writer
	}
	for _, limit := range [...]time.Duration{2 * i.writer, i.reader} {
		if left := s.LastIn + limit - s.Now; left > 0 {
			next = min(next, left)
		}
	}
	return sendPing, min(max(next, i.tick()), i.writer)
}

// unanswered returns how many PINGs a suspect has not answered, at least 1.
func unanswered(s spi.Snapshot) int {
	if s.PingSeq <= s.AckSeq {
		return 1
	}
	return int(min(s.PingSeq-s.AckSeq, math.MaxInt32))
}

// silence is the State of idle: the silence under way, which the next sign of life
// ends.
type silence struct {
	since   time.Duration
	looked  bool // a second time, after a local pause
	suspect bool
}

const (
	silenceSince field = iota
	silenceLooked
	silenceSuspect
)

// silenceOf reads a State. One that is not of this strategy, or of an earlier
// silence, is that of a new one.
func silenceOf(st *spi.State, since time.Duration) silence {
	if st[0] != ofIdle || silenceSince.time(st) != since {
		return silence{since: since}
	}
	return silence{since, silenceLooked.bool(st), silenceSuspect.bool(st)}
}

func (q silence) state() (st spi.State) {
	st[0] = ofIdle
	silenceSince.setTime(&st, q.since)
	silenceLooked.setBool(&st, q.looked)
	silenceSuspect.setBool(&st, q.suspect)
	return st
}
