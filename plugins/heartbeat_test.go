package plugins

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/heartbeat"
	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// threeStrikes opens the usual shadow.
func threeStrikes(t *testing.T, with string) spi.Heartbeat {
	t.Helper()
	cat := spi.NewCatalog()
	if err := heartbeat.Register(cat); err != nil {
		t.Fatal(err)
	}
	hb, err := cat.Heartbeats.Open(t.Context(), spi.Env{}, spi.Ref{Use: "three-strike", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	return hb
}

// unheard is a log for tests that run on every system.
func unheard() logrus.FieldLogger {
	log := logrus.New()
	log.Out = io.Discard
	return log
}

// byHand returns a strategy whose batches the test takes and answers itself.
func byHand(t *testing.T, p *Plugin, name string, timing spi.Timing) *strategy {
	t.Helper()
	h := newStrategy(p, &pluginv1.Strategy{Name: name, Role: string(spi.RoleConsumer)}, threeStrikes(t, ""), timing, &usage{log: unheard()})
	h.running = true
	return h
}

// TestShadow: it has the interval of the plugin, if it can.
func TestShadow(t *testing.T) {
	cat := spi.NewCatalog()
	if err := heartbeat.Register(cat); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, use      string
		interval, want time.Duration
	}{
		{"default", "", 7 * time.Second, 7 * time.Second},
		{"of a plugin that was not asked", "", 0, 5 * time.Second},
		{"which cannot have it", "phi-accrual", 7 * time.Second, 2 * time.Second},
		{"which has no such key", "idle", 7 * time.Second, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &Plugin{cfg: spi.PluginConfig{Name: "acme", OnFailure: map[string]string{"heartbeat": tt.use}}}
			shadow, err := p.openShadow(t.Context(), cat, spi.Env{Role: spi.RoleConsumer}, tt.interval)
			if err != nil || shadow.Timing().Interval != tt.want {
				t.Fatalf("openShadow: got %+v, %v, want an interval of %v", shadow, err, tt.want)
			}
			h := newStrategy(p, nil, shadow, spi.Timing{Interval: tt.interval}, &usage{log: unheard()})
			if got := h.Timing().Interval; got != tt.want { // or the peer would find PINGs too many
				t.Errorf("Timing: got an interval of %v, want the shorter one, %v", got, tt.want)
			}
		})
	}
}

// lived is a connection in plain arithmetic whose strategy a plugin takes part in.
type lived struct {
	h      *strategy
	until  time.Duration
	silent func(now time.Duration) bool            // the peer does not answer; nil: it always does
	says   func(s spi.Snapshot) *pluginv1.Decision // of the plugin; nil: no answer
	pause  func(now time.Duration) time.Duration   // how late this side is; nil: not at all
	look   func(d spi.Decision)                    // sees every decision; may be nil
}

// run returns when the peer was dead, 0 if it never was, with the silence before.
func (l lived) run(t *testing.T) (died, silence time.Duration) {
	t.Helper()
	s := spi.Snapshot{ConnID: 7}
	var st spi.State
	var d spi.Decision
	var answer time.Duration // when the batch under way is answered
	var number uint64
	var batch []asked
	for s.Due = time.Second; s.Due < l.until; s.Due = s.Now + max(d.Next, 100*time.Millisecond) {
		s.Now = s.Due
		if l.pause != nil {
			s.Now += l.pause(s.Due)
		}
		if len(batch) > 0 && answer <= s.Now {
			l.answer(number, batch)
			batch = nil
		}
		d, st = l.h.Decide(s, st)
		if l.look != nil {
			l.look(d)
		}
		if d.Liveness == spi.Dead {
			return s.Now, s.Now - s.LastIn
		}
		if d.Next <= 0 {
			t.Fatalf("after %v: got Next %v, want more than 0", s.Now, d.Next)
		}
		if len(batch) == 0 {
			number, batch = l.h.take()
			answer = s.Now + l.h.bucket
		}
		if d.SendPing {
			s.PingSeq++
			s.LastPingAt = s.Now
		}
		if l.silent == nil || !l.silent(s.Now) {
			if s.AckSeq < s.PingSeq {
				s.AckSeq, s.LastIn = s.PingSeq, s.Now
				s.PongCount++
				s.InCount++
			}
		}
	}
	return 0, 0
}

