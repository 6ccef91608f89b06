package core

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
)

const (
	// fastestPing is the shortest interval that a heartbeat may have.
	fastestPing = 100 * time.Millisecond

	// earlyPings is how many PINGs may come too early, and keptPings how many while
	// nothing came for long: what was held up on the way, or by this side, comes at
	// once, and a peer may leave 20 unanswered.
	earlyPings = 10
	keptPings  = 50

	// silentFor is how long the kernel lets sent bytes go unacknowledged where there
	// is no heartbeat.
	silentFor = 25 * time.Second
)

// errSuperseded ends a connection at a provider.
var errSuperseded = errors.New("the consumer gave this connection up for dead and connected again")

// silenceError ends a connection whose peer the heartbeat found dead.
type silenceError struct {
	reason  string // of spi's
	silent  time.Duration
	strikes int
}

func (e *silenceError) Error() string {
	text := fmt.Sprintf("no sign of life for %v", e.silent.Round(time.Millisecond))
	if e.strikes > 0 {
		text = fmt.Sprintf("%s unanswered, %s", count(e.strikes, "heartbeat"), text)
	}
	if e.reason == spi.ReasonWriteStalled {
		text += "; the kernel did not even take the last one"
	}
	return text
}

// presumedDead reports a cause after which nobody reads what was sent.
func presumedDead(cause error) bool {
	var silent *silenceError
	return errors.Is(cause, errWriteStalled) || errors.Is(cause, errSuperseded) || errors.Is(cause, syscall.ETIMEDOUT) || errors.As(cause, &silent)
}

// pulse is the heartbeat of one Consumer or Provider, and whom it tells what happens.
type pulse struct {
	role    spi.Role
	timing  spi.Timing
	sweeper *heartbeat.Sweeper // nil: no heartbeat of this side's own
	events  eventQueue
	counts  counts
	ids     atomic.Uint64 // of connections
}

// newPulse returns the pulse of a strategy; nil is none.
func newPulse(role spi.Role, strategy spi.Heartbeat) *pulse {
	p := &pulse{role: role}
	if strategy != nil {
		p.timing = strategy.Timing()
	}
	if p.timing.Interval > 0 {
		p.sweeper = heartbeat.NewSweeper(strategy)
	}
	return p
}

// close returns when nothing is asked or told any more. All connections are gone.
func (p *pulse) close() {
	if p.sweeper != nil {
		p.sweeper.Close()
	}
	p.events.drained()
}

// announced is the interval as HELLO has it.
func (p *pulse) announced() uint64 { return uint64(p.timing.Interval / time.Millisecond) }

// userTimeout is how long the kernel may wait for an acknowledgement: longer than the
// heartbeat and the write timeout, so that these decide.
func (p *pulse) userTimeout(write spi.Duration) time.Duration {
	if p.sweeper == nil {
		return max(silentFor, write.D()+time.Second)
	}
	return max(p.timing.Silence+p.timing.Interval, write.D()+time.Second)
}

// writeTimeout is how long a peer may take no bytes: what is configured, or by the
// interval.
func (p *pulse) writeTimeout(configured spi.Duration) spi.Duration {
	switch {
	case configured > 0:
		return configured
	case p.sweeper == nil:
		return defaultWriteTimeout
	}
	return spi.Duration(max(2*p.timing.Interval, time.Second))
}

// heart is the heartbeat of one connection.
type heart struct {
	*pulse
	id   uint64
	beat *heartbeat.Beat // nil: not up, or no heartbeat; set before up is
	up   atomic.Bool
	born time.Duration // when the connection came up, after traffic.since; set before up is
	peer time.Duration // between the peer's PINGs; 0: it sends none

	// Of the reader alone.
	told   bool          // observers are told of the connection
	last   time.Duration // when the last PING came, after traffic.since
	credit time.Duration // for PINGs, each of which costs half of an interval

	mu   sync.Mutex
	over bool // Disconnected is the next event, or was the last
}

// least is what a PING of the peer costs.
func (h *heart) least() time.Duration { return max(h.peer, fastestPing) / 2 }

// agree notes what the peer announced.
func (h *heart) agree(peer wire.HelloBody) {
	h.peer = time.Duration(min(peer.Heartbeat, uint64(time.Hour/time.Millisecond))) * time.Millisecond
	h.credit = (earlyPings + 1) * h.least()
}

// beginHeartbeat is called once, when the connection is up.
func (c *conn) beginHeartbeat() {
	h := &c.heart
	h.id, h.born = h.ids.Add(1), time.Since(c.in.traffic.since)
	c.in.traffic.sign.Store(int64(h.born)) // HELLO
	h.told = h.report(Connected{c.event(), h.timing, h.peer})
	if h.sweeper != nil {
		h.beat = h.sweeper.Watch((*watched)(c), h.id, h.role)
		c.in.alive = h.beat.Alive
		stopKeepAlive(c.nc) // a lost one would end the connection before the heartbeat does
	}
	h.up.Store(true)
	c.watched()
}

