package heartbeat

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// remembered is how many PINGs are known by the time they were sent, for the round
// trip.
const remembered = 8

// Beat is the heartbeat of one connection; [Sweeper.Watch] makes it. It is safe for
// concurrent use.
type Beat struct {
	sweeper *Sweeper
	conn    Conn
	id      uint64
	role    spi.Role
	born    time.Duration // when the connection came up, on the Sweeper's clock

	suspect atomic.Bool  // a sign of life is worth a question
	strikes atomic.Int32 // for whoever looks

	// Of the Sweeper's goroutine.
	state spi.State

	mu       sync.Mutex
	seq, ack uint64
	pongs    uint64
	pinged   [remembered]time.Duration // since born, by the number of the PING
	rtt      time.Duration

	// Guarded by sweeper.mu.
	due     time.Duration // on the Sweeper's clock
	slot    int64
	place   int  // in the slot's list
	waits   bool // it is in a list
	stopped bool
}

// Status is what a Beat knows, for people.
type Status struct {
	Strikes int           // unanswered PINGs in a row
	RTT     time.Duration // of the last PING that was answered; 0: none was
	Pings   uint64        // sent
	Pongs   uint64        // that answered one
}

// Status returns how the connection stands.
func (b *Beat) Status() Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Status{Strikes: int(b.strikes.Load()), RTT: b.rtt, Pings: b.seq, Pongs: b.pongs}
}

// Stop ends the watch. It does not wait for a question that is being asked.
func (b *Beat) Stop() {
	s := b.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	b.stopped = true
	s.leave(b)
}

// Pong notes the answer to a PING, and to every one before it. It returns the time
// that it took (of a PING before the last eight, the least that it can have been), and
// false if it answers none: a number that was never sent, or one that was answered
// before.
func (b *Beat) Pong(seq uint64) (rtt time.Duration, ok bool) {
	now := b.age()
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq > b.seq || seq <= b.ack {
		return 0, false
	}
	known := seq
	if b.seq-seq >= remembered {
		known = b.seq - remembered + 1
	}
	b.rtt = now - b.pinged[known%remembered]
	b.ack = seq
	b.pongs++
	return b.rtt, true
}

// Alive is to be called after a sign of life, when the connection's Observe already
// shows it. It costs a load of an atomic unless the connection is suspect; then the
// strategy is asked at once.
func (b *Beat) Alive() {
	if !b.suspect.Load() {
		return
	}
	s := b.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.stopped || s.closed || !b.waits { // who is being asked is looked at again after that
		return
	}
	s.leave(b)
	now := time.Since(s.start)
	b.due = min(b.due, now) // if this side is late already, it stays so
	s.enter(b, s.slotAt(now))
}

// age is how long the connection has been up.
func (b *Beat) age() time.Duration { return time.Since(b.sweeper.start) - b.born }

// ask asks the strategy and does what it decides.
func (b *Beat) ask() {
	s := b.sweeper
	before := int(b.strikes.Load())
	snapshot := b.snapshot()
	d, state := s.strategy.Decide(snapshot, b.state)
	if d.Liveness == spi.Dead { // unless it spoke in this very moment
		if again := b.snapshot(); again.InCount != snapshot.InCount || again.AckSeq != snapshot.AckSeq {
			snapshot = again
			d, state = s.strategy.Decide(snapshot, b.state)
		}
	}
	b.state = state
	b.strikes.Store(int32(d.Strikes))
	suspect := d.Liveness == spi.Suspect
	changed := suspect != b.suspect.Swap(suspect) || d.Strikes != before || d.Reason == spi.ReasonLocalPause
	if d.Liveness == spi.Dead {
		b.conn.Judged(snapshot, before, d)
		return
	}
	if d.SendPing {
		b.conn.Ping(b.number())
	}
	s.again(b, b.born+snapshot.Now+max(d.Next, lookAfter(s.timing.Interval)))
	if changed {
		b.conn.Judged(snapshot, before, d)
	}
	if suspect && b.signs() != snapshot.InCount {
		b.Alive() // it spoke before it was known to be suspect
	}
}

// number returns the number of the next PING. It is known before it is sent, or an
// answer could come before it.
func (b *Beat) number() uint64 {
	now := b.age()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	b.pinged[b.seq%remembered] = now
	return b.seq
}

// signs returns the count of signs of life.
func (b *Beat) signs() uint64 {
	s := &b.sweeper.scratch
	b.conn.Observe(s)
	return s.InCount
}

func (b *Beat) snapshot() spi.Snapshot {
	s := &b.sweeper.scratch // it escapes
	*s = spi.Snapshot{ConnID: b.id, Role: b.role}
	b.conn.Observe(s)
	s.Now, s.Due = b.age(), b.due-b.born
	if s.Now-s.Due < b.sweeper.slot { // as good as on time: what it says next stays on the slots
		s.Now = s.Due
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s.PingSeq, s.AckSeq, s.PongCount, s.LastRTT = b.seq, b.ack, b.pongs, b.rtt
	if b.seq > 0 {
		s.LastPingAt = b.pinged[b.seq%remembered]
	}
	return *s
}
