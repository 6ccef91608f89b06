//go:build fault && linux

package fault_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReconnects: ten thousand connections that end, by either side, in a row at each
// of four endpoints, leave nothing behind.
func TestReconnects(t *testing.T) {
	const (
		warm     = 2_000
		cycles   = 10_000
		limit    = time.Minute
		perCycle = 100     // bytes
		noise    = 2 * mib // of what is resident, between two collections
		waiting  = 15_000
	)
	var addresses []string
	provider := start(t, "doors", nil, &addresses)
	consumer := start(t, "cycler", addresses, nil)
	cycle := func(n int) time.Duration {
		begin := time.Now()
		consumer.ask("cycle", n, nil)
		return time.Since(begin)
	}
	settled := func(p *proc) (r cycleReport) {
		if !within(5*time.Second, func() bool { p.ask("report", nil, &r); return r.Open == endpoints && r.InFlight == 0 }) {
			t.Errorf("got %d connections and %d calls without an answer at the %s, want %d and none", r.Open, r.InFlight, p.name, endpoints)
		}
		return r
	}
	cycle(warm)
	settled(provider)
	settled(consumer)
	leaks := leakCheck(t, endpoints, provider, consumer)
	sides := []*proc{provider, consumer}
	var before, after [2]figures
	for i, p := range sides {
		before[i] = p.figures()
	}
	timeWait := socketsInTimeWait(t)
	took := cycle(cycles)
	timeWait = socketsInTimeWait(t) - timeWait
	ended := map[string]uint64{}
	for i, p := range sides {
		r := settled(p)
		after[i] = p.figures().since(before[i])
		var down uint64
		for reason, n := range r.Metrics.Disconnected {
			ended[p.name+" "+reason] = n
			down += n
		}
		if want := uint64(warm + cycles + endpoints); r.Metrics.Connected != want || r.Metrics.Connected-down != endpoints || r.Metrics.EventsLost != 0 {
			t.Errorf("H9: got %d connections, %d ends and %d lost events at the %s, want %d, all but %d ended, and none", r.Metrics.Connected, down, r.Metrics.EventsLost, p.name, want, endpoints)
		}
		if got, most := after[i].Resident, int64(cycles*perCycle+noise); got > most {
			t.Errorf("got %d bytes more resident at the %s, want at most %d", got, p.name, most)
		}
	}
	leaks()
	if took > limit {
		t.Errorf("got %d cycles in %v, want them in %v", cycles, took, limit)
	}
	if timeWait > waiting {
		t.Errorf("got %d more sockets in TIME_WAIT, want at most %d", timeWait, waiting)
	}
	row(t, "21", "%d reconnects at %d endpoints in %v, half of them ended by the provider: goroutines %+d and %+d (provider, consumer), descriptors %+d and %+d, live %+d and %+d KiB, resident %+d and %+d KiB; %d sockets in TIME_WAIT; ended for %v",
		cycles, endpoints, took.Round(10*time.Millisecond), after[0].Goroutines, after[1].Goroutines, after[0].Files, after[1].Files,
		after[0].Live/kib, after[1].Live/kib, after[0].Resident/kib, after[1].Resident/kib, timeWait, ended)
}

// socketsInTimeWait returns how many there are in this network.
func socketsInTimeWait(t *testing.T) (n int) {
	t.Helper()
	stat, err := os.ReadFile("/proc/net/sockstat")
	must(t, err)
	for line := range strings.Lines(string(stat)) {
		var inuse, orphan int
		if _, err := fmt.Sscanf(line, "TCP: inuse %d orphan %d tw %d", &inuse, &orphan, &n); err == nil {
			return n
		}
	}
	t.Fatal("got no line about TCP in /proc/net/sockstat")
	return 0
}
