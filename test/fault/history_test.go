//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// history is what a load has seen.
type history struct {
	Begun int           // calls that were begun
	Lag   time.Duration // longest time for which the machine did not let the load generator run
	Calls []record
}

// rules is what a history is held against beside what always holds.
type rules struct {
	timeout    time.Duration  // of each call
	journal    map[uint64]int // executions by call; nil: not looked at
	idempotent string         // service whose calls are idempotent; "": none
	retried    bool           // they must not fail: an endpoint was healthy all the time
}

// endSlack is what a call may take beyond its deadline: 50 ms by design, and what a
// machine with other things to do adds. What it is seen to add comes on top.
const endSlack = 500 * time.Millisecond

// faults returns how a history breaks the invariants of README.md.
func (h history) faults(r rules) []string {
	var faults []string
	report := func(invariant, format string, args ...any) {
		faults = append(faults, invariant+": "+fmt.Sprintf(format, args...))
	}
	seen := make(map[uint64]bool)
	for _, c := range h.Calls {
		if seen[c.ID] {
			report("H1", "call %d ended twice", c.ID)
		}
		seen[c.ID] = true
		if took := c.End.Sub(c.Begin); took > r.timeout+endSlack+h.Lag {
			report("H1", "call %d took %v, its deadline was %v", c.ID, took, r.timeout)
		}
		idempotent := r.idempotent != "" && strings.HasPrefix(c.Method, r.idempotent+".")
		if r.retried && idempotent && c.Code != 0 {
			report("H5", "idempotent call %d failed: %s", c.ID, c.Message)
		}
		if r.journal == nil {
			continue
		}
		switch n := r.journal[c.ID]; {
		case c.Code == 0 && n == 0:
			report("H2", "call %d is OK and was not executed", c.ID)
		case !idempotent && n > 1:
			report("H3", "call %d was executed %d times", c.ID, n)
		case c.Sent == spi.SentNo && n > 0:
			report("H4", "call %d was not sent and was executed: %s", c.ID, c.Message)
		}
	}
	if len(seen) != h.Begun {
		report("H1", "%d calls begun, %d ended", h.Begun, len(seen))
	}
	return faults
}

// check fails the test for every fault, the first ten in words.
func (h history) check(t *testing.T, r rules) {
	t.Helper()
	faults := h.faults(r)
	for _, fault := range faults[:min(len(faults), 10)] {
		t.Error(fault)
	}
	if len(faults) > 10 {
		t.Errorf("and %d more", len(faults)-10)
	}
}

// failed returns the calls that failed.
func (h history) failed() []record {
	return slices.DeleteFunc(slices.Clone(h.Calls), func(c record) bool { return c.Code == 0 })
}

// between returns the calls that began in a span of time.
func (h history) between(from, to time.Time) history {
	h.Calls = slices.DeleteFunc(slices.Clone(h.Calls), func(c record) bool { return c.Begin.Before(from) || !c.Begin.Before(to) })
	h.Begun = len(h.Calls)
	return h
}

// at returns the calls that one endpoint answered or lost.
func (h history) at(endpoint string) history {
	h.Calls = slices.DeleteFunc(slices.Clone(h.Calls), func(c record) bool { return c.Endpoint != endpoint })
	h.Begun = len(h.Calls)
	return h
}

// of returns the calls of one service.
func (h history) of(service string) history {
	h.Calls = slices.DeleteFunc(slices.Clone(h.Calls), func(c record) bool { return !strings.HasPrefix(c.Method, service+".") })
	h.Begun = len(h.Calls)
	return h
}

// p99 is how long the slowest but one in a hundred took.
func (h history) p99() time.Duration {
	var took []time.Duration
	for _, c := range h.Calls {
		took = append(took, c.End.Sub(c.Begin))
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*99/100].Round(10 * time.Microsecond)
}

// TestChecker: what breaks an invariant is found.
func TestChecker(t *testing.T) {
	start := time.Unix(0, 0)
	call := func(id uint64, method string, took time.Duration, code spi.Code, sent spi.Sent) record {
		return record{ID: id, Method: method, Begin: start, End: start.Add(took), Code: code, Sent: sent, Message: "it failed"}
	}
	r := rules{timeout: time.Second, idempotent: "Safe", retried: true, journal: map[uint64]int{1: 1, 2: 2}}
	for _, tt := range []struct {
		name  string
		begun int
		calls []record
		want  string // the invariant; "": none
	}{
		{"executed once", 1, []record{call(1, "Till.Book", 0, 0, "")}, ""},
		{"lost, perhaps executed", 1, []record{call(1, "Till.Book", 0, spi.Unavailable, spi.SentMaybe)}, ""},
		{"idempotent, executed twice", 1, []record{call(2, "Safe.Book", 0, 0, "")}, ""},
		{"not sent", 1, []record{call(3, "Till.Book", 0, spi.Unavailable, spi.SentNo)}, ""},
		{"ended twice", 1, []record{call(1, "Till.Book", 0, 0, ""), call(1, "Till.Book", 0, 0, "")}, "H1"},
		{"never ended", 2, []record{call(1, "Till.Book", 0, 0, "")}, "H1"},
		{"ended late", 1, []record{call(1, "Till.Book", 2*time.Second, 0, "")}, "H1"},
		{"not executed", 1, []record{call(3, "Till.Book", 0, 0, "")}, "H2"},
		{"executed twice", 1, []record{call(2, "Till.Book", 0, 0, "")}, "H3"},
		{"not sent, executed", 1, []record{call(1, "Till.Book", 0, spi.Unavailable, spi.SentNo)}, "H4"},
		{"idempotent, lost", 1, []record{call(2, "Safe.Book", 0, spi.Unavailable, spi.SentMaybe)}, "H5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := history{Begun: tt.begun, Calls: tt.calls}.faults(r)
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], tt.want+": ")) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
