//go:build (fault || faultlong) && linux

package fault_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// starvedLoad is what goes on while a process has a twentieth of a core.
var starvedLoad = loadArgs{Methods: brinkMethods, Rate: 100, Timeout: 5 * time.Second}

// starve lets a process run for a twentieth of every period only, until the function
// that it returns is called.
func starve(p *proc, period time.Duration) (feed func()) {
	stop := make(chan struct{})
	var starving sync.WaitGroup
	starving.Go(func() {
		next := time.NewTimer(0)
		defer next.Stop()
		for {
			for _, turn := range []struct {
				signal syscall.Signal
				lasts  time.Duration
			}{{syscall.SIGSTOP, period * 19 / 20}, {syscall.SIGCONT, period / 20}} {
				select {
				case <-next.C:
				case <-stop:
					_ = p.cmd.Process.Signal(syscall.SIGCONT)
					return
				}
				_ = p.cmd.Process.Signal(turn.signal) // one that is gone is found out otherwise
				next.Reset(turn.lasts)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stop)
		starving.Wait()
	})
}

// starvations are the processes of a brink that starve, and how they do: often and
// shortly, or for longer than an interval at a time.
var starvations = []struct {
	name   string
	who    func(*brink) *proc
	period time.Duration
}{
	{"provider, often", func(s *brink) *proc { return s.victim }, 100 * time.Millisecond},
	{"provider, long", func(s *brink) *proc { return s.victim }, 2 * time.Second},
	{"consumer, often", func(s *brink) *proc { return s.consumer }, 100 * time.Millisecond},
	{"consumer, long", func(s *brink) *proc { return s.consumer }, 2 * time.Second},
}

// starved lets processes starve, each for a while, and holds what both sides did
// against what they knew: nobody is given up who was not silent for long enough, and
// a consumer holds its own want against nobody.
func starved(t *testing.T, lasts time.Duration) {
	for _, tt := range starvations {
		t.Run(tt.name, func(t *testing.T) {
			s := startBrink(t, calmBeat, starvedLoad, "round-robin") // p2c would not call a slow one
			who := tt.who(s)
			feed := starve(who, tt.period)
			defer feed()
			pass(lasts)
			feed()
			fed := time.Now()
			pass(backWithin + time.Second)
			told := s.consumer.events()
			h, failed, _ := s.end(fed, spi.ReasonHeartbeatTimeout)
			least, _ := s.beat.deadAfter()
			for side, told := range map[string]events{"consumer": told, "provider": s.victim.events()} {
				told.check(t, spi.ReasonHeartbeatTimeout, spi.ReasonReset, spi.ReasonSuperseded)
				for _, e := range told.of(eventDisconnected) {
					if e.Reason == spi.ReasonHeartbeatTimeout && e.Silent < least {
						t.Errorf("got the %s to give up after %v of silence, want %v at least", side, e.Silent, least)
					}
				}
			}
			if who == s.consumer {
				for _, e := range append(told.of(eventStrike), told.of(eventDisconnected)...) {
					t.Errorf("got %s %d (%s) at a consumer that starved itself, want none", e.Kind, e.Strikes, e.Reason)
				}
			}
			row(t, "23", "%s: 5%% of a core, %v of each %v stopped, for %v: %d strikes, %d local pauses and %d disconnections at the consumer; %d strikes and %d disconnections at the provider; %d calls, %d failed, p99 %v",
				tt.name, tt.period*19/20, tt.period, lasts, len(told.of(eventStrike)), len(told.of(eventPause)), len(told.of(eventDisconnected)),
				len(s.victim.events().of(eventStrike)), len(s.victim.events().of(eventDisconnected)), h.Begun, failed, h.between(s.begun, fed).p99())
		})
	}
}
