//go:build (fault || faultlong) && linux

package fault_test

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// brinkMethods are called in turn, both at both of two endpoints that are called in turn.
var brinkMethods = []string{"Till.Book", "SafeTill.Book", "SafeTill.Book", "Till.Book"}

// brinkLoad is what goes on while processes are frozen. A call outlives the
// detection, so an idempotent one that was lost can be made elsewhere.
var brinkLoad = loadArgs{Methods: brinkMethods, Rate: 1000, Timeout: 2 * time.Second}

// brink is a consumer under load with two providers: one that stays healthy, and one
// that a row breaks.
type brink struct {
	t        *testing.T
	beat     beat
	load     loadArgs
	journal  string
	spare    *proc
	spareAt  string // its address
	victim   *proc
	victimAt string // its address
	consumer *proc
	leaks    func()
	begun    time.Time // when the load was warm
}

// startBrink starts the processes, and returns when the consumer is connected to both
// providers and has called them for a second, as balancer chooses.
func startBrink(t *testing.T, b beat, load loadArgs, balancer string) *brink {
	t.Helper()
	s := &brink{t: t, beat: b, load: load, journal: filepath.Join(t.TempDir(), "journal")}
	provider := providerArgs{Journal: s.journal, Keys: map[string]any{"provider.heartbeat": b.key()}}
	s.spare, s.spareAt = startProvider(t, provider)
	s.victim, s.victimAt = startProvider(t, provider)
	keys := quickReconnect()
	keys["consumer.heartbeat"], keys["consumer.loadbalancer"] = b.key(), balancer
	keys["references.SafeTill.idempotent"] = []string{"Book"}
	s.consumer = startConsumer(t, keys, s.spareAt, s.victimAt)
	if !within(patience, func() bool { return s.consumer.events().open() == 2 && s.victim.events().open() == 1 }) {
		t.Fatal("got no connection to both providers")
	}
	s.leaks = leakCheck(t, 2*load.Rate, s.consumer, s.victim)
	s.consumer.ask("load", load, nil)
	pass(time.Second)
	s.begun = time.Now()
	return s
}

// between returns the events of a span of time.
func (es events) between(from, to time.Time) events {
	return slices.DeleteFunc(slices.Clone(es), func(e event) bool { return e.At.Before(from) || !e.At.Before(to) })
}

// freeze stops a process until the function that it returns is called; both return
// when it was.
func freeze(p *proc) (at time.Time, thaw func() time.Time) {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	return time.Now(), func() time.Time {
		p.t.Helper()
		at := time.Now()
		p.signal(syscall.SIGCONT)
		return at
	}
}

// judgeDeath holds what one side was told of a connection that the heartbeat ended
// against what it promises: strikes one by one, and so much silence before the last.
func (b beat) judgeDeath(t *testing.T, side string, all events, dead event) {
	t.Helper()
	least, most := b.deadAfter()
	if dead.Reason != spi.ReasonHeartbeatTimeout || dead.Strikes != b.Strikes || dead.Silent < least || dead.Silent > most {
		t.Errorf("got the %s to give up for %s after %v of silence and %d strikes, want %s, %v to %v, and %d", side, dead.Reason, dead.Silent, dead.Strikes, spi.ReasonHeartbeatTimeout, least, most, b.Strikes)
	}
	var strikes []int
	for _, e := range all.of(eventStrike) {
		if e.Conn == dead.Conn {
			strikes = append(strikes, e.Strikes)
		}
	}
	last := strikes[max(0, len(strikes)-b.Strikes):] // there may have been others, from which it recovered
	for i := range b.Strikes {
		if i >= len(last) || last[i] != i+1 {
			t.Errorf("got strikes %v at the %s, want the last to be 1 to %d", strikes, side, b.Strikes)
			break
		}
	}
}

// connected holds the connections of a process against how many there are to be, four
// intervals later at most: H8.
func (s *brink) connected(p *proc, want int) {
	s.t.Helper()
	got := 0
	begin := time.Now()
	within(patience, func() bool { got = p.events().open(); return got == want })
	if took := time.Since(begin); got != want || took > 4*s.beat.Interval+machineSlack() {
		s.t.Errorf("H8: got %d connections at the %s after %v, want %d within four intervals", got, p.name, took, want)
	}
}

// end ends the load and holds it against H1 to H7. Calls may have failed that were on
// their way to the victim when it was lost. It returns how many did, and how long
// after healed the victim was called again; a zero healed is not looked at.
func (s *brink) end(healed time.Time, reasons ...string) (h history, failed int, again time.Duration) {
	s.t.Helper()
	now := time.Now()
	s.consumer.ask("history", nil, &h)
	h.check(s.t, rules{timeout: s.load.Timeout, journal: readJournal(s.t, s.journal), idempotent: "SafeTill", retried: true})
	for _, c := range h.failed() {
		failed++
		if c.Code != spi.Unavailable || !c.Lost || c.Sent != spi.SentMaybe || c.Endpoint != s.victimAt || !slices.Contains(reasons, c.Reason) {
			s.t.Errorf("call %d: got %s (%s), want OK, or UNAVAILABLE, sent: maybe, one of %q at the victim", c.ID, c.Message, c.Reason, reasons)
		}
		if !healed.IsZero() && c.Begin.After(healed.Add(backWithin)) {
			s.t.Errorf("H6: call %d, %v after the victim was back: %s", c.ID, c.Begin.Sub(healed), c.Message)
		}
	}
	if !healed.IsZero() {
		again = s.calledAgain(h, healed, now)
	}
	s.leaks()
	return h, failed, again
}

// calledAgain returns how long it took until a call to the victim was OK: H6.
func (s *brink) calledAgain(h history, healed, now time.Time) time.Duration {
	s.t.Helper()
	back := h.at(s.victimAt).between(healed, now)
	slices.SortFunc(back.Calls, func(a, b record) int { return a.End.Compare(b.End) })
	at := slices.IndexFunc(back.Calls, func(c record) bool { return c.Code == 0 })
	if at < 0 {
		s.t.Error("H6: got no call to the victim after it was back")
		return 0
	}
	again := back.Calls[at].End.Sub(healed)
	if again > backWithin {
		s.t.Errorf("H6: got the first call to the victim %v after it was back, want it within %v", again, backWithin)
	}
	return again
}

// quiet checks that a process was told nothing of its connection with a peer but that
// it began; peer "" is any. That it was itself late is the machine's doing.
func quiet(t *testing.T, p *proc, peer string) {
	t.Helper()
	for _, e := range p.events() {
		if (peer == "" || e.Peer == peer) && e.Kind != eventConnected && e.Kind != eventPause {
			t.Errorf("got %s (%s) at the healthy %s, want nothing", e.Kind, e.Reason, p.name)
		}
	}
}
