package heartbeat

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Conn is a connection that a [Sweeper] watches. None of its methods may block, and
// all may be called after [Beat.Stop], when they should do nothing.
type Conn interface {
	// Observe fills in what the connection knows: LastIn, LastOut, InCount,
	// WriteStalled, QueueBytes and Inflight.
	Observe(*spi.Snapshot)

	// Ping queues a PING. It takes the place of an earlier one that still waits.
	Ping(seq uint64)

	// Judged is told of every decision that changed something: the number of strikes,
	// the liveness, or a round that did not count. strikes is what they were before.
	// After [spi.Dead] the connection is not asked about again.
	Judged(s spi.Snapshot, strikes int, d spi.Decision)
}

const (
	// slotsPerInterval and longestSlot set the grain in which questions are asked: a
	// twentieth of the interval, 50 ms at most.
	slotsPerInterval = 20
	longestSlot      = 50 * time.Millisecond
)

// Sweeper asks one [spi.Heartbeat] about all connections of a consumer or a provider,
// each when it is due. It has one goroutine and one timer, however many connections
// there are: questions that are due within the same slot are asked one after the
// other. It is safe for concurrent use.
type Sweeper struct {
	strategy spi.Heartbeat
	timing   spi.Timing
	slot     time.Duration
	start    time.Time // zero of the slots
	wake     chan struct{}
	running  sync.WaitGroup

	scratch spi.Snapshot // of the goroutine

	mu     sync.Mutex
	slots  map[int64][]*Beat // what is due when that slot ends; no empty lists
	next   int64             // the slot that the goroutine sleeps for; math.MaxInt64: none
	awake  bool              // the goroutine runs
	closed bool
}

// NewSweeper returns a Sweeper without connections. Close it. A strategy that never
// pings costs nothing.
func NewSweeper(strategy spi.Heartbeat) *Sweeper {
	s := &Sweeper{strategy: strategy, timing: strategy.Timing(), start: time.Now(), wake: make(chan struct{}, 1), slots: make(map[int64][]*Beat), next: math.MaxInt64}
	s.slot = min(max(s.timing.Interval/slotsPerInterval, time.Millisecond), longestSlot)
	return s
}

// Timing returns that of the strategy.
func (s *Sweeper) Timing() spi.Timing { return s.timing }

// Watch begins to watch a connection that has just come up. id names it in
// snapshots. Stop the Beat when the connection ends.
func (s *Sweeper) Watch(c Conn, id uint64, role spi.Role) *Beat {
	b := &Beat{sweeper: s, conn: c, id: id, role: role, born: time.Since(s.start)}
	if s.timing.Interval <= 0 {
		return b
	}
	now := s.slotAt(b.born)
	first := now + 1 + rand.Int64N(max(int64(s.timing.Interval/s.slot), 1)) // so that a fleet does not ping in step
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return b
	}
	if !s.awake {
		s.awake = true
		s.running.Go(s.run)
	}
	b.due = time.Duration(first) * s.slot
	s.enter(b, first)
	return b
}

// Close stops asking and returns when nothing is asked any more.
func (s *Sweeper) Close() {
	s.mu.Lock()
	s.closed = true
	clear(s.slots)
	s.mu.Unlock()
	s.nudge()
	s.running.Wait()
}

// slotAt returns the slot that at lies in.
func (s *Sweeper) slotAt(at time.Duration) int64 { return int64(at / s.slot) }

// slotFrom returns the first slot that begins at at or later.
func (s *Sweeper) slotFrom(at time.Duration) int64 { return int64((at + s.slot - 1) / s.slot) }

// enter puts a Beat into a slot. mu is held.
func (s *Sweeper) enter(b *Beat, slot int64) {
	b.slot, b.place, b.waits = slot, len(s.slots[slot]), true
	s.slots[slot] = append(s.slots[slot], b)
	if slot < s.next {
		s.nudge()
	}
}

// leave takes a Beat out of its slot. mu is held.
func (s *Sweeper) leave(b *Beat) {
	if !b.waits {
		return
	}
	b.waits = false
	list := s.slots[b.slot]
	if len(list) == 0 { // closed
		return
	}
	last := list[len(list)-1]
	list[b.place], last.place = last, b.place
	list[len(list)-1] = nil
	if list = list[:len(list)-1]; len(list) == 0 {
		delete(s.slots, b.slot)
	} else {
		s.slots[b.slot] = list
	}
}

func (s *Sweeper) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run asks what is due, and sleeps until the next is.
func (s *Sweeper) run() {
	timer := time.NewTimer(math.MaxInt64)
	defer timer.Stop()
	for {
		due, wait, ok := s.take()
		if !ok {
			return
		}
		for _, b := range due {
			b.ask()
		}
		if len(due) > 0 {
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// take removes what is due, the earliest first, or returns how long nothing will be.
// It returns false when the Sweeper is closed.
func (s *Sweeper) take() (due []*Beat, wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, 0, false
	}
	now := time.Since(s.start)
	var over []int64
	s.next = math.MaxInt64
	for slot := range s.slots { // 200 for an interval of 10 s, 12,000 for one of 10 min
		if slot <= s.slotAt(now) {
			over = append(over, slot)
		} else {
			s.next = min(s.next, slot)
		}
	}
	slices.Sort(over)
	for _, slot := range over {
		due = append(due, s.slots[slot]...)
		delete(s.slots, slot)
	}
	for _, b := range due {
		b.waits = false
	}
	if s.next == math.MaxInt64 {
		return due, math.MaxInt64, true
	}
	return due, time.Duration(s.next)*s.slot - now, true
}

// again puts a Beat where it is due at at.
func (s *Sweeper) again(b *Beat, at time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.stopped || s.closed {
		return
	}
	slot := s.slotFrom(at)
	b.due = time.Duration(slot) * s.slot
	s.enter(b, slot)
}
