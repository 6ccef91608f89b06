package heartbeat

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// TestSweeperAsksOnTime: first within one interval, then exactly when it was told to,
// for hours, with slots or without.
func TestSweeperAsksOnTime(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second, 5 * time.Second, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			strategy := every(interval)
			s := NewSweeper(strategy)
			defer s.Close()
			const lines = 200
			for id := range uint64(lines) {
				watch(s, id, new(line))
			}
			time.Sleep(100 * interval)
			synctest.Wait()
			var first []time.Duration
			for id := range uint64(lines) {
				times := strategy.times(id)
				first = append(first, times[0])
				if times[0] <= 0 || times[0] > interval {
					t.Errorf("interval %v: first asked after %v, want within one interval", interval, times[0])
				}
				for i, at := range times {
					if want := times[0] + time.Duration(i)*interval; at != want {
						t.Fatalf("interval %v: asked number %d after %v, want %v", interval, i+1, at, want)
					}
				}
				if len(times) < 99 || len(times) > 100 {
					t.Errorf("interval %v: asked %d times, want 99 or 100", interval, len(times))
				}
			}
			slices.Sort(first)
			if distinct := len(slices.Compact(first)); distinct < slotsPerInterval*3/4 {
				t.Errorf("interval %v: %d lines begin in %d slots, want them spread over the interval", interval, lines, distinct)
			}
		})
	}
}

// TestSweeperDoesNotDrift: questions that come a little late, as they always do, do not
// make the next one come a slot later.
func TestSweeperDoesNotDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strategy := every(time.Second)
		s := NewSweeper(strategy)
		defer s.Close()
		late := func(*spi.Snapshot) { time.Sleep(time.Millisecond) }
		var real []time.Duration
		l := &line{observe: func(s *spi.Snapshot) { late(s) }}
		began := time.Now()
		l.pinged = func() { real = append(real, time.Since(began)) }
		watch(s, 1, l)
		time.Sleep(time.Minute + time.Second/2)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, at := range real {
			if want := real[0] + time.Duration(i)*time.Second; at != want {
				t.Fatalf("PING %d went after %v, want %v", i+1, at, want)
			}
		}
		if len(real) < 60 {
			t.Errorf("got %d PINGs in a minute, want 60", len(real))
		}
	})
}

// TestSweeperKeepsTheState: by connection.
func TestSweeperKeepsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strategy := &script{timing: spi.Timing{Interval: time.Second}}
		strategy.decide = func(spi.Snapshot) spi.Decision { return spi.Decision{Next: time.Second} }
		s := NewSweeper(strategy)
		defer s.Close()
		a, b := watch(s, 1, new(line)), watch(s, 2, new(line))
		time.Sleep(10*time.Second + time.Millisecond)
		b.beat.Stop()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := [2]byte{a.beat.state[0], b.beat.state[0]}; got != [2]byte{20, 10} {
			t.Errorf("got states %v, want one step for every question: 20 and 10", got)
		}
	})
}

// TestPongBeforePingReturns: the number of a PING is known before it is sent.
func TestPongBeforePingReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSweeper(every(time.Second))
		defer s.Close()
		l := new(line)
		l.answers.Store(true)
		watch(s, 1, l)
		time.Sleep(time.Minute + time.Millisecond)
		synctest.Wait()
		status := l.beat.Status()
		if status.Pings != 60 || status.Pongs != 60 {
			t.Errorf("got %+v, want 60 PINGs and as many PONGs", status)
		}
	})
}

// TestPong: what answers what, and how long it took.
func TestPong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSweeper(every(time.Second))
		defer s.Close()
		l := watch(s, 1, new(line))
		for l.beat.Status().Pings == 0 {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(2*time.Second + 300*time.Millisecond) // three are out
		for _, step := range []struct {
			seq uint64
			rtt time.Duration
			ok  bool
		}{
			{4, 0, false}, // never sent
			{0, 0, false},
			{2, 1300 * time.Millisecond, true}, // and the first
			{2, 0, false},
			{1, 0, false},
			{3, 300 * time.Millisecond, true},
			{3, 0, false},
		} {
			if rtt, ok := l.beat.Pong(step.seq); ok != step.ok || ok && (rtt-step.rtt).Abs() > 2*time.Millisecond {
				t.Errorf("PONG %d: got %v, %v, want %v, %v", step.seq, rtt, ok, step.rtt, step.ok)
			}
		}
		if got := l.beat.Status(); got.Pongs != 2 || got.Pings != 3 {
			t.Errorf("got %+v, want 3 PINGs and 2 PONGs that answered one", got)
		}
		time.Sleep(20 * time.Second) // beyond what is remembered by time
		if rtt, ok := l.beat.Pong(5); !ok || rtt < 7*time.Second || rtt > 8*time.Second {
			t.Errorf("got %v, %v of a PONG of a PING long ago, want it to answer all until then, and the time of the eighth from the end", rtt, ok)
		}
	})
}

