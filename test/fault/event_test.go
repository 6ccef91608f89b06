//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
)

// What an event is.
const (
	eventConnected    = "connected"
	eventStrike       = "strike"
	eventRecovered    = "recovered"
	eventPause        = "local pause"
	eventDisconnected = "disconnected"
	eventAttempt      = "reconnect attempt" // of no connection
)

// event is one thing that a process was told of one of its connections.
type event struct {
	Kind    string
	Conn    uint64
	Peer    string
	At      time.Time
	Strikes int
	Reason  string        // of a disconnection
	Silent  time.Duration // since the last sign of life, at a strike or a disconnection
}

// witness is what this process was told, if it has an App. It is safe for concurrent
// use.
var witness struct {
	mu     sync.Mutex
	events []event
}

// witnessed returns everything so far, in order.
func witnessed() events {
	witness.mu.Lock()
	defer witness.mu.Unlock()
	return slices.Clone(witness.events)
}

// observer notes what it is told.
func observer() *core.Observer {
	note := func(kind string, id core.ConnID, e event) {
		e.Kind, e.Conn, e.Peer, e.At = kind, id.ID, id.Peer, id.At
		witness.mu.Lock()
		defer witness.mu.Unlock()
		witness.events = append(witness.events, e)
	}
	return &core.Observer{
		Connected:  func(c core.Connected) { note(eventConnected, c.ConnID, event{}) },
		Strike:     func(s core.Strike) { note(eventStrike, s.ConnID, event{Strikes: s.N, Silent: s.Silent}) },
		Recovered:  func(r core.Recovered) { note(eventRecovered, r.ConnID, event{Strikes: r.Strikes}) },
		LocalPause: func(l core.LocalPause) { note(eventPause, l.ConnID, event{}) },
		Disconnected: func(d core.Disconnected) {
			note(eventDisconnected, d.ConnID, event{Strikes: d.Strikes, Reason: d.Reason, Silent: d.Silent})
		},
		ReconnectAttempt: func(r core.ReconnectAttempt) {
			note(eventAttempt, core.ConnID{Peer: r.Peer, At: r.At}, event{})
		},
	}
}

// events is what one process was told.
type events []event

// events asks the process what it was told so far.
func (p *proc) events() events {
	p.t.Helper()
	var es events
	p.ask("events", nil, &es)
	return es
}

// of returns the events of one kind.
func (es events) of(kind string) events {
	return slices.DeleteFunc(slices.Clone(es), func(e event) bool { return e.Kind != kind })
}

// at returns the events of connections with one peer.
func (es events) at(peer string) events {
	return slices.DeleteFunc(slices.Clone(es), func(e event) bool { return e.Peer != peer })
}

// open returns how many connections there are after them.
func (es events) open() int {
	return len(es.of(eventConnected)) - len(es.of(eventDisconnected))
}

// faults returns how the events of one process break H9: every connection ends once
// at most, for one of reasons, and is not heard of before its beginning or after its
// end.
func (es events) faults(reasons ...string) []string {
	var faults []string
	state := make(map[uint64]string)
	for _, e := range es {
		if e.Kind == eventAttempt {
			continue
		}
		switch was := state[e.Conn]; {
		case e.Kind == eventConnected && was != "", e.Kind != eventConnected && was != eventConnected:
			faults = append(faults, fmt.Sprintf("H9: connection %d with %s: %s (%s) when it was %q", e.Conn, e.Peer, e.Kind, e.Reason, was))
		case e.Kind == eventDisconnected && !slices.Contains(reasons, e.Reason):
			faults = append(faults, fmt.Sprintf("H9: connection %d with %s ended: got %s, want one of %q", e.Conn, e.Peer, e.Reason, reasons))
		}
		if e.Kind == eventConnected || e.Kind == eventDisconnected {
			state[e.Conn] = e.Kind
		}
	}
	return faults
}

// check fails the test for every fault.
func (es events) check(t *testing.T, reasons ...string) {
	t.Helper()
	for _, fault := range es.faults(reasons...) {
		t.Error(fault)
	}
}

// TestEventChecker: what breaks H9 is found.
func TestEventChecker(t *testing.T) {
	e := func(kind, reason string) event { return event{Kind: kind, Conn: 1, Reason: reason} }
	for _, tt := range []struct {
		name   string
		events events
		want   int // faults
	}{
		{"lives", events{e(eventConnected, ""), e(eventStrike, ""), e(eventRecovered, "")}, 0},
		{"ended as expected", events{e(eventConnected, ""), e(eventStrike, ""), e(eventDisconnected, "eof")}, 0},
		{"ended otherwise", events{e(eventConnected, ""), e(eventDisconnected, "reset")}, 1},
		{"ended twice", events{e(eventConnected, ""), e(eventDisconnected, "eof"), e(eventDisconnected, "eof")}, 1},
		{"ended without a beginning", events{e(eventDisconnected, "eof")}, 1},
		{"heard of after its end", events{e(eventConnected, ""), e(eventDisconnected, "eof"), e(eventRecovered, "")}, 1},
		{"began twice", events{e(eventConnected, ""), e(eventConnected, "")}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.events.faults("eof"); len(got) != tt.want {
				t.Errorf("got %q, want %d", got, tt.want)
			}
		})
	}
}
