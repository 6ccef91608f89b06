package spi_test

import (
	"math"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// set returns a Bitmap for n endpoints that holds the given ones.
func set(n int, held ...int) spi.Bitmap {
	b := spi.NewBitmap(n)
	for _, i := range held {
		b.Set(i)
	}
	return b
}

func TestBitmap(t *testing.T) {
	for _, tt := range []struct {
		name    string
		set     spi.Bitmap
		i, n    int
		want    int
		wantHas bool // of i
	}{
		{"nil holds all", nil, 3, 5, 3, true},
		{"itself", set(5, 3), 3, 5, 3, true},
		{"later", set(5, 3), 1, 5, 3, false},
		{"round", set(5, 0), 3, 5, 0, false},
		{"round to just before", set(5, 2), 3, 5, 2, false},
		{"next word", set(200, 130), 3, 200, 130, false},
		{"round to an earlier word", set(200, 3), 130, 200, 3, false},
		{"round in the same word", set(200, 129), 130, 200, 129, false},
		{"last of a word", set(64, 63), 0, 64, 63, false},
		{"first of a word", set(65, 64), 0, 65, 64, false},
		{"last of all", set(128, 127), 0, 128, 127, false},
		{"empty", set(70), 66, 70, 66, false},
		{"empty and not nil", spi.Bitmap{}, 2, 5, 2, false},
		{"beyond n only", set(10, 7, 9), 2, 6, 2, false},
		{"beyond n does not count", set(10, 1, 7), 2, 6, 1, false},
		{"shorter than n, held before", spi.Bitmap{1 << 5}, 100, 200, 5, false},
		{"shorter than n, held none", spi.Bitmap{0}, 100, 200, 100, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.set.Next(tt.i, tt.n); got != tt.want {
				t.Errorf("Next(%d, %d) of %b: got %d, want %d", tt.i, tt.n, tt.set, got, tt.want)
			}
			if got := tt.set.Has(tt.i); got != tt.wantHas {
				t.Errorf("Has(%d) of %b: got %t, want %t", tt.i, tt.set, got, tt.wantHas)
			}
		})
	}
	b := set(200, 0, 63, 64, 199)
	b.Clear(64)
	b.Clear(0)
	b.Clear(1) // not held
	for i := range 200 {
		if got, want := b.Has(i), i == 63 || i == 199; got != want {
			t.Errorf("Has(%d) after Clear: got %t, want %t", i, got, want)
		}
	}
	for _, n := range []int{0, 1, 63, 64, 65} {
		if b := spi.NewBitmap(n); b == nil || n > 0 && b.Has(n-1) {
			t.Errorf("NewBitmap(%d): got %v, want an empty set that is not nil", n, b)
		}
	}
	b = spi.NewBitmap(64)
	b.Set(63) // the last index of an exact word fits
	if allocs := testing.AllocsPerRun(100, func() { b.Next(1, 64); b.Has(5) }); allocs != 0 {
		t.Errorf("Next and Has: got %v allocations, want 0", allocs)
	}
}

// FuzzBitmapNext compares Next with the loop that it stands for.
func FuzzBitmapNext(f *testing.F) {
	f.Add([]byte{1, 0, 0x80}, uint16(3), uint16(20))
	f.Add([]byte{}, uint16(0), uint16(1))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 1}, uint16(65), uint16(66))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0x80}, uint16(64), uint16(70))
	f.Add([]byte{0xff}, uint16(300), uint16(301))
	f.Fuzz(func(t *testing.T, data []byte, start, size uint16) {
		n := int(size)%1000 + 1
		i := int(start) % n
		b := make(spi.Bitmap, (len(data)+7)/8)
		for at, bits := range data {
			b[at/8] |= uint64(bits) << (at % 8 * 8)
		}
		want := i
		for step := range n {
			if at := (i + step) % n; b.Has(at) {
				want = at
				break
			}
		}
		if got := b.Next(i, n); got != want {
			t.Errorf("Next(%d, %d) of %b: got %d, want %d", i, n, b, got, want)
		}
	})
}

func TestLoadCounts(t *testing.T) {
	var l spi.Load
	if l.InFlight() != 0 || l.Failures() != 0 || l.Latency(0) != 0 || l.Latency(time.Hour) != 0 {
		t.Errorf("a new Load: got %d in flight, %d failures, latency %v, want nothing", l.InFlight(), l.Failures(), l.Latency(0))
	}
	for range 4 {
		l.Begin()
	}
	l.End(time.Second, time.Millisecond, false)
	l.End(time.Second, time.Millisecond, true)
	before := l.Latency(time.Second)
	l.Abandon()
	if got := l.InFlight(); got != 1 {
		t.Errorf("in flight after 4 calls, 2 ends and an abandon: got %d, want 1", got)
	}
	if got := l.Failures(); got != 1 {
		t.Errorf("failures: got %d, want 1", got)
	}
	if got := l.Latency(time.Second); got != before {
		t.Errorf("latency after an abandon: got %v, want %v as before", got, before)
	}
}

