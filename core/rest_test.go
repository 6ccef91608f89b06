package core

import (
	"testing"
	"testing/synctest"
	"time"
)

// Bytes that come after a rest make another one likely, once all of them were read.
func TestResting(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pauses []time.Duration // before each read
		unread int
		raw    *rawConn
		want   bool
	}{
		{"at once", []time.Duration{0}, 0, new(rawConn), false},
		{"busy", []time.Duration{rest / 2, rest / 2, rest - 1}, 0, new(rawConn), false},
		{"after a rest", []time.Duration{0, rest}, 0, new(rawConn), true},
		{"in several reads", []time.Duration{rest, 0, 0}, 0, new(rawConn), true},
		{"something is unread", []time.Duration{rest}, 1, new(rawConn), false},
		{"no descriptor", []time.Duration{rest}, 0, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFrameReader(nil, tt.raw, DefaultLimits())
				r.w = tt.unread
				for _, pause := range tt.pauses {
					time.Sleep(pause)
					r.traffic.add(1)
				}
				if got := r.resting(); got != tt.want {
					t.Errorf("got resting %v, want %v", got, tt.want)
				}
				if r.resting() {
					t.Error("got resting twice, want it once")
				}
			})
		})
	}
}
