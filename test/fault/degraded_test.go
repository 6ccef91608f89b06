//go:build faultnet && linux

package fault_test

import (
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
)

// unbroken checks that neither side gave a connection up.
func (s *split) unbroken() {
	s.t.Helper()
	for _, p := range []*proc{s.consumer, s.away} {
		for _, e := range p.events().of(eventDisconnected) {
			s.t.Errorf("got the %s disconnected from %s (%s), want it connected", p.name, e.Peer, e.Reason)
		}
	}
}

// strikes returns how many both sides counted.
func (s *split) strikes() int {
	s.t.Helper()
	return len(s.consumer.events().of(eventStrike)) + len(s.away.events().of(eventStrike))
}

// rtts looks for a while at how long heartbeats take between the consumer and the
// far provider, on both sides, and returns what it saw in order of length.
func (s *split) rtts(during time.Duration) []time.Duration {
	s.t.Helper()
	var seen []time.Duration
	for end := time.Now().Add(during); time.Now().Before(end); pass(s.beat.Interval / 2) {
		for _, c := range slices.Concat(s.consumer.conns(), s.away.conns()) {
			if c.Peer != s.spareAt && c.State == core.ConnUp && c.RTT > 0 {
				seen = append(seen, c.RTT.D())
			}
		}
	}
	if len(seen) == 0 {
		s.t.Fatal("got no heartbeat answered")
	}
	slices.Sort(seen)
	return seen
}

// TestLongWay: a network that is slow costs time and no connection.
func TestLongWay(t *testing.T) {
	const (
		delay  = 250 * time.Millisecond
		jitter = 200 * time.Millisecond
		slack  = 20 * time.Millisecond
	)
	for _, tt := range []struct {
		name   string
		jitter time.Duration
		rate   string // "": without bound
	}{
		{name: "250 ms each way"},
		{name: "250 ms each way and up to 200 ms more", jitter: jitter},
		{name: "250 ms each way and up to 200 ms more, 1 Mbit/s", jitter: jitter, rate: "1mbit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near, far := newNetns(t), newNetns(t)
			w := joinWire(t, near, far)
			if tt.rate != "" {
				near.rate(device, tt.rate)
				far.rate(device, tt.rate)
			}
			i := impairment{Delay: delay, Jitter: tt.jitter}
			w.impair(i, i)
			s := startSplit(t, near, far, calmBeat, loadArgs{Methods: partitionLoad.Methods, Rate: 50, Timeout: 5 * time.Second})
			s.begin()
			s.broken = time.Now()
			rtt := s.rtts(8 * time.Second)
			p50, most := rtt[len(rtt)/2], rtt[len(rtt)-1]
			if least, limit := 2*delay-slack, 2*(delay+tt.jitter)+slack; p50 < least || p50 > limit {
				t.Errorf("got heartbeats answered after %v (median), want %v to %v", p50, least, limit)
			}
			if limit := 2*2*(delay+tt.jitter) + endSlack + lag(); s.reached > limit { // TCP, HELLO
				t.Errorf("got a connection after %v, want it within %v", s.reached, limit)
			}
			s.connected(1)
			s.healed = s.broken
			h, failed, _ := s.end()
			s.unbroken()
			s.undisturbedSpare()
			row(t, "10", "%s: connected after %v, heartbeats took %v (median) to %v, %d strikes, %d of %d calls lost, all connections lived", tt.name, s.reached.Round(time.Millisecond),
				p50.Round(100*time.Microsecond), most.Round(100*time.Microsecond), s.strikes(), failed, h.Begun)
		})
	}
}

// TestShortCablePull: a cable that is out for less than the heartbeat allows costs
// time and no connection.
func TestShortCablePull(t *testing.T) {
	const out = time.Second
	near, far := newNetns(t), newNetns(t)
	joinCable(near, far)
	load := partitionLoad
	load.Timeout = 10 * time.Second
	s := startSplit(t, near, far, calmBeat, load)
	s.begin()
	s.broken = time.Now()
	far.unplug()
	pass(out)
	s.healed = time.Now()
	far.plug()
	pass(backWithin + time.Second)
	s.connected(1)
	_, failed, again := s.end()
	s.unbroken()
	s.undisturbedSpare()
	row(t, "11", "cable out for %v: %d strikes, %d calls lost, all connections lived; calls resumed %v after it was in again", out, s.strikes(), failed, again.Round(time.Millisecond))
}

// TestLargeMessages: heartbeats pass messages that fill a narrow network.
func TestLargeMessages(t *testing.T) {
	const (
		rate = "40mbit"
		size = 8 * mib
		most = 200 * time.Millisecond
	)
	near, far := newNetns(t), newNetns(t)
	joinCable(near, far)
	near.rate(device, rate)
	far.rate(device, rate)
	provider, address := far.provider(providerArgs{Listen: farIP + ":0", Keys: map[string]any{"provider.heartbeat": calmBeat.key()}})
	consumer := near.consumer(map[string]any{"consumer.heartbeat": calmBeat.key()}, address)
	s := &split{t: t, beat: calmBeat, near: near, far: far, awayAt: address, away: provider, consumer: consumer}
	consumer.ask("load", loadArgs{Methods: []string{"Till.Size"}, Rate: 1, Timeout: 30 * time.Second, Size: size}, nil) // 67 Mbit/s
	rtt := s.rtts(15 * time.Second)
	var h history
	consumer.ask("history", nil, &h)
	h.check(t, rules{timeout: 30 * time.Second})
	for _, c := range h.failed() {
		t.Errorf("call %d: %s", c.ID, c.Message)
	}
	if n := s.strikes(); n > 0 {
		t.Errorf("got %d strikes, want none", n)
	}
	s.unbroken()
	p99 := rtt[len(rtt)*99/100]
	if p99 > most {
		t.Errorf("got heartbeats answered after %v (p99), want at most %v", p99, most)
	}
	row(t, "25", "%d messages of %d MiB at %s: heartbeats took %v (median) to %v, 0 strikes", h.Begun, size/mib, rate, rtt[len(rtt)/2].Round(100*time.Microsecond), rtt[len(rtt)-1].Round(100*time.Microsecond))
}