func (l lived) answer(number uint64, batch []asked) {
	reply := new(pluginv1.DecisionBatch)
	for _, a := range batch {
		d := l.says(a.question)
		if d == nil {
			_ = l.h.answered(number, batch, nil, errors.New("as the test asked"))
			return
		}
		d.Conn = a.question.ConnID
		reply.Decisions = append(reply.Decisions, d)
	}
	_ = l.h.answered(number, batch, reply, nil)
}

// always says the same.
func always(d *pluginv1.Decision) func(spi.Snapshot) *pluginv1.Decision {
	return func(spi.Snapshot) *pluginv1.Decision {
		return &pluginv1.Decision{Liveness: d.GetLiveness(), SendPing: d.GetSendPing(), NextNanos: d.GetNextNanos(), Strikes: d.GetStrikes()}
	}
}

func mute(spi.Snapshot) *pluginv1.Decision { return nil }

const (
	suspect = pluginv1.Decision_SUSPECT
	dead    = pluginv1.Decision_DEAD
)

// TestGuards: what a plugin says about a lively peer and about a dead one, and what
// is done. three-strike alone ends a peer that is silent for 20.1s.
func TestGuards(t *testing.T) {
	second := int64(time.Second)
	usual := spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: 21 * time.Second}
	declaring := func(silence time.Duration) spi.Timing {
		return spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: silence}
	}
	from := func(at time.Duration) func(time.Duration) bool {
		return func(now time.Duration) bool { return now >= at }
	}
	tests := []struct {
		name        string
		timing      spi.Timing
		silent      func(time.Duration) bool
		says        func(spi.Snapshot) *pluginv1.Decision
		least, most time.Duration // of silence before the death; 0: the peer lives
	}{
		{"lively, dead at once", usual, nil, always(&pluginv1.Decision{Liveness: dead, NextNanos: second}), 0, 0},
		{"lively, dead at once, one strike", spi.Timing{Interval: 5 * time.Second, Strikes: 1, Silence: 1}, nil, always(&pluginv1.Decision{Liveness: dead, NextNanos: second}), 0, 0},
		{"lively, suspect", usual, nil, always(&pluginv1.Decision{Liveness: suspect, NextNanos: second}), 0, 0},
		{"lively, no answer", usual, nil, mute, 0, 0},
		{"lively, never asked again", usual, nil, always(&pluginv1.Decision{NextNanos: 1 << 62}), 0, 0},
		{"silent, no answer", usual, from(time.Minute), mute, 15 * time.Second, 21 * time.Second},
		{"silent, dead at once", usual, from(time.Minute), always(&pluginv1.Decision{Liveness: dead, NextNanos: second}), 15 * time.Second, 16 * time.Second},
		{"silent, dead at once, one strike", spi.Timing{Interval: 5 * time.Second, Strikes: 1}, from(time.Minute), always(&pluginv1.Decision{Liveness: dead, NextNanos: second}), 5 * time.Second, 6 * time.Second},
		{"silent, dead at once, strikes not counted", spi.Timing{Interval: 5 * time.Second}, from(time.Minute), always(&pluginv1.Decision{Liveness: dead, NextNanos: second}), 15 * time.Second, 16 * time.Second},
		{"silent, alive for ever", declaring(24 * time.Hour), from(time.Minute), always(&pluginv1.Decision{NextNanos: second}), 120 * time.Second, 121 * time.Second},
		{"silent, alive for ever, a million strikes", spi.Timing{Interval: 5 * time.Second, Strikes: 1e6, Silence: 24 * time.Hour}, from(time.Minute), always(&pluginv1.Decision{NextNanos: second}), 210 * time.Second, 211 * time.Second},
		{"silent, suspect for ever", declaring(time.Minute), from(time.Minute), always(&pluginv1.Decision{Liveness: suspect, NextNanos: second}), 60 * time.Second, 61 * time.Second},
		{"silent, alive for ever, asked rarely", declaring(time.Minute), from(time.Minute), always(&pluginv1.Decision{NextNanos: 1 << 62}), 60 * time.Second, 61 * time.Second},
		{"silent, alive for ever, no times", declaring(0), from(time.Minute), always(&pluginv1.Decision{NextNanos: second}), 15 * time.Second, 21 * time.Second},
		{"silent, alive for ever, next 0", declaring(time.Minute), from(time.Minute), always(&pluginv1.Decision{}), 60 * time.Second, 61 * time.Second},
		{"silent, alive for ever, next negative", declaring(time.Minute), from(time.Minute), always(&pluginv1.Decision{NextNanos: -1 << 63}), 60 * time.Second, 61 * time.Second},
		{"silent and back, alive", declaring(time.Minute), func(now time.Duration) bool { return now > time.Minute && now < 95*time.Second }, always(&pluginv1.Decision{NextNanos: second}), 0, 0},
		{"silent, then the plugin is gone", declaring(time.Hour), from(time.Minute), func(s spi.Snapshot) *pluginv1.Decision {
			if s.Now > 95*time.Second {
				return nil
			}
			return &pluginv1.Decision{NextNanos: second}
		}, 35 * time.Second, 45 * time.Second},
		{"the plugin is gone, which wanted never to be asked again, then silent", declaring(time.Hour), from(time.Minute), func(s spi.Snapshot) *pluginv1.Decision {
			if s.Now > 30*time.Second {
				return nil
			}
			return &pluginv1.Decision{NextNanos: 1 << 62}
		}, 15 * time.Second, 21 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := byHand(t, new(Plugin), "x", tt.timing)
			defer h.Close()
			died, silence := lived{h: h, until: 10 * time.Minute, silent: tt.silent, says: tt.says}.run(t)
			if (died == 0) != (tt.most == 0) || silence < tt.least || silence > tt.most {
				t.Errorf("got death at %v after a silence of %v, want %v to %v", died, silence, tt.least, tt.most)
			}
			if silence > h.Timing().Silence {
				t.Errorf("got a silence of %v, want at most that of Timing, %v", silence, h.Timing().Silence)
			}
		})
	}
}

