//go:build fault && linux

package fault_test

import (
	"testing"
	"time"
)

// TestStarved: little of a core, for a while; see also TestStarvedLong.
func TestStarved(t *testing.T) { starved(t, 8*time.Second) }

// TestOwnPause: a consumer that was stopped itself counts no strike for that, and
// keeps its connection if the provider did.
func TestOwnPause(t *testing.T) {
	for _, tt := range []struct {
		name   string
		beat   any // value of the key provider.heartbeat
		pauses int
		lasts  time.Duration
		both   bool // the provider is stopped most of an interval before, and goes on half an interval after
	}{
		{"longer than three strikes, and nobody asks it", "none", 5, 5 * quickBeat.Interval, false},
		{"two intervals", quickBeat.key(), 5, 2 * quickBeat.Interval, false},
		{"the provider too, and nobody asks the consumer", "none", 8, 3 * quickBeat.Interval, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			provider, address := startProvider(t, providerArgs{Keys: map[string]any{"provider.heartbeat": tt.beat}})
			keys := quickReconnect()
			keys["consumer.heartbeat"] = quickBeat.key()
			consumer := startConsumer(t, keys, address)
			load := loadArgs{Methods: []string{"Till.Echo"}, Rate: 50, Timeout: 2 * time.Second}
			consumer.ask("call", load, nil)
			consumer.ask("load", load, nil)
			pass(time.Second)
			for n := range tt.pauses {
				release := func() time.Time { return time.Time{} }
				if tt.both {
					_, release = freeze(provider)
					pass(quickBeat.Interval * 3 / 4)
				}
				_, thaw := freeze(consumer)
				pass(tt.lasts)
				thaw()
				if tt.both {
					pass(quickBeat.Interval / 2)
				}
				release()
				pass(3*quickBeat.Interval + time.Duration(n)*quickBeat.Interval/8) // at another moment of a round each time
			}
			told, seen := consumer.events(), provider.events()
			var h history
			consumer.ask("history", nil, &h)
			h.check(t, rules{timeout: load.Timeout})
			told.check(t)
			seen.check(t)
			if n := len(told.of(eventStrike)); n > 0 {
				t.Errorf("got %d strikes at a consumer that was stopped itself, want none", n)
			}
			if n := len(told.of(eventPause)); tt.both && n == 0 {
				t.Error("got no local pause, want some: heartbeats that were not answered, and not counted")
			}
			if told.open() != 1 || seen.open() != 1 {
				t.Errorf("H8: got %d and %d connections, want one", told.open(), seen.open())
			}
			if n := len(h.failed()); n > 0 {
				t.Errorf("got %d calls that failed, want none", n)
			}
			row(t, "20", "%s: consumer stopped %d times for %v: 0 strikes of its own, %d local pauses; %d strikes at the provider, %d times recovered; no disconnection, 0 of %d calls failed",
				tt.name, tt.pauses, tt.lasts, len(told.of(eventPause)), len(seen.of(eventStrike)), len(seen.of(eventRecovered)), h.Begun)
		})
	}
}
