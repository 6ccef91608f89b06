package plugins

import (
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

func TestSchedule(t *testing.T) {
	const window = time.Minute
	cfg := spi.PluginRestart{Base: spi.Duration(100 * time.Millisecond), Cap: spi.Duration(time.Second), MaxStarts: 5, Window: spi.Duration(window)}
	s := schedule{cfg: cfg, random: func() float64 { return 1 }}
	now := time.Unix(1e9, 0)
	step := func(want time.Duration, wantOpen bool) {
		t.Helper()
		wait, open := s.next(now)
		if wait != want || open != wantOpen {
			t.Fatalf("next: got %v, open %t, want %v, open %t", wait, open, want, wantOpen)
		}
		now = now.Add(wait)
		s.started(now, open)
	}
	for _, want := range []time.Duration{100, 200, 400, 800, 1000} {
		step(want*time.Millisecond, false)
	}
	step(window, true) // the sixth
	step(window, true) // the trial failed at once
	s.ran(window - 1)
	step(window, true)
	s.ran(window)
	step(100*time.Millisecond, false)
	now = now.Add(window)
	for range 40 { // far apart: the circuit stays closed, and nothing overflows
		now = now.Add(window)
		s.started(now, false)
	}
	step(time.Second, false)
	now = now.Add(window)
	for range cfg.MaxStarts {
		s.started(now, false)
	}
	now = now.Add(window - 1)
	if _, open := s.next(now); !open {
		t.Errorf("next %v after %d starts: got it closed, want it open", window-1, cfg.MaxStarts)
	}
	now = now.Add(1)
	step(time.Second, false)
	s.random = func() float64 { return 0.5 }
	step(time.Second/2, false)
}