// TestGuardsPings: a plugin that wants a PING all the time gets two per interval, and
// one that wants none gets those of the shadow, or one per interval when that has
// given up.
func TestGuardsPings(t *testing.T) {
	for _, tt := range []struct {
		name        string
		ping, mute  bool
		least, most int
	}{
		{"always", true, false, 46, 50},
		{"never", false, false, 23, 25},
		{"always, mute", true, true, 46, 50},
		{"never, mute", false, true, 23, 25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := byHand(t, new(Plugin), "x", spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: time.Hour})
			defer h.Close()
			pings := 0
			lived{h: h, until: 2 * time.Minute, silent: func(time.Duration) bool { return tt.mute }, says: always(&pluginv1.Decision{SendPing: tt.ping}),
				look: func(d spi.Decision) {
					if d.SendPing {
						pings++
					}
				}}.run(t)
			if pings < tt.least || pings > tt.most {
				t.Errorf("got %d PINGs in 24 intervals, want %d to %d", pings, tt.least, tt.most)
			}
		})
	}
}

// TestGuardsBelief: a Dead counts only if nothing has happened since, and this side was
// in time itself.
func TestGuardsBelief(t *testing.T) {
	basis := spi.Snapshot{ConnID: 7, Due: 20 * time.Second, Now: 20 * time.Second, PingSeq: 4, AckSeq: 3, InCount: 3, LastIn: 14 * time.Second}
	after := basis
	after.Now, after.Due = 26*time.Second, 26*time.Second // still in force, with more than an interval of silence
	late, spoke, answered, stalled := basis, after, after, after
	late.Due -= 3 * time.Second
	spoke.InCount, spoke.LastIn = 4, 20*time.Second
	answered.PingSeq, answered.AckSeq = 5, 4
	stalled.WriteStalled = true
	for _, tt := range []struct {
		name         string
		basis, after spi.Snapshot
		want         string // reason of the death; "": not dead
	}{
		{"nothing happened", basis, after, spi.ReasonHeartbeatTimeout},
		{"write stalled", basis, stalled, spi.ReasonWriteStalled},
		{"late", late, after, ""},
		{"it spoke", basis, spoke, ""},
		{"it answered", basis, answered, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := byHand(t, new(Plugin), "x", spi.Timing{Interval: 5 * time.Second, Strikes: 1, Silence: 20 * time.Second})
			defer h.Close()
			_, st := h.Decide(tt.basis, spi.State{})
			number, batch := h.take()
			lived{h: h, says: always(&pluginv1.Decision{Liveness: dead, NextNanos: 1 << 62})}.answer(number, batch)
			if d, _ := h.Decide(tt.after, st); (d.Liveness == spi.Dead) != (tt.want != "") || tt.want != "" && d.Reason != tt.want {
				t.Errorf("Decide: got %+v, want dead by %q", d, tt.want)
			}
		})
	}
}

