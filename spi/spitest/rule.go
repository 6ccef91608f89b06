package spitest

import (
	"fmt"
	"runtime/debug"
	"sync"
	"testing"
)

// rule is one thing that a contract asks for.
type rule[T any] struct {
	name        string
	explanation string                   // printed when it is broken
	check       func(r *report, value T) // reports every violation
}

// report collects what one check finds. It is safe for concurrent use.
type report struct {
	mu     sync.Mutex
	faults []string // violations
	notes  []string // worth knowing, but no violation
}

// enough is how many violations of one rule are shown.
const enough = 5

func (r *report) faultf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *report) notef(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// broken reports whether there are enough violations to stop looking.
func (r *report) broken() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.faults) >= enough
}

// guard calls f and reports a panic as a violation. Every goroutine of a check runs
// under it.
func (r *report) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			r.faultf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	f()
}

// concurrently calls f with 0 to n-1, each in a goroutine, and waits for them.
func (r *report) concurrently(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { r.guard(func() { f(i) }) })
	}
	all.Wait()
}

// apply runs one check.
func apply[T any](c rule[T], value T) *report {
	r := new(report)
	r.guard(func() { c.check(r, value) })
	return r
}

// run makes each rule a subtest.
func run[T any](t *testing.T, rules []rule[T], value T) {
	t.Helper()
	for _, c := range rules {
		t.Run(c.name, func(t *testing.T) {
			t.Helper()
			r := apply(c, value)
			for _, note := range r.notes {
				t.Log(note)
			}
			for _, fault := range r.faults[:min(len(r.faults), enough)] {
				t.Error(fault)
			}
			if len(r.faults) > 0 {
				t.Log("the rule: " + c.explanation)
			}
		})
	}
}
