//go:build fault && linux

package fault_test

import (
	"testing"
	"time"
)

// healthyLoad is what undisturbed consumers do while others misbehave.
var healthyLoad = loadArgs{Methods: []string{"Till.Echo"}, Rate: 400, Timeout: 5 * time.Second, Size: 100}

// healthy is a consumer that notices nothing of a fault, or so it should.
type healthy struct {
	t      *testing.T
	proc   *proc
	begin  time.Time
	broken time.Time
}

// startHealthy lets a consumer call for a while before anything is broken.
func startHealthy(t *testing.T, addresses ...string) *healthy {
	t.Helper()
	return startHealthyWith(t, nil, addresses...)
}

// startHealthyWith is startHealthy with keys of the consumer.
func startHealthyWith(t *testing.T, keys map[string]any, addresses ...string) *healthy {
	t.Helper()
	h := &healthy{t: t, proc: startConsumer(t, keys, addresses...)}
	h.proc.ask("call", healthyLoad, nil)
	h.proc.ask("load", healthyLoad, nil)
	pass(500 * time.Millisecond) // until everything is warm
	h.begin = time.Now()
	pass(2 * time.Second)
	h.broken = time.Now()
	return h
}

// tooShort says that a fault has to go on, or too few calls were made meanwhile to
// compare.
func (h *healthy) tooShort() bool { return time.Since(h.broken) < time.Second }

// judge ends the load, holds the calls since the fault began against those before,
// and returns both 99th percentiles.
func (h *healthy) judge() (before, during time.Duration) {
	h.t.Helper()
	now := time.Now()
	var all history
	h.proc.ask("history", nil, &all)
	all.check(h.t, rules{timeout: healthyLoad.Timeout})
	b, d := all.between(h.begin, h.broken), all.between(h.broken, now)
	undisturbed(h.t, b, d)
	return b.p99(), d.p99()
}

// strikes returns how many heartbeats of the consumer were not answered. None may have
// been in a row, nor may a connection have ended.
func (h *healthy) strikes() int {
	h.t.Helper()
	told := h.proc.events()
	told.check(h.t)
	for _, e := range told.of(eventStrike) {
		if e.Strikes > 1 {
			h.t.Errorf("got strike %d at the healthy consumer, want none after the first", e.Strikes)
		}
	}
	for _, e := range told.of(eventDisconnected) {
		h.t.Errorf("got a healthy connection ended (%s), want none", e.Reason)
	}
	return len(told.of(eventStrike))
}

// undisturbed holds healthy calls during a fault against those before it: none
// failed, and their 99th percentile stayed in proportion. The bound is wide, and
// does not count below the floor, nor for as long as the machine let nobody run: a
// flood and those it is to disturb share two cores.
func undisturbed(t *testing.T, before, during history) {
	t.Helper()
	const (
		ratio = 10
		floor = 250 * time.Millisecond
		least = 30 // calls, to compare: a quick machine has done with some faults in half a second
	)
	for _, h := range []history{before, during} {
		if len(h.Calls) < least {
			t.Errorf("got %d healthy calls, want at least %d to compare", len(h.Calls), least)
		}
		for _, c := range h.failed()[:min(len(h.failed()), 3)] {
			t.Errorf("healthy call %d failed: %s", c.ID, c.Message)
		}
	}
	if b, d := before.p99(), during.p99(); d > floor+during.Lag && d > ratio*b {
		t.Errorf("got a p99 of %v for healthy calls, want at most %d times the %v before", d, ratio, b)
	}
}
