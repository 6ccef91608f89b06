//go:build fault && linux

package fault_test

import (
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
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
		{"with handshake", "hello", conns * 8 * kib, conns},
	} {
		t.Run(tt.name, func(t *testing.T) {
			provider, address := startProvider(t, providerArgs{Files: 20_000})
			h := startHealthyWith(t, map[string]any{"consumer.heartbeat": quickBeat.key()}, address)
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
			strikes := h.strikes()
			newcomer.signal(syscall.SIGKILL)
			newcomer.wait()
			leaks()
			row(t, "17", "%d connects %s in %v, %d open, %d failed (%s), %d still held by the provider: %.1f MiB at most; %d closed by it; healthy p99 %v → %v, its heartbeat every %v: %d strikes, none a second in a row; %d lines about accepting",
				conns, tt.name, took.Round(time.Millisecond), open.Open, open.Failed, open.Why, cost.Files, float64(memory)/mib, left.Closed, before, during, quickBeat.Interval, strikes,
				provider.log.count("cannot accept"))
		})
	}
}

// TestPingFlood: who sends PINGs as fast as they are taken is told that they are too
// many and disconnected, however often it comes again, and nobody else notices.
func TestPingFlood(t *testing.T) {
	const (
		least = 3 * time.Second
		most  = 8 * mib
	)
	provider, address := startProvider(t, providerArgs{Keys: map[string]any{"provider.heartbeat": quickBeat.key()}})
	h := startHealthyWith(t, map[string]any{"consumer.heartbeat": quickBeat.key()}, address)
	leaks := leakCheck(t, 1, provider)
	idle := provider.figures()
	var floods, told int
	var pings int64
	var longest time.Duration
	for begin := time.Now(); time.Since(begin) < least || h.tooShort(); floods++ {
		f := floodPings(t, address)
		pings += f.sent
		longest = max(longest, f.lasted)
		if f.told {
			told++
		}
	}
	cost := provider.figures().since(idle)
	if cost.Live > most {
		t.Errorf("got %d bytes more in use, want at most %d", cost.Live, most)
	}
	before, during := h.judge()
	if limit := time.Second; longest > limit {
		t.Errorf("got a flood that lasted %v, want it ended within %v", longest, limit)
	}
	if told == 0 {
		t.Errorf("got no GOAWAY that says there were too many PINGs in %d floods, want one at least", floods)
	}
	quiet(t, h.proc, "")
	if got := provider.events().open(); got != 1 {
		t.Errorf("H8: got %d connections at the provider, want that of the healthy consumer", got)
	}
	leaks()
	row(t, "17", "%d floods of PINGs one after another, %d PINGs: all disconnected within %v, %d read why (GOAWAY, too many PINGs); %.1f MiB more, healthy p99 %v → %v, no strike", floods, pings, longest.Round(time.Millisecond), told, float64(cost.Live)/mib, before, during)
}

// pingFlood is how a flood of PINGs went.
type pingFlood struct {
	sent   int64
	told   bool // GOAWAY came before the end
	lasted time.Duration
}

// floodPings sends PINGs until the provider has had enough.
func floodPings(t *testing.T, address string) (f pingFlood) {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	must(t, err)
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(10*time.Second)))
	peer := coretest.NewPeer(nc)
	_, err = peer.BeConsumer(jsonHello)
	must(t, err)
	begin := time.Now()
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			frame, err := peer.Read()
			if err != nil { // a reset may overtake GOAWAY
				return
			}
			if frame.Type == coretest.TypeGoAway {
				f.told = frame.Code == coretest.GoAwayPings
			}
		}
	})
	for {
		var b []byte
		for range 100 {
			f.sent++
			b = coretest.AppendFrame(b, coretest.Frame{Type: coretest.TypePing, ID: uint64(f.sent)})
		}
		if _, err := nc.Write(b); err != nil {
			break
		}
	}
	reader.Wait()
	f.lasted = time.Since(begin)
	return f
}
