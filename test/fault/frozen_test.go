//go:build fault && linux

package fault_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// TestFrozenProvider: a provider that is stopped, whose kernel goes on, is avoided
// after a strike and given up after three; no idempotent call is lost, and when it
// goes on it is called again.
func TestFrozenProvider(t *testing.T) {
	for _, tt := range []struct {
		balancer string
		rate     int // calls per second
	}{
		{"p2c", 1000},
		{"round-robin", 300}, // keeps away from the suspect only; what waits there is retried at once, within the budget
	} {
		t.Run(tt.balancer, func(t *testing.T) { frozenProvider(t, tt.balancer, tt.rate) })
	}
}

func frozenProvider(t *testing.T, balancer string, rate int) {
	load := brinkLoad
	load.Rate = rate
	s := startBrink(t, quickBeat, load, balancer)
	_, most := s.beat.deadAfter()
	broken, thaw := freeze(s.victim)
	dead := ended(t, s.consumer, s.victimAt, 1, 2*most)
	pass(2 * time.Second) // the kernel of the frozen one still takes connections
	healed := thaw()
	pass(backWithin + time.Second)
	s.connected(s.victim, 1)
	h, failed, again := s.end(healed, spi.ReasonHeartbeatTimeout)

	told := s.consumer.events()
	told.check(t, spi.ReasonHeartbeatTimeout)
	s.victim.events().check(t, spi.ReasonReset, spi.ReasonSuperseded)
	s.beat.judgeDeath(t, "consumer", told, dead)
	quiet(t, s.consumer, s.spareAt)
	quiet(t, s.spare, "")
	for _, want := range []string{"strike=1/3", "strike=2/3", "strike=3/3"} {
		if got := s.consumer.log.count("heartbeat unanswered", want, s.victimAt); got != 1 {
			t.Errorf("got %d lines with %s, want 1", got, want)
		}
	}
	if got := len(told.at(s.victimAt).between(dead.At, healed).of(eventConnected)); got != 0 {
		t.Errorf("got %d connections to a frozen provider, want none: nobody says HELLO", got)
	}
	attempts := len(told.at(s.victimAt).between(dead.At, healed).of(eventAttempt))
	suspect := told.of(eventStrike)[0].At
	if took, limit := suspect.Sub(broken), 2*s.beat.Interval+s.beat.secondLook()+machineSlack(); took > limit {
		t.Errorf("got the first strike %v after the provider was frozen, want it within %v", took, limit)
	}
	after := h.between(suspect.Add(20*time.Millisecond), dead.At)
	to := s.heldUp(after)
	if len(after.Calls) < 30 || to*100 > len(after.Calls) {
		t.Errorf("got %d of %d calls to a provider that is suspect, want 1 in 100 at most", to, len(after.Calls))
	}
	safe, other := h.of("SafeTill"), h.of("Till")
	row(t, "1", "%s, frozen under %d calls/s: avoided %v after it, %d of %d calls to it from then on; given up after %v (%v of silence, strikes 1, 2, 3); idempotent calls=%d, idempotent failed=%d; other calls=%d failed=%d; %d attempts to connect while frozen; called again %v after it went on",
		balancer, s.load.Rate, suspect.Sub(broken).Round(time.Millisecond), to, len(after.Calls), dead.At.Sub(broken).Round(time.Millisecond), dead.Silent.Round(time.Millisecond),
		safe.Begun, len(safe.failed()), other.Begun, failed, attempts, again.Round(time.Millisecond))
}

// heldUp returns how many of calls were sent to the frozen victim: they failed there,
// or were made again elsewhere much later.
func (s *brink) heldUp(h history) int {
	n := 0
	for _, c := range h.Calls {
		if c.Endpoint == s.victimAt || c.End.Sub(c.Begin) > s.beat.Interval/2 {
			n++
		}
	}
	return n
}

// TestShortFreeze: a provider that is frozen for two intervals is not given up.
func TestShortFreeze(t *testing.T) {
	const freezes = 5
	s := startBrink(t, quickBeat, brinkLoad, "p2c")
	for range freezes {
		_, thaw := freeze(s.victim)
		pass(2 * s.beat.Interval)
		thaw()
		pass(3 * s.beat.Interval)
	}
	told := s.consumer.events()
	strikes, recovered := told.of(eventStrike), told.of(eventRecovered)
	_, failed, _ := s.end(time.Time{})
	told.check(t)
	s.victim.events().check(t)
	if failed > 0 {
		t.Errorf("got %d calls that failed, want none", failed)
	}
	first := 0
	for _, e := range strikes {
		if e.Strikes == 1 {
			first++
		}
		if e.Peer != s.victimAt || e.Strikes >= s.beat.Strikes {
			t.Errorf("got strike %d at %s, want fewer than %d, at the frozen one", e.Strikes, e.Peer, s.beat.Strikes)
		}
	}
	if len(recovered) != first || first == 0 {
		t.Errorf("got it recovered %d times from being suspect %d times, want the same, more than none", len(recovered), first)
	}
	if n := len(s.victim.events().of(eventStrike)); n > 0 {
		t.Errorf("got %d strikes at a provider that was frozen itself, want none", n)
	}
	row(t, "3", "frozen %d times for %v: no disconnection, %d strikes, suspect and recovered %d times, %d calls failed", freezes, 2*s.beat.Interval, len(strikes), first, failed)
}

