package heartbeat_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// The questions of a table, with an interval of 5 s: round k ends at k·5 s, and the
// second look is 100 ms later.
const (
	interval = 5 * time.Second
	look     = 100 * time.Millisecond
)

// asked is one question and the decision wanted.
type asked struct {
	now  time.Duration
	late time.Duration // of this side
	ack  uint64        // highest PING that was answered so far
	in   uint64        // signs of life so far
	want spi.Decision
}

// The decisions of three-strike.
func ping(next time.Duration) spi.Decision { return spi.Decision{SendPing: true, Next: next} }

func alive(next time.Duration) spi.Decision { return spi.Decision{Next: next} }

func suspect(strikes int, next time.Duration) spi.Decision {
	return spi.Decision{Liveness: spi.Suspect, Strikes: strikes, SendPing: true, Next: next}
}

// quiet makes it a decision without a PING.
func quiet(d spi.Decision) spi.Decision { d.SendPing = false; return d }

func pause(d spi.Decision) spi.Decision { d.Reason = spi.ReasonLocalPause; return d }

func dead(strikes int) spi.Decision {
	return spi.Decision{Liveness: spi.Dead, Strikes: strikes, Reason: spi.ReasonHeartbeatTimeout}
}

// edges are the edges of the state diagram of docs/heartbeat.md that the strategy
// decides, under their text there; an edge may have several rows.
var edges = []struct {
	name    string // the edge
	strikes string // of the configuration
	asked   []asked
}{
	{"[*] --> Up: HELLOs exchanged", "3", []asked{{now: 0, want: ping(5 * time.Second)}}},
	{"Up --> Up: answered, or late", "3", []asked{
		{now: 0, want: ping(interval)},
		{now: 5 * time.Second, ack: 1, in: 1, want: ping(interval)},
		{now: 10 * time.Second, ack: 1, in: 2, want: ping(interval)}, // by another sign of life
		{now: 15 * time.Second, ack: 1, in: 2, want: alive(look)},
		{now: 15*time.Second + look, ack: 4, in: 3, want: ping(interval - look)}, // at the second look; the grid holds
		{now: 20 * time.Second, ack: 5, in: 4, want: ping(interval)},
	}},
	{"Up --> Up: answered, or late", "3", []asked{
		{now: 0, want: ping(interval)},
		{now: 8 * time.Second, late: 3 * time.Second, want: pause(ping(interval))},
		{now: 13 * time.Second, ack: 2, in: 1, want: ping(interval)}, // on a new grid
	}},
	{"Up --> Suspect: strike 1", "3", []asked{
		{now: 0, want: ping(interval)},
		{now: 5 * time.Second, want: alive(look)},
		{now: 5*time.Second + look, want: suspect(1, interval-look)},
	}},
	{"Suspect --> Suspect: strike, or late", "3", []asked{
		{now: 0, want: ping(interval)},
		{now: 5 * time.Second, want: alive(look)},
		{now: 5*time.Second + look, want: suspect(1, interval-look)},
		{now: 7 * time.Second, want: quiet(suspect(1, 3*time.Second))}, // asked early, and nothing new
		{now: 10 * time.Second, want: quiet(suspect(1, look))},
		{now: 10*time.Second + look, want: suspect(2, interval-look)},
	}},
	{"Suspect --> Suspect: strike, or late", "3", []asked{
		{now: 0, want: ping(interval)},
		{now: 5 * time.Second, want: alive(look)},
		{now: 5*time.Second + look, want: suspect(1, interval-look)},
		{now: 13 * time.Second, late: 3 * time.Second, want: pause(suspect(1, interval))},
		{now: 18 * time.Second, want: quiet(suspect(1, look))},
		{now: 21 * time.Second, late: 3*time.Second - look, want: pause(suspect(1, interval))}, // a second look that is late
		{now: 29 * time.Second, late: 3 * time.Second, want: quiet(suspect(1, look))},          // no third in a row
		{now: 29*time.Second + look, want: suspect(2, interval)},                               // too late for the old grid
	}},
	{"Suspect --> Up: sign of life", "3", []asked{
		{now: 0, want: ping(interval)},
		{now: 5 * time.Second, want: alive(look)},
		{now: 5*time.Second + look, want: suspect(1, interval-look)},
		{now: 6 * time.Second, in: 1, want: alive(4 * time.Second)}, // at once
		{now: 10 * time.Second, in: 1, want: ping(interval)},
		{now: 15 * time.Second, in: 1, want: alive(look)},
		{now: 15*time.Second + look, in: 1, want: suspect(1, interval-look)},
		{now: 20 * time.Second, ack: 4, in: 2, want: ping(interval)}, // at the end of the round
		{now: 25 * time.Second, ack: 4, in: 2, want: alive(look)},
		{now: 25*time.Second + look, ack: 4, in: 2, want: suspect(1, interval-look)},
		{now: 30 * time.Second, ack: 4, in: 2, want: quiet(suspect(1, look))},
		{now: 30*time.Second + look/2, ack: 6, in: 3, want: ping(interval - look/2)}, // before the second look
	}},
	{"Suspect --> Dead: last strike", "3", []asked{
		{now: 0, want: ping(interval)},
		{now: 5 * time.Second, want: alive(look)},
		{now: 5*time.Second + look, want: suspect(1, interval-look)},
		{now: 10 * time.Second, want: quiet(suspect(1, look))},
		{now: 10*time.Second + look, want: suspect(2, interval-look)},
		{now: 15 * time.Second, want: quiet(suspect(2, look))},
		{now: 15*time.Second + look, want: dead(3)},
	}},
	{"Up --> Dead: only strike", "1", []asked{
		{now: 0, want: ping(interval)},
		{now: 5 * time.Second, want: alive(look)},
		{now: 5*time.Second + look, want: dead(1)},
	}},
}

