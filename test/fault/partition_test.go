//go:build faultnet && linux

package fault_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// partitionLoad is what goes on while networks break. A call outlives the detection,
// so an idempotent one that was lost can be made elsewhere. Two of each in turn: by
// turns, every provider gets both.
var partitionLoad = loadArgs{Methods: []string{"Till.Book", "Till.Book", "SafeTill.Book", "SafeTill.Book"}, Rate: 200, Timeout: 3 * time.Second}

// partition is a network that no longer carries what it should.
type partition struct {
	row, name string
	join      func(t *testing.T, near, far *netns) injection // makes the network
	provoke   func(s *split)                                 // what has to happen for the fault to show; nil: nothing
	consumer  []string                                       // reasons for which the consumer may give up
	provider  []string                                       // reasons for which the far provider may
	atOnce    bool                                           // the consumer finds out with the next packet
	leaky     bool                                           // new connections come through
}

// Reasons of one side where nothing comes any more, where the reset comes by which
// the other side gave up first, and where the consumer comes back before the provider
// has found out.
var (
	silence       = []string{spi.ReasonHeartbeatTimeout}
	reset         = []string{spi.ReasonReset}
	silenceReset  = []string{spi.ReasonHeartbeatTimeout, spi.ReasonReset}
	silenceOrBack = []string{spi.ReasonHeartbeatTimeout, spi.ReasonSuperseded}
)

var partitions = []partition{
	{row: "6", name: "black hole", join: cabled(filtered(dropAll, true, true)), consumer: silence, provider: silence},
	{row: "7", name: "reset by a firewall", join: cabled(filtered(resetAll, true, false)), consumer: reset, provider: silence, atOnce: true},
	{row: "7", name: "refused by a firewall (ICMP)", join: cabled(filtered(refuseAll, true, false)), consumer: silenceReset, provider: silence},
	{row: "8", name: "nothing gets there", join: cabled(filtered(dropAll, true, false)), consumer: silenceReset, provider: silence},
	{row: "8", name: "nothing comes back", join: cabled(filtered(dropAll, false, true)), consumer: silence, provider: silenceReset},
	{row: "11", name: "cable out", join: cabled(unplugged), consumer: silence, provider: silence},
	{row: "26", name: "MTU black hole", join: cabled(filtered(dropLarge, true, false)), provoke: largeCall, consumer: silenceReset, provider: silenceReset, leaky: true},
	{row: "27", name: "NAT forgets", join: forgetful, consumer: silence, provider: silenceOrBack, leaky: true},
}

// cabled joins two namespaces by a cable, which is broken by an injection.
func cabled(inject injection) func(*testing.T, *netns, *netns) injection {
	return func(_ *testing.T, near, far *netns) injection {
		joinCable(near, far)
		return inject
	}
}

// forgetful joins two namespaces by a router that forgets what it knows.
func forgetful(t *testing.T, near, far *netns) injection {
	router := joinNAT(t, near, far)
	return func(_, _ *netns, on bool) {
		if on {
			router.forget()
		}
	}
}

// largeCall makes large calls until one has gone to the far provider.
func largeCall(s *split) {
	for range 50 {
		var r record
		s.consumer.ask("call", loadArgs{Methods: []string{"Till.Size"}, Size: 10_000, Timeout: s.load.Timeout}, &r)
		if r.Endpoint == s.awayAt {
			return
		}
	}
	s.t.Error("got no large call to the far provider in 50")
}

