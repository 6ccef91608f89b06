//go:build fault && linux

package fault_test

import (
	"syscall"
	"testing"
	"time"
)

// TestFlood: more connections than a provider has descriptors do not end it, nor
// disturb those who were there, and when they are gone new ones get in.
func TestFlood(t *testing.T) {
	const conns = 20_000
	for _, tt := range []struct {
		name, behave string
		most         int64 // of resident memory, or of live memory that is not touched yet
		held         int   // connections that the provider has when all have come
	}{
		{"without handshake", "silent", 32 * mib, 1024 + 64}, // max_handshakes, and those that are just being closed
		{"with handshake", "hello", conns * 6 * kib, conns},
	} {
		t.Run(tt.name, func(t *testing.T) {
			provider, address := startProvider(t, providerArgs{Files: 20_000})
			h := startHealthy(t, address)
			leaks := leakCheck(t, conns, provider)
			idle := provider.figures()
			crowd := together(t, conns, crowdArgs{Address: address, Behave: tt.behave})
			begin := time.Now()
			open := all(t, crowd, "gather")
			took := time.Since(begin)
			cost := provider.figures().since(idle)
			memory := max(cost.memory(), cost.Peak)
			if memory > tt.most || cost.Files > tt.held {
				t.Errorf("got %+v for %d connections, want at most %d bytes and %d of them open", cost, conns, tt.most, tt.held)
			}
			left := all(t, crowd, "leave")
			newcomer := startConsumer(t, quickReconnect(), address)
			var first record
			newcomer.ask("call", healthyLoad, &first)
			if first.Code != 0 {
				t.Errorf("got %s for a consumer that came after the flood, want OK", first.Message)
			}
			before, during := h.judge()
			newcomer.signal(syscall.SIGKILL)
			newcomer.wait()
			leaks()
			row(t, "17", "%d connects %s in %v, %d open, %d failed (%s), %d still held by the provider: %.1f MiB at most; %d closed by it; healthy p99 %v → %v; %d lines about accepting",
				conns, tt.name, took.Round(time.Millisecond), open.Open, open.Failed, open.Why, cost.Files, float64(memory)/mib, left.Closed, before, during,
				provider.log.count("cannot accept"))
		})
	}
}

// TestPingFlood: who sends PINGs as fast as they are taken gets its PONGs, a few for
// many, and costs no memory.
func TestPingFlood(t *testing.T) {
	const (
		conns = 1 // more of them leave nobody else a core
		most  = 8 * mib
	)
	provider, address := startProvider(t, providerArgs{})
	h := startHealthy(t, address)
	leaks := leakCheck(t, conns, provider)
	idle := provider.figures()
	crowd := startCrowd(t, crowdArgs{Address: address, Conns: conns, Behave: "ping"})
	crowd.ask("gather", nil, nil)
	pass(3 * time.Second)
	cost := provider.figures().since(idle)
	if cost.Live > most {
		t.Errorf("got %d bytes more in use, want at most %d", cost.Live, most)
	}
	before, during := h.judge()
	var r crowdReport
	crowd.ask("leave", nil, &r)
	if r.Sent == 0 || r.Received == 0 {
		t.Errorf("got %d PONGs for %d PINGs, want some for some", r.Received, r.Sent)
	}
	leaks()
	row(t, "17", "%d PINGs on %d connection, %d PONGs: %.1f MiB more, healthy p99 %v → %v", r.Sent, conns, r.Received, float64(cost.Live)/mib, before, during)
}
