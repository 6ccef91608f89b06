package heartbeat

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// script is a strategy that does what the test says and notes what it was asked.
type script struct {
	timing spi.Timing
	decide func(s spi.Snapshot) spi.Decision

	mu    sync.Mutex
	asked []spi.Snapshot
}

func (s *script) Timing() spi.Timing { return s.timing }

func (s *script) Decide(now spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	s.mu.Lock()
	s.asked = append(s.asked, now)
	s.mu.Unlock()
	st[0]++
	return s.decide(now), st
}

// count returns how often it was asked since the last call of count.
func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.asked = nil }()
	return len(s.asked)
}

// times returns when it was asked about a connection, on the connection's clock.
func (s *script) times(id uint64) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []time.Duration
	for _, now := range s.asked {
		if now.ConnID == id {
			all = append(all, now.Now)
		}
	}
	return all
}

func every(d time.Duration) *script {
	return &script{timing: spi.Timing{Interval: d}, decide: func(spi.Snapshot) spi.Decision { return spi.Decision{SendPing: true, Next: d} }}
}

// line is a connection whose peer the test plays.
type line struct {
	beat    *Beat
	signs   atomic.Uint64
	answers atomic.Bool           // to every PING, at once
	observe func(s *spi.Snapshot) // beside the count; nil: nothing
	pinged  func()                // called for every PING, under mu; nil: nothing

	mu     sync.Mutex
	pings  []uint64
	judged []string
}

func (l *line) Observe(s *spi.Snapshot) {
	s.InCount = l.signs.Load()
	if l.observe != nil {
		l.observe(s)
	}
}

func (l *line) Ping(seq uint64) {
	l.mu.Lock()
	l.pings = append(l.pings, seq)
	if l.pinged != nil {
		l.pinged()
	}
	beat := l.beat
	l.mu.Unlock()
	if l.answers.Load() {
		beat.Pong(seq) // before Ping has even returned
		l.speak()
	}
}

// speak is a sign of life.
func (l *line) speak() {
	l.signs.Add(1)
	l.mu.Lock()
	beat := l.beat
	l.mu.Unlock()
	beat.Alive()
}

func (l *line) Judged(s spi.Snapshot, before int, d spi.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.judged = append(l.judged, fmt.Sprintf("%s %d>%d%s", d.Liveness, before, d.Strikes, d.Reason))
}

// watch puts a line under watch. Its beat is known before it is asked for the first
// time, as a connection's is.
func watch(s *Sweeper, id uint64, l *line) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beat = s.Watch(l, id, spi.RoleConsumer)
	return l
}
