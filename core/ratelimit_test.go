package core

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestRateLimit(t *testing.T) {
	allowed := func(r *rateLimit, tries int) int {
		n := 0
		for range tries {
			if r.allow() {
				n++
			}
		}
		return n
	}
	for _, test := range []struct {
		name string
		wait time.Duration // after everything was used up
		want int
	}{
		{"at once", 0, 0},
		{"almost a second", time.Second - 1, 0},
		{"a second", time.Second, 1},
		{"three seconds and a half", 3500 * time.Millisecond, 3},
		{"ten seconds", 10 * time.Second, 10},
		{"an hour", time.Hour, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r rateLimit
				if got := allowed(&r, 50); got != 10 {
					t.Errorf("the first: got %d lines, want 10", got)
				}
				time.Sleep(test.wait)
				if got := allowed(&r, 50); got != test.want {
					t.Errorf("after %v: got %d lines, want %d", test.wait, got, test.want)
				}
			})
		})
	}
}

// Over a long time it is one line per second, however often it is asked.
func TestRateLimitSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rateLimit
		n := 0
		for range 10 * 300 {
			time.Sleep(100 * time.Millisecond)
			if r.allow() {
				n++
			}
		}
		if n < 305 || n > 311 {
			t.Errorf("got %d lines in 300 s, want 300 and the ten at first", n)
		}
	})
}
