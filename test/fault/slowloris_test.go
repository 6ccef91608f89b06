//go:build fault && linux

package fault_test

import (
	"testing"
	"time"
)

// TestSilentCrowd: thousands who connect and say nothing, or say what they have to
// say a byte at a time, cost little, disturb nobody, and are gone when their time is
// over.
func TestSilentCrowd(t *testing.T) {
	const (
		handshake = 3 * time.Second // the default
		frame     = 2 * time.Second // frame_timeout
		slack     = 2 * time.Second // these machines have two cores
	)
	for _, tt := range []struct {
		name, behave string
		conns        int64
		most         int64 // each, of resident memory or of live memory that is not touched yet
		timeout      time.Duration
		key          string // of the provider
		value        any
	}{
		{"silent", "silent", 5000, 24 * kib, handshake, "provider.max_handshakes", 10_000},
		{"a byte of HELLO each second", "drip", 5000, 24 * kib, handshake, "provider.max_handshakes", 10_000},
		{"a byte of an HTTP header each second", "http", 1000, 24 * kib, handshake, "provider.max_handshakes", 10_000},
		{"a byte of a request's header each second", "header", 1000, 24 * kib, frame, "provider.frame_timeout", frame.String()},
		{"a byte of a body of 1000 each second", "body", 1000, 24 * kib, frame, "provider.frame_timeout", frame.String()},
		{"a byte of a body of a MiB each second", "large", 1000, 96 * kib, frame, "provider.frame_timeout", frame.String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			provider, address := startProvider(t, providerArgs{Keys: map[string]any{tt.key: tt.value}})
			h := startHealthy(t, address)
			leaks := leakCheck(t, int(tt.conns), provider)
			idle := provider.figures()
			crowd := together(t, int(tt.conns), crowdArgs{Address: address, Behave: tt.behave})
			open := all(t, crowd, "gather")
			cost := provider.figures().since(idle)
			if open.Open != int(tt.conns) || cost.Files < int(tt.conns)*9/10 {
				t.Fatalf("got %d conns of %d (%s), %d of them at the provider when it was looked at", open.Open, tt.conns, open.Why, cost.Files)
			}
			end := all(t, crowd, "await")
			memory := max(cost.memory(), provider.figures().since(idle).Peak)
			if memory > tt.conns*tt.most {
				t.Errorf("got %d bytes more for %d connections, want at most %d each", memory, tt.conns, tt.most)
			}
			if end.Closed != int(tt.conns) || end.Soonest < tt.timeout-slack || end.Latest > tt.timeout+slack {
				t.Errorf("got %d connections closed after %v to %v, want all %d after %v", end.Closed, end.Soonest, end.Latest, tt.conns, tt.timeout)
			}
			before, during := h.judge()
			leaks()
			row(t, "16", "%d connections, %s: %.1f KiB each, healthy p99 %v → %v, closed after %v to %v",
				tt.conns, tt.name, float64(memory)/float64(tt.conns)/kib, before, during, end.Soonest.Round(time.Millisecond), end.Latest.Round(time.Millisecond))
		})
	}
}
