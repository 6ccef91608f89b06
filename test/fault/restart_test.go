//go:build fault && linux

package fault_test

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// restartLoad is what goes on while providers come and go.
var restartLoad = loadArgs{Methods: []string{"Till.Book", "SafeTill.Book"}, Rate: 2000, Timeout: 2 * time.Second}

// pair is two providers with one journal, and a consumer of both under load.
type pair struct {
	t         *testing.T
	journal   string
	addresses [2]string
	providers [2]*proc
	consumer  *proc
	leaks     func()
	restarted []string // addresses
	readyAt   []time.Time
	executed  map[uint64]int // by call, when it has ended
}

// startPair declares the calls of SafeTill idempotent.
func startPair(t *testing.T) *pair {
	keys := quickReconnect()
	keys["references.SafeTill.idempotent"] = []string{"Book"}
	p := &pair{t: t, journal: filepath.Join(t.TempDir(), "journal")}
	for i := range p.providers {
		p.providers[i], p.addresses[i] = startProvider(t, providerArgs{Journal: p.journal})
	}
	p.consumer = startConsumer(t, keys, p.addresses[:]...)
	p.leaks = leakCheck(t, 1000, p.consumer)
	p.consumer.ask("load", restartLoad, nil)
	return p
}

// restart starts provider i again where it was.
func (p *pair) restart(i int) {
	p.t.Helper()
	p.providers[i], _ = startProvider(p.t, providerArgs{Listen: p.addresses[i], Journal: p.journal})
	p.readyAt, p.restarted = append(p.readyAt, time.Now()), append(p.restarted, p.addresses[i])
}

// end ends the load, and checks that every provider that was started again is
// called again.
func (p *pair) end() (h history, slowest time.Duration) {
	p.t.Helper()
	p.consumer.ask("history", nil, &h)
	p.leaks()
	p.executed = readJournal(p.t, p.journal)
	h.check(p.t, rules{timeout: restartLoad.Timeout, journal: p.executed, idempotent: "SafeTill", retried: true})
	for i, address := range p.restarted {
		again := h.at(address).between(p.readyAt[i], time.Now())
		at := slices.IndexFunc(again.Calls, func(c record) bool { return c.Code == 0 })
		if at < 0 {
			p.t.Errorf("provider %s was started again and got no call", address)
			continue
		}
		first := again.Calls[at] // in the order of their ends
		slowest = max(slowest, first.End.Sub(p.readyAt[i]))
	}
	if slowest > backWithin {
		p.t.Errorf("got the first call %v after a provider was back, want it within %v", slowest, backWithin)
	}
	return h, slowest
}

// TestRollingRestart: providers that are stopped in order lose no call, whatever
// may be repeated.
func TestRollingRestart(t *testing.T) {
	p := startPair(t)
	const stops = 4
	for i := range stops {
		pass(time.Second)
		p.providers[i%2].signal(syscall.SIGTERM)
		if state := p.providers[i%2].wait(); !state.Success() {
			t.Errorf("got %v of a provider that was stopped, want success", state)
		}
		p.restart(i % 2)
		pass(time.Second)
	}
	h, back := p.end()
	failed := h.failed()
	for _, c := range failed[:min(len(failed), 5)] {
		t.Errorf("call %d: %s", c.ID, c.Message)
	}
	if got := p.consumer.log.count("the provider is shutting down"); got != stops {
		t.Errorf("got %d providers that said goodbye, want %d", got, stops)
	}
	if got := p.consumer.log.count("disconnected"); got != 0 {
		t.Errorf("got %d connections lost, want none", got)
	}
	row(t, "22, SIGTERM", "%d stops under %d calls/s: calls=%d failed=%d, called again %v after it was back", stops, restartLoad.Rate, h.Begun, len(failed), back.Round(time.Millisecond))
}

// TestKilledProvider: of a provider that is killed only the calls are lost that it
// had in its hands, and none is executed twice, save those that may be: of these none
// is lost.
func TestKilledProvider(t *testing.T) {
	p := startPair(t)
	const kills = 4
	var killed []time.Time
	for i := range kills {
		pass(time.Second)
		killed = append(killed, time.Now())
		p.providers[i%2].signal(syscall.SIGKILL)
		p.providers[i%2].wait()
		p.restart(i % 2)
		pass(time.Second)
	}
	h, back := p.end()
	for i, from := range killed {
		to := time.Now()
		if i+1 < kills {
			to = killed[i+1].Add(-500 * time.Millisecond)
		}
		p.lostTogether(h.between(from.Add(-500*time.Millisecond), to).failed())
	}
	if got := p.consumer.log.count("disconnected"); got != kills {
		t.Errorf("got %d connections lost, want one per kill: %d", got, kills)
	}
	p.foundOut(killed)
	safe, other := h.of("SafeTill"), h.of("Till")
	twice := 0
	for _, c := range safe.Calls {
		if p.executed[c.ID] > 1 {
			twice++
		}
	}
	row(t, "4", "%d kills under %d calls/s: idempotent calls=%d, idempotent failed=%d, %d of them executed twice; other calls=%d failed=%d, none executed twice; called again %v after it was back",
		kills, restartLoad.Rate, safe.Begun, len(safe.failed()), twice, other.Begun, len(other.failed()), back.Round(time.Millisecond))
}

// foundOut checks that every kill ended one connection, at once and without a strike.
func (p *pair) foundOut(killed []time.Time) {
	p.t.Helper()
	told := p.consumer.events()
	told.check(p.t, spi.ReasonEOF, spi.ReasonReset)
	if n := len(told.of(eventStrike)); n > 0 {
		p.t.Errorf("got %d strikes of providers that were killed, want none", n)
	}
	for i, e := range told.of(eventDisconnected) {
		if limit := 50*time.Millisecond + endSlack + lag(); i < len(killed) && e.At.Sub(killed[i]) > limit {
			p.t.Errorf("got the consumer to find out %v after kill %d, want it within %v", e.At.Sub(killed[i]), i+1, limit)
		}
	}
}

// lostTogether holds the calls that one kill cost against what may be lost: those
// that were in flight at one moment, which may have been executed.
func (p *pair) lostTogether(lost []record) {
	p.t.Helper()
	if len(lost) == 0 {
		return
	}
	var latest, soonest = lost[0].Begin, lost[0].End
	for _, c := range lost {
		if c.Code != spi.Unavailable || !c.Lost || c.Sent != spi.SentMaybe || c.Reason != spi.ReasonEOF && c.Reason != spi.ReasonReset {
			p.t.Errorf("call %d: got %s, want UNAVAILABLE, sent: maybe, eof or reset", c.ID, c.Message)
		}
		if c.Begin.After(latest) {
			latest = c.Begin
		}
		if c.End.Before(soonest) {
			soonest = c.End
		}
	}
	if latest.After(soonest.Add(10 * time.Millisecond)) { // times are taken outside the call
		p.t.Errorf("got a call lost that began %v after another was lost already, want only those in flight", latest.Sub(soonest))
	}
}