// TestGuardsPatience: the shadow does not remember a death that did not come.
func TestGuardsPatience(t *testing.T) {
	h := byHand(t, new(Plugin), "x", spi.Timing{Interval: 5 * time.Second, Strikes: 3, Silence: time.Hour})
	defer h.Close()
	s := spi.Snapshot{ConnID: 7}
	var st spi.State
	for {
		s.Now += time.Second
		s.Due = s.Now
		shadow, _ := h.shadow.Decide(s, st)
		d, next := h.Decide(s, st)
		number, batch := h.take()
		lived{h: h, says: always(&pluginv1.Decision{Strikes: 2})}.answer(number, batch)
		if shadow.Liveness == spi.Dead {
			if next != st || d.Liveness != spi.Suspect || d.Strikes != 2 || d.Reason != "" {
				t.Errorf("Decide: got %+v, State kept: %v, want suspect with 2 strikes, and true", d, next == st)
			}
			return
		}
		st = next
		if d.SendPing {
			s.PingSeq, s.LastPingAt = s.PingSeq+1, s.Now
		}
	}
}

// TestRefusedDecisions: what cannot be a decision counts as no answer.
func TestRefusedDecisions(t *testing.T) {
	tests := []struct {
		name      string
		decisions []*pluginv1.Decision
		want      string
		decided   bool
	}{
		{"good", []*pluginv1.Decision{{Conn: 7}}, "", true},
		{"none", nil, "no decision about connection 7", false},
		{"another connection", []*pluginv1.Decision{{Conn: 8}}, "not asked for", false},
		{"another connection too", []*pluginv1.Decision{{Conn: 7}, {Conn: 8}}, "not asked for", true},
		{"twice", []*pluginv1.Decision{{Conn: 7, Strikes: 1}, {Conn: 7, Strikes: 2}}, "not asked for", true},
		{"unknown liveness", []*pluginv1.Decision{{Conn: 7, Liveness: 3}}, "liveness 3", false},
		{"negative liveness", []*pluginv1.Decision{{Conn: 7, Liveness: -1}}, "liveness -1", false},
		{"long state", []*pluginv1.Decision{{Conn: 7, State: make([]byte, 129)}}, "state of 129 bytes", false},
		{"mad numbers", []*pluginv1.Decision{{Conn: 7, Strikes: -5, NextNanos: -5}}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := byHand(t, new(Plugin), "x", spi.Timing{Interval: time.Second, Strikes: 3, Silence: 5 * time.Second})
			defer h.Close()
			h.Decide(spi.Snapshot{ConnID: 7, Now: time.Second, Due: time.Second}, spi.State{})
			number, batch := h.take()
			err := h.answered(number, batch, &pluginv1.DecisionBatch{Decisions: tt.decisions}, nil)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("answered: got %v, want %q", err, tt.want)
			}
			b := h.beats[7]
			if b.decided != tt.decided || b.asked != 0 || len(h.beats) != 1 {
				t.Errorf("decided: got %v, want %v; asked in %d, want 0; %d connections, want 1", b.decided, tt.decided, b.asked, len(h.beats))
			}
			if d := b.decision; tt.decided && (d.Next < h.bucket || d.Strikes < 0 || d.Strikes > 1) {
				t.Errorf("decision: got %+v, want Next of at least %v and the strikes that were said first", d, h.bucket)
			}
		})
	}
	h := byHand(t, new(Plugin), "x", spi.Timing{Interval: time.Second, Strikes: 3, Silence: 5 * time.Second})
	defer h.Close()
	h.Decide(spi.Snapshot{ConnID: 7, Now: time.Second, Due: time.Second}, spi.State{})
	old, batch := h.take()
	_ = h.answered(old, batch, nil, errors.New("too late"))
	h.Decide(spi.Snapshot{ConnID: 7, Now: 3 * time.Second, Due: 3 * time.Second}, spi.State{})
	h.take()
	if fault := h.accept(old, &pluginv1.Decision{Conn: 7}); fault == nil {
		t.Error("an answer to the batch before: got nothing, want it refused")
	}
}