// TestEarlyQuestion: a sign of life of a suspect connection is looked at at once,
// wherever it comes; of another one it costs nothing.
func TestEarlyQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strategy := &script{timing: spi.Timing{Interval: 10 * time.Second}}
		var suspect atomic.Bool
		suspect.Store(true)
		strategy.decide = func(spi.Snapshot) spi.Decision {
			if suspect.Load() {
				return spi.Decision{Liveness: spi.Suspect, Strikes: 1, Next: time.Hour}
			}
			return spi.Decision{Next: time.Hour}
		}
		s := NewSweeper(strategy)
		defer s.Close()
		l := watch(s, 1, new(line))
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		suspect.Store(false)
		time.Sleep(3 * time.Second)
		now := l.beat.age()
		l.signs.Add(1)
		l.beat.Alive()
		synctest.Wait()
		times := strategy.times(1)
		if got := times[len(times)-1]; got != now {
			t.Errorf("asked after %v, want at once, after %v", got, now)
		}
		strategy.mu.Lock()
		due := strategy.asked[len(strategy.asked)-1].Due
		strategy.mu.Unlock()
		if due != now {
			t.Errorf("got due %v at %v, want the moment itself: nobody was late", due, now)
		}
		before := len(times)
		l.beat.Alive()
		synctest.Wait()
		if got := len(strategy.times(1)); got != before {
			t.Errorf("asked %d times about a connection that is not suspect, want %d", got, before)
		}
		if want := []string{"suspect 0>1", "alive 1>0"}; !slices.Equal(l.judged, want) {
			t.Errorf("got judgements %v, want %v", l.judged, want)
		}
	})
}

// TestSignDuringTheQuestion: one that comes while the strategy decides is not missed.
func TestSignDuringTheQuestion(t *testing.T) {
	for _, test := range []struct {
		name string
		says spi.Decision // at first
		want []string
	}{
		{"suspect", spi.Decision{Liveness: spi.Suspect, Strikes: 1, Next: time.Hour}, []string{"suspect 0>1", "alive 1>0"}},
		{"dead", spi.Decision{Liveness: spi.Dead, Strikes: 1}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := new(line)
				strategy := &script{timing: spi.Timing{Interval: time.Second}}
				strategy.decide = func(now spi.Snapshot) spi.Decision {
					if now.InCount == 0 {
						l.speak()
						return test.says
					}
					return spi.Decision{Next: time.Hour}
				}
				s := NewSweeper(strategy)
				defer s.Close()
				watch(s, 1, l)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if !slices.Equal(l.judged, test.want) {
					t.Errorf("got judgements %v, want %v", l.judged, test.want)
				}
				if got := len(strategy.times(1)); got != 2 {
					t.Errorf("asked %d times, want twice", got)
				}
			})
		})
	}
}

// TestDead: nothing is asked after it.
func TestDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strategy := &script{timing: spi.Timing{Interval: time.Second}}
		strategy.decide = func(spi.Snapshot) spi.Decision {
			return spi.Decision{Liveness: spi.Dead, Strikes: 3, SendPing: true, Reason: spi.ReasonHeartbeatTimeout}
		}
		s := NewSweeper(strategy)
		defer s.Close()
		l := watch(s, 1, new(line))
		time.Sleep(time.Minute)
		synctest.Wait()
		l.signs.Add(1)
		l.beat.Alive()
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"dead 0>3heartbeat_timeout"}; !slices.Equal(l.judged, want) || len(l.pings) != 0 || len(strategy.times(1)) != 1 {
			t.Errorf("got judgements %v, %d PINGs, %d questions, want %v, none, one", l.judged, len(l.pings), len(strategy.times(1)), want)
		}
	})
}

// TestHaste: a strategy that wants to be asked without end is asked ten times per
// interval.
func TestHaste(t *testing.T) {
	for _, next := range []time.Duration{0, -time.Hour, time.Nanosecond} {
		synctest.Test(t, func(t *testing.T) {
			strategy := &script{timing: spi.Timing{Interval: time.Second}, decide: func(spi.Snapshot) spi.Decision { return spi.Decision{Next: next} }}
			s := NewSweeper(strategy)
			defer s.Close()
			watch(s, 1, new(line))
			time.Sleep(11 * time.Second)
			if got := len(strategy.times(1)); got < 100 || got > 111 {
				t.Errorf("next %v: asked %d times in 10 to 11 s, want ten times per second", next, got)
			}
		})
	}
}