// endHeartbeat stops the watch and returns the event that says so; nil: the
// connection was never up.
func (c *conn) endHeartbeat() *Disconnected {
	h := &c.heart
	if !h.up.Load() {
		return nil
	}
	if h.beat != nil {
		h.beat.Stop()
	}
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	reason, text := reasonOf(c.cause)
	return &Disconnected{ConnID: c.event(), Reason: reason, Cause: text, Strikes: c.status().Strikes, Silent: c.silent(), Lifetime: time.Since(c.in.traffic.since) - h.born}
}

// agreed is for the end of a connection on which GOAWAY was said: either side may be
// the one that closes it.
func (d *Disconnected) agreed() {
	if d.Reason == spi.ReasonEOF {
		d.Reason, d.Cause = reasonOf(errGoAway)
	}
}

// event begins an event about the connection.
func (c *conn) event() ConnID {
	return ConnID{Role: c.heart.role, ID: c.heart.id, Peer: c.remote, At: time.Now()}
}

// supersededBy ends a connection whose consumer has made another one.
func (c *conn) supersededBy(id uint64) {
	h := &c.heart
	h.mu.Lock()
	if !h.over {
		h.report(Superseded{c.event(), id})
	}
	h.mu.Unlock()
	c.close(errSuperseded)
}

// silent is how long ago the last sign of life was.
func (c *conn) silent() time.Duration {
	t := &c.in.traffic
	return max(0, time.Since(t.since)-time.Duration(t.sign.Load()))
}

// status is that of the heartbeat; zero where there is none.
func (c *conn) status() heartbeat.Status {
	if !c.heart.up.Load() || c.heart.beat == nil {
		return heartbeat.Status{}
	}
	return c.heart.beat.Status()
}

// report counts an event, and tells observers of it unless they are too slow.
func (p *pulse) report(event any) bool {
	p.counts.note(event)
	return p.events.report(event)
}

// ended counts and tells the end of a connection, to observers that know of it.
func (h *heart) ended(d Disconnected) {
	h.counts.note(d)
	if h.told {
		h.events.conclude(d)
	} else {
		h.events.skip()
	}
}

// pong notes the answer to a PING of this side, and reports whether it answers one: now,
// or late.
func (h *heart) pong(sequence uint64) bool {
	if h.beat == nil {
		return false
	}
	rtt, ok := h.beat.Pong(sequence)
	if ok {
		h.counts.rtt.add(rtt)
	}
	return ok || sequence > 0 && sequence <= h.beat.Status().Pings
}

// signs counts the signs of life that one read brought.
func (c *conn) signs() {
	if c.in.traffic.count() && c.heart.beat != nil {
		c.heart.beat.Alive()
	}
}

// pinged takes a PING of the peer. An error ends the connection: there were too many.
func (c *conn) pinged(sequence uint64) error {
	h := &c.heart
	now, least := time.Since(c.in.traffic.since), h.least()
	h.credit = min(h.credit+now-h.last, keptPings*least)
	h.last = now
	if h.credit -= least; h.credit < 0 {
		return c.refuse(wire.GoAwayPings, fmt.Sprintf("too many PINGs: they come less than %v apart, half of the interval that was announced", least))
	}
	c.out.answerPing(sequence)
	return nil
}

// watched is a conn as the Sweeper sees it.
type watched conn

// Observe implements [heartbeat.Conn].
func (w *watched) Observe(s *spi.Snapshot) {
	c := (*conn)(w)
	t := &c.in.traffic
	up := c.heart.born
	s.InCount, s.LastIn = t.signs.Load(), max(0, time.Duration(t.sign.Load())-up)
	s.Inflight = c.pending()
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	s.WriteStalled = c.out.pinging || c.out.asking
	s.QueueBytes = int64(c.out.small.queued + c.out.large.queued)
	if c.out.written.bytes > 0 {
		s.LastOut = max(0, c.out.written.last.Sub(t.since)-up)
	}
}

// Ping implements [heartbeat.Conn].
func (w *watched) Ping(seq uint64) {
	c := (*conn)(w)
	c.heart.counts.pings.Add(1)
	c.out.askPing(seq)
}

// Judged implements [heartbeat.Conn].
func (w *watched) Judged(s spi.Snapshot, before int, d spi.Decision) {
	c := (*conn)(w)
	silent := max(0, s.Now-s.LastIn)
	c.tell(s, before, d, silent)
	if d.Liveness == spi.Dead {
		reason := d.Reason
		if reason != spi.ReasonWriteStalled {
			reason = spi.ReasonHeartbeatTimeout
		}
		c.close(&silenceError{reason, silent, d.Strikes})
		return
	}
	c.judged(d.Liveness == spi.Suspect)
}

// tell reports a decision, unless the connection has ended since.
func (c *conn) tell(s spi.Snapshot, before int, d spi.Decision, silent time.Duration) {
	h := &c.heart
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-c.ended:
		return
	default:
	}
	switch {
	case h.over:
	case d.Strikes > before:
		h.report(Strike{c.event(), d.Strikes, h.timing.Strikes, s.PingSeq, silent, s.Inflight})
	case d.Strikes < before:
		h.report(Recovered{c.event(), before})
	case d.Reason == spi.ReasonLocalPause:
		h.report(LocalPause{c.event(), s.Now - s.Due})
	}
}
