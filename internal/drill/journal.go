package drill

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// journal is what was seen, in order, and prints it as it comes.
type journal struct {
	start time.Time

	mu      sync.Mutex
	out     io.Writer
	quiet   bool
	crowd   bool // there are too many consumers to print what happens to each
	seen    []event
	changed chan struct{}     // closed, and replaced, when an event comes
	names   map[string]string // of endpoints, by address
}

// event is one thing that happened, with when this tool learnt of it.
type event struct {
	at   time.Time
	who  string // "consumer", or the name of a provider
	what any    // one of core's events
}

func newJournal(out io.Writer) *journal {
	return &journal{start: time.Now(), out: out, changed: make(chan struct{}), names: make(map[string]string)}
}

// line prints one line: when, what, to whom.
func (j *journal) line(what, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.print(time.Now(), what, format, args...)
}

// print is line, with mu held.
func (j *journal) print(at time.Time, what, format string, args ...any) {
	if !j.quiet {
		text := fmt.Sprintf("%06.3f %-14s %s", at.Sub(j.start).Seconds(), what, fmt.Sprintf(format, args...))
		fmt.Fprintln(j.out, strings.TrimRight(text, " "))
	}
}

// silence keeps everything that still happens from being printed.
func (j *journal) silence() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.quiet = true
}

// note takes an event and prints what tell makes of it; "" prints nothing. tell is
// called with mu held.
func (j *journal) note(who string, what any, tell func() (word, text string)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := event{time.Now(), who, what}
	if word, text := tell(); word != "" && !j.crowd {
		j.print(e.at, word, "%s", text)
	}
	j.seen = append(j.seen, e)
	close(j.changed)
	j.changed = make(chan struct{})
}

// starved reports whether this process was too late to judge a heartbeat.
func (j *journal) starved() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.seen, func(e event) bool { return is[core.LocalPause](e.what) })
}

// first returns the first event of somebody that was seen not before a time and that
// match accepts.
func (j *journal) first(who string, after time.Time, match func(what any) bool) (event, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.seen {
		if e.who == who && !e.at.Before(after) && match(e.what) {
			return e, true
		}
	}
	return event{}, false
}

// count returns how many events of somebody match accepts.
func (j *journal) count(who string, after time.Time, match func(what any) bool) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.seen {
		if e.who == who && !e.at.Before(after) && match(e.what) {
			n++
		}
	}
	return n
}

// name is what an endpoint is called, by its address. mu is held.
func (j *journal) name(address string) string {
	if name, ok := j.names[address]; ok {
		return name
	}
	return address
}

// consumer returns an observer of the consumer.
func (j *journal) consumer() *core.Observer {
	const who = "consumer"
	known := make(map[string]bool) // endpoints that were connected; guarded by mu
	return &core.Observer{
		Connected: func(c core.Connected) {
			j.note(who, c, func() (string, string) {
				if known[c.Peer] {
					return "", "" // Reconnected follows
				}
				known[c.Peer] = true
				return "connected", fmt.Sprintf("conn=%d endpoint=%s interval=%v strikes=%d", c.ID, j.name(c.Peer), c.Heartbeat.Interval, c.Heartbeat.Strikes)
			})
		},
		Strike: func(s core.Strike) {
			j.note(who, s, func() (string, string) {
				if s.Of > 0 && s.N >= s.Of {
					return "", "" // Disconnected follows
				}
				text := fmt.Sprintf("conn=%d endpoint=%s strike=%d/%d silent=%v in-flight=%d", s.ID, j.name(s.Peer), s.N, s.Of, short(s.Silent), s.InFlight)
				if s.N == 1 && len(j.names) > 1 {
					text += "   picker: avoided"
				}
				return "suspect", text
			})
		},
		Recovered: func(r core.Recovered) {
			j.note(who, r, func() (string, string) {
				return "recovered", fmt.Sprintf("conn=%d endpoint=%s strikes=%d", r.ID, j.name(r.Peer), r.Strikes)
			})
		},
		LocalPause: func(p core.LocalPause) {
			j.note(who, p, func() (string, string) {
				return "local pause", fmt.Sprintf("conn=%d endpoint=%s late=%v: this process was starved", p.ID, j.name(p.Peer), short(p.Late))
			})
		},
		Disconnected: func(d core.Disconnected) {
			j.note(who, d, func() (string, string) { return j.lost(d) })
		},
		Reconnected: func(r core.Reconnected) {
			j.note(who, r, func() (string, string) {
				return "reconnected", fmt.Sprintf("conn=%d endpoint=%s attempt=%d down=%v", r.ID, j.name(r.Peer), r.Attempt, short(r.Down))
			})
		},
	}
}

// lost is the line about the end of a consumer's connection.
func (j *journal) lost(d core.Disconnected) (word, text string) {
	word, text = "lost", fmt.Sprintf("conn=%d endpoint=%s reason=%s action=reconnect", d.ID, j.name(d.Peer), d.Reason)
	if d.Reason == spi.ReasonHeartbeatTimeout {
		word, text = "dead", fmt.Sprintf("conn=%d endpoint=%s strike=%d/%d action=reconnect", d.ID, j.name(d.Peer), d.Strikes, d.Strikes)
	}
	failed, sent := 0, ""
	for _, s := range []spi.Sent{spi.SentNo, spi.SentMaybe, spi.SentPartial} {
		if n := d.Failed[s]; n > 0 {
			failed += n
			sent = string(s)
		}
	}
	if failed > 0 {
		text += fmt.Sprintf("   in-flight failed: %d (UNAVAILABLE, sent=%s; idempotent, so made again)", failed, sent)
	}
	return word, text
}

// provider returns an observer of a provider.
func (j *journal) provider(name string) *core.Observer {
	return &core.Observer{
		Connected: func(c core.Connected) { j.note(name, c, nothing) },
		Strike:    func(s core.Strike) { j.note(name, s, nothing) },
		Recovered: func(r core.Recovered) { j.note(name, r, nothing) },
		LocalPause: func(p core.LocalPause) {
			j.note(name, p, func() (string, string) {
				return "provider " + name, fmt.Sprintf("local pause late=%v: this process was starved", short(p.Late))
			})
		},
		Superseded: func(s core.Superseded) { j.note(name, s, nothing) },
		Disconnected: func(d core.Disconnected) {
			j.note(name, d, func() (string, string) {
				why := "reason=" + d.Reason
				if d.Reason == spi.ReasonHeartbeatTimeout {
					why = fmt.Sprintf("strike=%d/%d action=disconnect", d.Strikes, d.Strikes)
				}
				return "provider " + name, fmt.Sprintf("%-30s freed: 1 conn, %s cancelled", why, many(d.Cancelled, "handler"))
			})
		},
	}
}

func nothing() (word, text string) { return "", "" }

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// short rounds a duration for people.
func short(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
