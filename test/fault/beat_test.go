//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"testing"
	"time"
)

// beat is the heartbeat of both sides of a row.
type beat struct {
	Interval time.Duration
	Strikes  int
}

// The heartbeats of the rows: quick where a side must find out, calm where it must
// not.
var (
	quickBeat = beat{200 * time.Millisecond, 3}
	calmBeat  = beat{time.Second, 3}
)

// machineSlack is what the machine may add to a time of the heartbeat: what one with
// other things to do adds, and what it was seen to add.
func machineSlack() time.Duration { return 150*time.Millisecond + lag() }

// key is the value of the keys consumer.heartbeat and provider.heartbeat.
func (b beat) key() map[string]any {
	return map[string]any{"use": "three-strike", "with": map[string]any{"interval": b.Interval.String(), "strikes": b.Strikes}}
}

// deadAfter is how long a dead peer is silent before it is found dead; the second
// look, and what the machine adds, are in it.
func (b beat) deadAfter() (least, most time.Duration) {
	return time.Duration(b.Strikes) * b.Interval, time.Duration(b.Strikes+1)*b.Interval + b.secondLook() + machineSlack()
}

func (b beat) secondLook() time.Duration { return min(100*time.Millisecond, b.Interval/10) }

// ended waits until a process was told for the n-th time that a connection with a
// peer has ended; peer "" is any.
func ended(t *testing.T, p *proc, peer string, n int, most time.Duration) event {
	t.Helper()
	var found events
	within(most, func() bool {
		found = p.events().of(eventDisconnected)
		if peer != "" {
			found = found.at(peer)
		}
		return len(found) >= n
	})
	if len(found) != n {
		t.Fatalf("got %d connections of the %s ended after %v, want %d", len(found), p.name, most, n)
	}
	return found[n-1]
}