// TestLateness: a Sweeper that is held up says so, and three-strike does not count
// what it missed: not in the first two rounds.
func TestLateness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strategy, err := openThreeStrike(t.Context(), spi.Env{}, ThreeStrikeConfig{Interval: spi.Duration(time.Second), Strikes: 3, Life: anyAnswer})
		if err != nil {
			t.Fatal(err)
		}
		s := NewSweeper(strategy)
		defer s.Close()
		l := new(line)
		l.answers.Store(true)
		watch(s, 1, l)
		var hold atomic.Int64 // every question about the other line stops this process for so long
		brake := &line{observe: func(*spi.Snapshot) { time.Sleep(time.Duration(hold.Load())) }}
		brake.answers.Store(true)
		watch(s, 2, brake)
		time.Sleep(time.Minute)
		synctest.Wait()
		l.answers.Store(false)
		for sent := l.beat.Status().Pings; l.beat.Status().Pings == sent; synctest.Wait() {
			time.Sleep(time.Millisecond)
		}
		hold.Store(int64(time.Minute))
		time.Sleep(time.Minute)
		hold.Store(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.judged) == 0 || l.judged[0] != "alive 0>0"+spi.ReasonLocalPause {
			t.Errorf("got %v, want a pause first", l.judged)
		}
		if got := l.judged[len(l.judged)-1]; got != "dead 2>3heartbeat_timeout" {
			t.Errorf("got %v, want the peer dead in the end: it did not answer", l.judged)
		}
		if slices.ContainsFunc(brake.judged, func(j string) bool { return j != "alive 0>0"+spi.ReasonLocalPause }) {
			t.Errorf("got %v of the line that answers, want pauses only", brake.judged)
		}
	})
}

// TestSweeperEnds: Stop and Close, in any order, twice, and while it asks.
func TestSweeperEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strategy := every(time.Second)
		s := NewSweeper(strategy)
		var all []*line
		for id := range uint64(100) {
			l := new(line)
			if id == 0 {
				l.observe = func(*spi.Snapshot) {
					l.mu.Lock()
					beat := l.beat
					l.mu.Unlock()
					beat.Stop()
				}
			}
			all = append(all, watch(s, id, l))
		}
		time.Sleep(10*time.Second + time.Millisecond)
		for _, l := range all[:50] {
			l.beat.Stop()
			l.beat.Stop()
			l.beat.Alive()
		}
		synctest.Wait()
		if got := len(strategy.times(0)); got != 1 {
			t.Errorf("asked %d times about the line that stopped itself, want once", got)
		}
		strategy.count()
		time.Sleep(10 * time.Second)
		s.Close()
		if got := strategy.count(); got != 500 {
			t.Errorf("asked %d times in ten seconds, want 500: half is stopped", got)
		}
		s.Close()
		for _, l := range all {
			l.beat.Stop()
			l.beat.Alive()
		}
		watch(s, 101, new(line)).beat.Stop()
		time.Sleep(10 * time.Second)
		if got := strategy.count(); got != 0 {
			t.Errorf("asked %d times after Close, want never", got)
		}
	})
}

// TestNoHeartbeat: a strategy that never pings is never asked, and starts nothing.
func TestNoHeartbeat(t *testing.T) {
	strategy := every(0)
	s := NewSweeper(strategy)
	l := watch(s, 1, new(line))
	l.beat.Alive()
	l.beat.Stop()
	s.Close()
	if len(strategy.asked) != 0 || l.beat.Status() != (Status{}) {
		t.Errorf("got %d questions and %+v, want none", len(strategy.asked), l.beat.Status())
	}
}

// TestSweeperRace has connections come and go from many goroutines.
func TestSweeperRace(t *testing.T) {
	strategy, err := openThreeStrike(t.Context(), spi.Env{}, ThreeStrikeConfig{Interval: spi.Duration(minInterval), Strikes: 3, Life: anyAnswer})
	if err != nil {
		t.Fatal(err)
	}
	s := NewSweeper(strategy)
	var running sync.WaitGroup
	for id := range uint64(8) {
		running.Go(func() {
			for i := range uint64(50) {
				l := watch(s, id, &line{})
				for range 200 {
					l.signs.Add(1)
					l.beat.Alive()
					l.beat.Pong(i)
					_ = l.beat.Status()
				}
				l.beat.Stop()
			}
		})
	}
	running.Wait()
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.slots) != 0 {
		t.Errorf("got %d slots after all is stopped, want none", len(s.slots))
	}
}

// BenchmarkSweep is the cost of one question with its PING and PONG, connections and
// frames left out.
func BenchmarkSweep(b *testing.B) {
	strategy, err := openThreeStrike(b.Context(), spi.Env{}, ThreeStrikeConfig{Interval: spi.Duration(time.Second), Strikes: 3, Life: anyAnswer})
	if err != nil {
		b.Fatal(err)
	}
	s := NewSweeper(strategy)
	s.Close() // the benchmark asks
	l := new(line)
	l.answers.Store(true)
	watch(s, 1, l)
	b.ReportAllocs()
	for b.Loop() {
		l.pings = l.pings[:0]
		l.beat.ask()
	}
}
