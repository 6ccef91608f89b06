package heartbeat

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// TestPongDuringTheQuestion: where only a PONG counts, one that comes while a peer is
// found dead is looked at too.
func TestPongDuringTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(line)
		strategy := &script{timing: spi.Timing{Interval: time.Second}}
		strategy.decide = func(s spi.Snapshot) spi.Decision {
			switch {
			case s.PingSeq == 0:
				return spi.Decision{SendPing: true, Next: time.Second}
			case s.AckSeq == 0:
				l.beat.Pong(1)
				return spi.Decision{Liveness: spi.Dead, Strikes: 3}
			}
			return spi.Decision{Next: time.Hour}
		}
		s := NewSweeper(strategy)
		defer s.Close()
		watch(s, 1, l)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.judged) != 0 {
			t.Errorf("got %v, want nothing: it has answered", l.judged)
		}
	})
}

// TestLateStaysLate: a sign of life that comes while this side is late does not make
// it look punctual.
func TestLateStaysLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const held = 5 * time.Second
		strategy := &script{timing: spi.Timing{Interval: time.Second}}
		var late time.Duration
		suspect := new(line)
		strategy.decide = func(s spi.Snapshot) spi.Decision {
			if s.ConnID == 1 { // the other one waits meanwhile
				time.Sleep(held)
				return spi.Decision{Next: time.Hour}
			}
			late = max(late, s.Now-s.Due)
			return spi.Decision{Liveness: spi.Suspect, Strikes: 1, Next: time.Second}
		}
		s := NewSweeper(strategy)
		defer s.Close()
		watch(s, 2, suspect)
		time.Sleep(10 * time.Second) // it is suspect, and asked every second
		watch(s, 1, new(line))
		time.Sleep(held) // the question about the first holds the sweeper up
		synctest.Wait()
		suspect.speak()
		time.Sleep(2 * held)
		synctest.Wait()
		if late < held/2 {
			t.Errorf("got a lateness of %v at most, want that of the question that was held up", late)
		}
	})
}

// TestCloseWaitsForTheQuestion: when Close has returned, nothing is asked any more.
func TestCloseWaitsForTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strategy := &script{timing: spi.Timing{Interval: time.Second}}
		asking, asked := false, 0
		strategy.decide = func(spi.Snapshot) spi.Decision {
			asking = true
			time.Sleep(time.Minute)
			asking = false
			asked++
			return spi.Decision{Next: time.Second}
		}
		s := NewSweeper(strategy)
		watch(s, 1, new(line))
		time.Sleep(10 * time.Second)
		s.Close()
		if asking || asked != 1 {
			t.Errorf("got a question under way %v after %d, want Close to wait for the first", asking, asked)
		}
	})
}