// elsewhere are the edges that belong to the connection, which ends in the same way
// whether it is suspect or not, with the tests of package core that go along each.
var elsewhere = map[string][]string{
	"Up --> Closed: other end":      {"TestPeerCloses", "TestConsumerDisconnectsStalledProvider", "TestConsumerFinishesAfterGoAway", "TestConsumerCloseWaitsForConnections"},
	"Suspect --> Closed: other end": {"TestPeerCloses", "TestProviderDisconnectsStalledConsumer"},
	"Dead --> Closed: cleaned up":   {"TestConsumerStrikesOut"},
	"Closed --> [*]":                {"TestConnectionLostWithCallsInEveryPlace"},
}

func TestThreeStrikeEdges(t *testing.T) {
	for _, tt := range edges {
		t.Run(tt.name, func(t *testing.T) {
			follow(t, open(t, "three-strike", `{"strikes": `+tt.strikes+`}`), tt.asked)
		})
	}
}

// follow asks the questions one after the other.
func follow(t *testing.T, hb spi.Heartbeat, questions []asked) {
	t.Helper()
	var st spi.State
	var sent uint64
	for _, q := range questions {
		var got spi.Decision
		got, st = hb.Decide(spi.Snapshot{Now: q.now, Due: q.now - q.late, PingSeq: sent, AckSeq: q.ack, InCount: q.in}, st)
		if got.Next <= 0 {
			t.Errorf("at %v: got Next %v, want more than 0", q.now, got.Next)
		}
		if q.want.Liveness == spi.Dead {
			got.Next = 0 // nobody asks again
		}
		if got != q.want {
			t.Fatalf("at %v:\ngot  %+v\nwant %+v", q.now, got, q.want)
		}
		if got.SendPing {
			sent++
		}
	}
}

// TestElsewhereExists: the tests that elsewhere names are there.
func TestElsewhereExists(t *testing.T) {
	files, err := filepath.Glob("../core/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	for edge, names := range elsewhere {
		for _, name := range names {
			if !strings.Contains(source.String(), "\nfunc "+name+"(") {
				t.Errorf("edge %q names %s; got no such test in core, want one", edge, name)
			}
		}
	}
}

// TestEdgesAreThoseOfTheDiagram: every edge of the diagram has its row or its test,
// and there are no others.
func TestEdgesAreThoseOfTheDiagram(t *testing.T) {
	page, err := os.ReadFile("../docs/heartbeat.md")
	if err != nil {
		t.Fatal(err)
	}
	_, diagram, _ := strings.Cut(string(page), "stateDiagram-v2\n")
	diagram, _, _ = strings.Cut(diagram, "```")
	var drawn, known []string
	for line := range strings.Lines(diagram) {
		if edge := strings.TrimSpace(line); strings.Contains(edge, " --> ") {
			drawn = append(drawn, edge)
		}
	}
	for _, row := range edges {
		known = append(known, row.name)
	}
	for edge := range elsewhere {
		known = append(known, edge)
	}
	for _, edge := range drawn {
		if !slices.Contains(known, edge) {
			t.Errorf("docs/heartbeat.md has the edge %q; got no row for it, want one", edge)
		}
	}
	for _, edge := range known {
		if !slices.Contains(drawn, edge) {
			t.Errorf("there is a row for %q; got no such edge in docs/heartbeat.md, want one", edge)
		}
	}
}
