//go:build fault && linux

package fault_test

import (
	"testing"
	"time"
)

// TestSilentCrowd: thousands who connect and say nothing, or say it a byte at a
// time, cost little, disturb nobody, and are gone after the handshake timeout.
func TestSilentCrowd(t *testing.T) {
	for _, tt := range []struct {
		name, behave string
	}{
		{"silent", "silent"},
		{"a byte of HELLO each second", "drip"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const (
				conns   = 5000
				most    = 24 * kib // each, of resident memory or of live memory that is not touched yet
				timeout = 3 * time.Second
				slack   = 2 * time.Second // these machines have two cores
			)
			provider, address := startProvider(t, providerArgs{})
			h := startHealthy(t, address)
			leaks := leakCheck(t, conns, provider)
			idle := provider.figures()
			crowd := together(t, conns, crowdArgs{Address: address, Conns: conns, Behave: tt.behave})
			open := all(t, crowd, "gather")
			cost := provider.figures().since(idle)
			if open.Open != conns || cost.Files < conns*9/10 {
				t.Fatalf("got %d conns of %d (%s), %d of them at the provider when it was looked at", open.Open, conns, open.Why, cost.Files)
			}
			if cost.memory() > conns*most {
				t.Errorf("got %+v for %d connections, want at most %d bytes each", cost, conns, most)
			}
			end := all(t, crowd, "await")
			if end.Closed != conns || end.Soonest < timeout-slack || end.Latest > timeout+slack {
				t.Errorf("got %d connections closed after %v to %v, want all %d after %v", end.Closed, end.Soonest, end.Latest, conns, timeout)
			}
			before, during := h.judge()
			leaks()
			row(t, "16", "%d connections, %s: %.1f KiB each, healthy p99 %v → %v, closed after %v to %v",
				conns, tt.name, float64(cost.memory())/conns/kib, before, during, end.Soonest.Round(time.Millisecond), end.Latest.Round(time.Millisecond))
		})
	}
}