// TestPartition: a peer that is silent and not gone is found dead by both sides, in
// the time that the heartbeat promises; what was on its way to it fails, or is made
// elsewhere, and when the network is healed it is called again.
func TestPartition(t *testing.T) {
	for _, tt := range partitions {
		t.Run("row "+tt.row+": "+tt.name, func(t *testing.T) {
			near, far := newNetns(t), newNetns(t)
			inject := tt.join(t, near, far)
			s := startSplit(t, near, far, quickBeat, partitionLoad)
			s.begin()
			s.broken = time.Now()
			inject(near, far, true)
			if tt.provoke != nil {
				s.broken = time.Now()
				tt.provoke(s)
			}
			lost, dropped := s.foundDead(tt)
			if tt.leaky {
				pass(time.Second)
				s.connected(1)
			} else {
				s.connected(0)
				s.noOrphans()
			}
			s.healed = time.Now()
			inject(near, far, false)
			pass(backWithin + time.Second)
			s.connected(1)
			_, failed, again := s.end(tt.consumer...)
			s.consumer.events().check(t, tt.consumer...)
			s.away.events().check(t, tt.provider...)
			s.undisturbedSpare()
			row(t, tt.row, "%s: consumer found out after %v (%s), provider after %v (%s); %d calls lost, no idempotent one; called again %v after it was healed",
				tt.name, lost.At.Sub(s.broken).Round(time.Millisecond), lost.Reason, dropped.At.Sub(s.broken).Round(time.Millisecond), dropped.Reason, failed, again.Round(time.Millisecond))
		})
	}
}

// foundDead waits until both sides have given the connection up, and checks that each
// did in time.
func (s *split) foundDead(p partition) (consumer, provider event) {
	s.t.Helper()
	least, most := s.beat.deadAfter()
	consumer = s.lost(1, 2*most)
	provider = ended(s.t, s.away, "", 1, 2*most)
	for side, e := range map[string]event{"consumer": consumer, "provider": provider} {
		took, limit := e.At.Sub(s.broken), most
		if p.atOnce && side == "consumer" {
			limit = s.beat.Interval + endSlack + lag()
		}
		if took > limit {
			s.t.Errorf("got the %s to find out after %v (%s), want it within %v", side, took, e.Reason, limit)
		}
		if e.Reason == spi.ReasonHeartbeatTimeout && (e.Silent < least || e.Silent > most || e.Strikes != s.beat.Strikes) {
			s.t.Errorf("got the %s to give up after %v of silence and %d strikes, want %v to %v and %d", side, e.Silent, e.Strikes, least, most, s.beat.Strikes)
		}
	}
	return consumer, provider
}

// noOrphans checks that no socket of the dead connection is left at either end.
func (s *split) noOrphans() {
	s.t.Helper()
	const alive = "state established state fin-wait-1 state fin-wait-2 state closing state last-ack state close-wait "
	for _, n := range []*netns{s.near, s.far} {
		if left := n.sockets(alive + "( src " + farIP + " or dst " + farIP + " )"); len(left) > 0 {
			s.t.Errorf("H7: got sockets left: %q", left)
		}
	}
}

// TestHalfOpen: a host that goes down without a word, and comes up again, is found
// out by the reset that its new kernel answers with, or by the heartbeat.
func TestHalfOpen(t *testing.T) {
	near, far := newNetns(t), newNetns(t)
	joinCable(near, far)
	s := startSplit(t, near, far, quickBeat, partitionLoad)
	s.leaks = leakCheck(t, parties, s.consumer)
	s.begin()
	cut := filtered(dropAll, true, true)
	s.broken = time.Now()
	cut(near, far, true)
	s.away.signal(syscall.SIGKILL)
	s.away.wait()
	far.run("ss -K src " + farIP) // a host that reboots sends no FIN again
	pass(quickBeat.Interval)
	up := time.Now()
	cut(near, far, false)
	s.away, _ = far.provider(s.provider(s.awayAt))
	s.healed = time.Now()
	_, most := s.beat.deadAfter()
	lost := s.lost(1, 2*most)
	if took := lost.At.Sub(s.broken); took > most {
		t.Errorf("got the consumer to find out after %v, want it within %v", took, most)
	}
	pass(backWithin + time.Second)
	s.connected(1)
	_, failed, again := s.end(silenceReset...)
	s.consumer.events().check(t, silenceReset...)
	s.away.events().check(t)
	s.undisturbedSpare()
	row(t, "12", "far host down for %v without a word: consumer found out after %v (%s); %d calls lost, no idempotent one; called again %v after its provider was",
		up.Sub(s.broken).Round(time.Millisecond), lost.At.Sub(s.broken).Round(time.Millisecond), lost.Reason, failed, again.Round(time.Millisecond))
}