// hangingLoad leaves handlers at a provider that end when their consumer is gone.
var hangingLoad = loadArgs{Methods: []string{"Till.Hang", "Till.Echo"}, Rate: 200, Timeout: 2 * time.Second}

// doomed is a consumer that a row breaks, and a healthy one, at one provider.
type doomed struct {
	provider *proc
	healthy  *healthy
	consumer *proc
	leaks    func()
	files    int // of the provider
}

// startDoomed returns when both are under load, and calls of the one hang.
func startDoomed(t *testing.T, b beat) *doomed {
	t.Helper()
	provider, address := startProvider(t, providerArgs{Keys: map[string]any{"provider.heartbeat": b.key()}})
	keys := quickReconnect()
	keys["consumer.heartbeat"] = b.key()
	d := &doomed{provider: provider, healthy: startHealthyWith(t, keys, address)}
	d.leaks = leakCheck(t, 2*hangingLoad.Rate, provider)
	d.consumer = startConsumer(t, keys, address)
	d.consumer.ask("load", hangingLoad, nil)
	pass(time.Second)
	d.files = provider.figures().Files
	if d.hanging() == 0 {
		t.Fatal("got no call that hangs at the provider")
	}
	return d
}

func (d *doomed) hanging() (n int) {
	d.provider.t.Helper()
	d.provider.ask("hanging", nil, &n)
	return n
}

// freed waits until nothing of the doomed consumer is left at the provider.
func (d *doomed) freed(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	within(patience, func() bool { return d.hanging() == 0 })
	took := time.Since(begin)
	if limit := 100*time.Millisecond + machineSlack(); took > limit {
		t.Errorf("got the handlers of a consumer that is gone to end after %v, want it within %v", took, limit)
	}
	if files := d.provider.figures().Files; files >= d.files {
		t.Errorf("got %d descriptors at the provider, want fewer than the %d before", files, d.files)
	}
	if open := d.provider.events().open(); open != 1 {
		t.Errorf("H8: got %d connections at the provider, want that of the healthy consumer", open)
	}
	return took
}

// TestFrozenConsumer: a provider gives a consumer up that is stopped, and frees what
// it had; when it goes on it holds its own pause against nobody, and connects again.
func TestFrozenConsumer(t *testing.T) {
	d := startDoomed(t, quickBeat)
	_, most := quickBeat.deadAfter()
	hung := d.hanging()
	broken, thaw := freeze(d.consumer)
	dead := ended(t, d.provider, "", 1, 2*most)
	freed := d.freed(t)
	pass(time.Second)
	healed := thaw()
	lost := ended(t, d.consumer, "", 1, backWithin)
	if !within(backWithin, func() bool { return d.consumer.events().open() == 1 }) {
		t.Errorf("got no connection %v after the consumer went on", backWithin)
	}
	pass(time.Second)
	told := d.consumer.events()
	var h history
	d.consumer.ask("history", nil, &h)
	h.check(t, rules{timeout: hangingLoad.Timeout})
	for _, c := range h.between(healed.Add(backWithin), time.Now()).failed() {
		if c.Code != spi.DeadlineExceeded {
			t.Errorf("H6: call %d: %s", c.ID, c.Message)
		}
	}
	before, during := d.healthy.judge()
	told.check(t, spi.ReasonReset, spi.ReasonEOF)
	d.provider.events().check(t, spi.ReasonHeartbeatTimeout)
	quickBeat.judgeDeath(t, "provider", d.provider.events(), dead)
	quiet(t, d.healthy.proc, "")
	if n := len(told.of(eventStrike)); n > 0 {
		t.Errorf("got %d strikes at a consumer that was frozen itself, want none", n)
	}
	back := told.of(eventConnected)[1].At.Sub(healed)
	if limit := 1200*time.Millisecond + machineSlack(); back > limit {
		t.Errorf("got the consumer connected %v after it went on, want it within %v", back, limit)
	}
	d.consumer.signal(syscall.SIGKILL)
	d.consumer.wait()
	d.leaks()
	row(t, "2", "consumer frozen with %d calls under way: provider gave it up after %v (%v of silence, strikes 1, 2, 3), its handlers gone %v later; 0 strikes of its own when it went on, %s after %v, connected again after %v; healthy p99 %v → %v",
		hung, dead.At.Sub(broken).Round(time.Millisecond), dead.Silent.Round(time.Millisecond), freed.Round(time.Millisecond), lost.Reason, lost.At.Sub(healed).Round(time.Millisecond), back.Round(time.Millisecond), before, during)
}

// TestKilledConsumer: of a consumer that is killed nothing is left at once.
func TestKilledConsumer(t *testing.T) {
	d := startDoomed(t, quickBeat)
	hung := d.hanging()
	killed := time.Now()
	d.consumer.signal(syscall.SIGKILL)
	d.consumer.wait()
	dead := ended(t, d.provider, "", 1, time.Second)
	d.freed(t)
	took := dead.At.Sub(killed)
	if limit := 100*time.Millisecond + machineSlack(); took > limit {
		t.Errorf("got the provider to find out after %v, want it within %v", took, limit)
	}
	pass(time.Second)
	before, during := d.healthy.judge()
	d.provider.events().check(t, spi.ReasonReset, spi.ReasonEOF)
	quiet(t, d.healthy.proc, "")
	d.leaks()
	row(t, "5", "consumer killed with %d calls under way: provider found out (%s) and cancelled them within %v; healthy p99 %v → %v", hung, dead.Reason, took.Round(time.Millisecond), before, during)
}
