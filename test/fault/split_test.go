//go:build (faultnet || faultlong) && linux

package fault_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// parties is how many goroutines a split may have had in between.
const parties = 1000

// split is a consumer under load with two providers: one beside it, which stays
// healthy, and one at the far end of a network that a row breaks.
type split struct {
	t         *testing.T
	beat      beat
	load      loadArgs
	near, far *netns
	journal   string
	spareAt   string // address of the provider beside the consumer
	awayAt    string // address of the provider at the far end
	away      *proc
	consumer  *proc
	leaks     func()
	reached   time.Duration // what it took to be connected to the far provider; the start of a process is in it
	broken    time.Time     // when breaking began
	healed    time.Time     // when healing began
}

// startSplit starts the processes in two namespaces that are joined already, and
// returns when both providers answer.
func startSplit(t *testing.T, near, far *netns, b beat, load loadArgs) *split {
	t.Helper()
	s := &split{t: t, beat: b, load: load, near: near, far: far, journal: filepath.Join(t.TempDir(), "journal")}
	_, s.spareAt = near.provider(s.provider("127.0.0.1:0"))
	s.away, s.awayAt = far.provider(s.provider(farIP + ":0"))
	keys := quickReconnect()
	keys["consumer.heartbeat"] = b.key()
	keys["consumer.loadbalancer"] = "round-robin" // p2c would avoid the far provider for minutes after it was slow
	keys["consumer.dial_timeout"] = (b.Interval * 5 / 2).String()
	keys["references.SafeTill.idempotent"] = []string{"Book"}
	start := time.Now()
	s.consumer = near.consumer(keys, s.spareAt, s.awayAt)
	if !within(patience, func() bool { return s.consumer.events().open() == 2 && s.away.events().open() == 1 }) {
		t.Fatal("got no connection to both providers")
	}
	s.reached = s.consumer.events().at(s.awayAt)[0].At.Sub(start)
	s.leaks = leakCheck(t, parties, s.consumer, s.away)
	return s
}

// provider is what a provider of this split is started with.
func (s *split) provider(listen string) providerArgs {
	return providerArgs{Listen: listen, Journal: s.journal, Keys: map[string]any{"provider.heartbeat": s.beat.key()}}
}

// begin begins the load and lets it go on for a while.
func (s *split) begin() {
	s.t.Helper()
	s.consumer.ask("load", s.load, nil)
	pass(time.Second)
}

// lost waits until the consumer has given up the far provider for the n-th time, and
// returns what it was told then.
func (s *split) lost(n int, most time.Duration) event {
	s.t.Helper()
	return ended(s.t, s.consumer, s.awayAt, n, most)
}

// connected waits for H8: as many connections as there are consumers alive that can
// come through, four intervals later at most.
func (s *split) connected(n int) {
	s.t.Helper()
	got := 0
	begin := time.Now()
	within(patience, func() bool { got = len(s.away.conns()); return got == n })
	if took := time.Since(begin); got != n || took > 4*s.beat.Interval+machineSlack() {
		s.t.Errorf("H8: got %d connections at the far provider after %v, want %d within four intervals", got, took, n)
	}
}

// end ends the load and holds it against H1 to H7: calls that failed may have been on
// their way to the far provider only, and for one of reasons. It returns how many
// calls failed, and how long after the healing the far provider was called again.
func (s *split) end(reasons ...string) (h history, failed int, again time.Duration) {
	s.t.Helper()
	now := time.Now()
	s.consumer.ask("history", nil, &h)
	h.check(s.t, rules{timeout: s.load.Timeout, journal: readJournal(s.t, s.journal), idempotent: "SafeTill", retried: true})
	for _, c := range h.failed() {
		failed++
		switch {
		case c.Code != spi.Unavailable || !c.Lost || c.Sent != spi.SentMaybe || c.Endpoint != s.awayAt || !slices.Contains(reasons, c.Reason):
			s.t.Errorf("call %d: got %s (%s), want OK, or UNAVAILABLE, sent: maybe, %q at the far provider", c.ID, c.Message, c.Reason, reasons)
		case c.Begin.After(s.healed.Add(backWithin)):
			s.t.Errorf("H6: call %d, %v after the network was healed: %s", c.ID, c.Begin.Sub(s.healed), c.Message)
		}
	}
	back := h.at(s.awayAt).between(s.healed, now)
	slices.SortFunc(back.Calls, func(a, b record) int { return a.End.Compare(b.End) })
	at := slices.IndexFunc(back.Calls, func(c record) bool { return c.Code == 0 })
	if at < 0 {
		s.t.Error("H6: got no call to the far provider after the network was healed")
	} else if again = back.Calls[at].End.Sub(s.healed); again > backWithin {
		s.t.Errorf("H6: got the first call to the far provider %v after the network was healed, want it within %v", again, backWithin)
	}
	s.leaks()
	return h, failed, again
}

// undisturbedSpare checks that the consumer noticed nothing at the provider beside it.
func (s *split) undisturbedSpare() {
	s.t.Helper()
	for _, e := range s.consumer.events().at(s.spareAt) {
		if e.Kind != eventConnected && e.Kind != eventPause { // the machine was late
			s.t.Errorf("got %s (%s) at the healthy provider, want nothing", e.Kind, e.Reason)
		}
	}
}