// TestForget: what nobody asks about is dropped, unless its answer is awaited.
func TestForget(t *testing.T) {
	h := byHand(t, new(Plugin), "x", spi.Timing{Interval: time.Second, Strikes: 3, Silence: 5 * time.Second})
	defer h.Close()
	for id := range uint64(3) {
		h.Decide(spi.Snapshot{ConnID: id, Now: time.Second, Due: time.Second}, spi.State{})
	}
	number, batch := h.take()
	lived{h: h, says: always(nil)}.answer(number, batch)
	h.beats[0].seen -= 2*h.timing.Silence + time.Second
	h.beats[1].seen -= 2*h.timing.Silence + time.Second
	h.beats[1].asked = waiting
	if more := h.forget(); !more || len(h.beats) != 2 || h.beats[0] != nil {
		t.Errorf("forget: got %d connections, %v, want all but the first", len(h.beats), more)
	}
	h.beats[1].asked = 0
	h.beats[2].seen -= 2*h.timing.Silence + time.Second
	if more := h.forget(); more || len(h.beats) != 0 {
		t.Errorf("forget: got %d connections, %v, want none", len(h.beats), more)
	}
}

// TestDecideWithoutAllocations: a question that the plugin is not asked costs none.
func TestDecideWithoutAllocations(t *testing.T) {
	h := byHand(t, new(Plugin), "x", spi.Timing{Interval: time.Second, Strikes: 3, Silence: 5 * time.Second})
	defer h.Close()
	s := spi.Snapshot{ConnID: 7, Now: time.Second, Due: time.Second}
	_, st := h.Decide(s, spi.State{})
	if got := testing.AllocsPerRun(100, func() { _, st = h.Decide(s, st) }); got != 0 {
		t.Errorf("Decide: got %v allocations, want 0", got)
	}
}

// answering is the other side of a heartbeat, which answers with so many decisions.
type answering struct {
	pluginv1.UnimplementedHeartbeatStrategyServer
	decision  *pluginv1.Decision
	decisions int
}

func (a answering) DecideBatch(_ context.Context, in *pluginv1.SnapshotBatch) (*pluginv1.DecisionBatch, error) {
	return &pluginv1.DecisionBatch{Generation: in.GetGeneration(), Decisions: slices.Repeat([]*pluginv1.Decision{a.decision}, a.decisions)}, nil
}

// TestDecisionsAreBounded: a whole batch of the largest ones comes through, and not
// thousands for one question.
func TestDecisionsAreBounded(t *testing.T) {
	largest := &pluginv1.Decision{Conn: math.MaxUint64, State: make([]byte, len(spi.State{})), Liveness: pluginv1.Decision_DEAD, SendPing: true, NextNanos: -1, Strikes: -1}
	tests := []struct {
		name   string
		asked  int
		answer answering
		want   codes.Code
	}{
		{"the largest", mostAsked, answering{decision: largest, decisions: mostAsked}, codes.OK},
		{"far too many", 1, answering{decision: new(pluginv1.Decision), decisions: 100_000}, codes.ResourceExhausted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			listener := bufconn.Listen(1 << 20)
			server := grpc.NewServer()
			pluginv1.RegisterHeartbeatStrategyServer(server, tt.answer)
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(listener) })
			defer serving.Wait()
			defer server.Stop()
			conn, err := grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			p := &Plugin{cfg: spi.PluginConfig{CallTimeout: spi.Duration(time.Minute)}, turns: make(chan struct{}, 1)}
			p.ready.Store(&generation{number: 1, conn: conn})
			h := &strategy{plugin: p, ctx: t.Context()}
			reply, err := h.exchange(make([]asked, tt.asked))
			if status.Code(err) != tt.want || err == nil && len(reply.GetDecisions()) != tt.answer.decisions {
				t.Errorf("exchange: got %d decisions, %v, want %d, %v", len(reply.GetDecisions()), err, tt.answer.decisions, tt.want)
			}
		})
	}
}