// TestLoadLatency: a sample weighs as much as the share of five seconds that has
// passed since the last one, the average fades in silence, a failure costs a second.
func TestLoadLatency(t *testing.T) {
	type sample struct {
		now, took time.Duration
		failed    bool
	}
	const ms, s = time.Millisecond, time.Second
	for _, tt := range []struct {
		name    string
		samples []sample
		now     time.Duration
		want    time.Duration
	}{
		{"first answer is the average", []sample{{s, 10 * ms, false}}, s, 10 * ms},
		{"first answer at the start of the clock", []sample{{0, 10 * ms, false}}, 0, 10 * ms},
		{"half after five seconds", []sample{{s, 10 * ms, false}}, 6 * s, 5 * ms},
		{"a third after ten", []sample{{s, 9 * ms, false}}, 11 * s, 3 * ms},
		{"no time backwards", []sample{{s, 10 * ms, false}}, 0, 10 * ms},
		{"a sample after five seconds weighs half", []sample{{s, 10 * ms, false}, {6 * s, 30 * ms, false}}, 6 * s, 20 * ms},
		{"a sample after a second weighs a sixth", []sample{{s, 12 * ms, false}, {2 * s, 6 * ms, false}}, 2 * s, 11 * ms},
		{"a sample from the past weighs nothing", []sample{{s, 10 * ms, false}, {s / 2, 900 * ms, false}}, s, 10 * ms},
		{"a failure adds a second", []sample{{s, 10 * ms, true}}, s, 1010 * ms},
		{"a failure among answers", []sample{{s, 20 * ms, false}, {6 * s, 0, true}}, 6 * s, 510 * ms},
		{"no time at all is not no answer", []sample{{s, 0, false}, {6 * s, 2, false}}, 6 * s, 1},
		{"negative time counts as none", []sample{{s, -s, false}}, s, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l spi.Load
			for _, s := range tt.samples {
				l.Begin()
				l.End(s.now, s.took, s.failed)
			}
			if got := l.Latency(tt.now); (got - tt.want).Abs() > time.Nanosecond {
				t.Errorf("latency at %v after %v: got %v, want %v", tt.now, tt.samples, got, tt.want)
			}
		})
	}
}

// TestLoadRenew: what was is forgotten, and the next answer counts alone.
func TestLoadRenew(t *testing.T) {
	var l spi.Load
	for range 2 {
		l.Begin()
		l.End(time.Second, time.Second, true)
		l.Renew()
		if got := l.Latency(time.Second); got != 0 {
			t.Errorf("got latency %v after Renew, want none", got)
		}
	}
	l.Begin()
	l.End(2*time.Second, time.Millisecond, false)
	if got := l.Latency(2 * time.Second); got != time.Millisecond {
		t.Errorf("got latency %v, want that of the one answer since, 1ms", got)
	}
	if l.Failures() != 2 {
		t.Errorf("got %d failures, want 2: they are not forgotten", l.Failures())
	}
}

// TestLoadLatencyUnderTraffic: the average depends on time, not on the number of
// calls, however many there are.
func TestLoadLatencyUnderTraffic(t *testing.T) {
	for _, tt := range []struct {
		name  string
		every time.Duration
	}{
		{"ten calls a second", 100 * time.Millisecond},
		{"a thousand", time.Millisecond},
		{"a hundred thousand", 10 * time.Microsecond},
		{"a million", time.Microsecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l spi.Load
			const before, after = 200 * time.Microsecond, 700 * time.Microsecond
			l.Begin()
			l.End(0, before, false)
			now := time.Duration(0)
			for now < 200*time.Millisecond {
				now += tt.every
				l.Begin()
				l.End(now, after, false)
			}
			// The distance to the new value shrinks by every/(every+5s) per call.
			share := math.Pow(1-float64(tt.every)/float64(tt.every+5*time.Second), float64(now/tt.every))
			want := after - time.Duration(share*float64(after-before))
			if got := l.Latency(now); (got - want).Abs() > time.Microsecond {
				t.Errorf("latency after %v with %v, which was %v: got %v, want %v", now, after, before, got, want)
			}
		})
	}
}

func TestLoadConcurrently(t *testing.T) {
	var l spi.Load
	var group sync.WaitGroup
	const workers, calls = 8, 500
	for range workers {
		group.Go(func() {
			for i := range calls {
				now := time.Duration(i) * time.Millisecond
				l.Begin()
				switch i % 5 {
				case 0:
					l.Abandon()
				case 1:
					l.End(now, 10*time.Millisecond, true)
				default:
					l.End(now, 10*time.Millisecond, false)
				}
				if got := l.Latency(now); got < 0 || got > 1010*time.Millisecond {
					t.Errorf("latency: got %v, want it between the samples", got)
				}
			}
		})
	}
	group.Wait()
	if l.InFlight() != 0 || l.Failures() != workers*calls/5 {
		t.Errorf("got %d in flight, %d failures, want 0, %d", l.InFlight(), l.Failures(), workers*calls/5)
	}
}
