package spitest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broken is an implementation with one fault, and rules that must find it.
type broken[T any] struct {
	name  string
	value T
	rules []string
}

// testBroken runs the kit over each, and checks that every rule has found one.
func testBroken[T any](t *testing.T, rules []rule[T], cases []broken[T], except ...string) {
	unseen := map[string]bool{}
	for _, c := range rules {
		unseen[c.name] = !slices.Contains(except, c.name)
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range tt.rules {
				if _, ok := unseen[name]; !ok {
					t.Errorf("rule %q does not exist", name)
				}
			}
			for _, c := range rules {
				if !slices.Contains(tt.rules, c.name) {
					continue
				}
				unseen[c.name] = false
				if r := apply(c, tt.value); len(r.faults) == 0 {
					t.Errorf("rule %s: got no violation, want one", c.name)
				}
			}
		})
	}
	for name, missing := range unseen {
		if missing {
			t.Errorf("rule %s has no broken implementation that it finds", name)
		}
	}
}

// inChild is set in a run of this test program that is expected to fail.
const inChild = "SPITEST_CHILD"

// failsInChild runs the calling test again, in a process of its own with inChild
// set, and checks that it fails and says why.
func failsInChild(t *testing.T, want ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inChild+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("kit over a broken implementation: got success, want failure\n%s", out)
	}
	for _, text := range want {
		if !strings.Contains(string(out), text) {
			t.Errorf("output of the kit over a broken implementation: got\n%s\nwant it to contain %q", out, text)
		}
	}
}

func TestPanicIsAViolation(t *testing.T) {
	r := apply(rule[int]{check: func(*report, int) { panic("boom") }}, 0)
	if len(r.faults) != 1 || !strings.Contains(r.faults[0], "boom") {
		t.Errorf("faults of a check that panics: got %q, want one with boom", r.faults)
	}
	r = apply(rule[int]{check: func(r *report, _ int) { r.concurrently(1, func(int) { panic("boom") }) }}, 0)
	if len(r.faults) != 1 {
		t.Errorf("faults of a check whose goroutine panics: got %q, want one", r.faults)
	}
}
