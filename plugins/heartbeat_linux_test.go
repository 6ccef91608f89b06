package plugins

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
)

// saysConfig configures the heartbeat of the tests' plugin, which says what it is told.
type saysConfig struct {
	Interval spi.Duration `json:"interval" doc:"between two PINGs"`
	Silence  spi.Duration `json:"silence" doc:"longest"`
	Says     string       `json:"says" doc:"of every peer" oneof:"alive,suspect,dead,nothing,panic"`
}

// Validate refuses a negative silence.
func (c *saysConfig) Validate() error {
	if c.Silence < 0 {
		return errors.New("silence: is negative")
	}
	return nil
}

func openSays(_ context.Context, env spi.Env, cfg saysConfig) (spi.Heartbeat, error) {
	if env.Role == spi.RoleProvider {
		cfg.Interval *= 2
	}
	return says{cfg}, nil
}

type says struct{ cfg saysConfig }

func (s says) Timing() spi.Timing {
	return spi.Timing{Interval: s.cfg.Interval.D(), Strikes: 3, Silence: s.cfg.Silence.D()}
}

// Decide counts its questions in the State and says so by the strikes.
func (s says) Decide(_ spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	st[127]++
	d := spi.Decision{Next: s.cfg.Interval.D() / 2, SendPing: true, Strikes: int(st[127])}
	switch s.cfg.Says {
	case "suspect":
		d.Liveness = spi.Suspect
	case "dead":
		d.Liveness = spi.Dead
	case "nothing":
		time.Sleep(time.Hour) // of the process, which is ended
	case "panic":
		panic("as the test asked")
	}
	return d, st
}

func serveHeartbeats() {
	cat := spi.NewCatalog()
	cfg := saysConfig{Interval: spi.Duration(100 * time.Millisecond), Silence: spi.Duration(700 * time.Millisecond), Says: "alive"}
	if err := spi.Register(cat.Heartbeats, "says", "Says what it is told.", cfg, openSays); err != nil {
		panic(err)
	}
	if err := Serve(cat); err != nil {
		panic(err)
	}
}

// openHeartbeats starts the plugin of the tests and registers it beside the built-ins.
func openHeartbeats(t *testing.T, change func(*spi.PluginConfig)) (*Plugin, *spi.Catalog) {
	t.Helper()
	cfg, _ := asPlugin(t, "heartbeats")
	cfg.CallTimeout = spi.Duration(10 * time.Second) // the machine may be busy
	if change != nil {
		change(&cfg)
	}
	p, err := Open(t.Context(), cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	cat := spi.NewCatalog()
	if err := errors.Join(heartbeat.Register(cat), p.Register(cat)); err != nil {
		t.Fatal(err)
	}
	return p, cat
}

// openStrategy opens the heartbeat of the tests' plugin.
func openStrategy(t *testing.T, cat *spi.Catalog, role spi.Role, with string) *strategy {
	t.Helper()
	hb, err := cat.Heartbeats.Open(t.Context(), spi.Env{Role: role, Log: quiet()}, spi.Ref{Use: "says", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hb.(*strategy).Close() })
	return hb.(*strategy)
}

// wire is a connection that a Sweeper watches; its peer answers every PING at once
// until it is mute.
type wire struct {
	mute  atomic.Bool
	in    atomic.Uint64
	last  atomic.Int64
	start time.Time
	pings chan uint64       // of those that were answered; full: not told
	dead  chan spi.Snapshot // the death

	mu   sync.Mutex
	beat *heartbeat.Beat
}

func watchWire(t *testing.T, h *strategy) *wire {
	t.Helper()
	s := heartbeat.NewSweeper(h)
	t.Cleanup(s.Close)
	w := &wire{start: time.Now(), pings: make(chan uint64, 1), dead: make(chan spi.Snapshot, 1)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beat = s.Watch(w, 1, spi.RoleConsumer)
	return w
}

func (w *wire) Observe(s *spi.Snapshot) {
	s.InCount, s.LastIn = w.in.Load(), time.Duration(w.last.Load())
}

func (w *wire) Ping(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mute.Load() {
		return
	}
	w.last.Store(int64(time.Since(w.start)))
	w.in.Add(1)
	w.beat.Pong(seq)
	w.beat.Alive()
	select {
	case w.pings <- seq:
	default:
	}
}

func (w *wire) Judged(s spi.Snapshot, _ int, d spi.Decision) {
	if d.Liveness == spi.Dead {
		w.dead <- s
	}
}

// TestHeartbeatOfAPlugin: it decides, what it remembers comes back, and each side has
// its own.
func TestHeartbeatOfAPlugin(t *testing.T) {
	_, cat := openHeartbeats(t, nil)
	h := openStrategy(t, cat, spi.RoleProvider, `{"interval": "1s", "silence": "9s", "says": "suspect"}`)
	if got, want := h.Timing(), (spi.Timing{Interval: 2 * time.Second, Strikes: 3, Silence: 9*time.Second + h.look()}); got != want {
		t.Errorf("Timing: got %+v, want %+v", got, want)
	}
	h.mu.Lock()
	h.running = true // the test asks itself
	h.mu.Unlock()
	var st spi.State
	var d spi.Decision
	s := spi.Snapshot{ConnID: 1, Role: spi.RoleProvider}
	for round := range 3 {
		s.Now += time.Second
		s.Due = s.Now
		d, st = h.Decide(s, st)
		if want := round; d.Strikes != want {
			t.Errorf("round %d: got %+v, want the plugin's answer to question %d", round, d, want)
		}
		number, batch := h.take()
		reply, err := h.exchange(batch)
		if err := h.answered(number, batch, reply, err); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ name, with, want string }{
		{"refused by Validate", `{"silence": "-1s"}`, "silence: is negative"},
		{"misspelt key", `{"intervall": "1s"}`, `did you mean "interval"?`},
		{"interval", `{"interval": "1ms"}`, "want 100ms to 10m0s"},
		{"no interval", `{"interval": "0s"}`, "use the heartbeat none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := cat.Heartbeats.Open(t.Context(), spi.Env{Role: spi.RoleConsumer, Log: quiet()}, spi.Ref{Use: "says", With: spi.Raw{JSON: []byte(tt.with)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestHeartbeatBatch: a thousand connections go in one message.
func TestHeartbeatBatch(t *testing.T) {
	_, cat := openHeartbeats(t, nil)
	h := openStrategy(t, cat, spi.RoleConsumer, "")
	h.mu.Lock()
	h.running = true // the test asks itself
	h.mu.Unlock()
	for id := range uint64(1000) {
		h.Decide(spi.Snapshot{ConnID: id, Now: time.Second, Due: time.Second}, spi.State{})
	}
	number, batch := h.take()
	if len(batch) != 1000 {
		t.Fatalf("take: got %d questions, want 1000", len(batch))
	}
	reply, err := h.exchange(batch)
	if err := h.answered(number, batch, reply, err); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(1000) {
		if b := h.beats[id]; !b.decided || b.decision.Strikes != 1 {
			t.Fatalf("connection %d: got %+v, want a decision", id, b.decision)
		}
	}
	if number, batch := h.take(); len(batch) != 0 {
		t.Errorf("take: got batch %d of %d questions, want none", number, len(batch))
	}
}

// lively waits until a peer has answered some PINGs.
func (w *wire) lively(t *testing.T) {
	t.Helper()
	for range 4 {
		select {
		case <-w.pings:
		case s := <-w.dead:
			t.Fatalf("got death of a lively peer: %+v", s)
		}
	}
}

// dies waits until a mute peer is dead.
func (w *wire) dies(t *testing.T) {
	t.Helper()
	if s := <-w.dead; s.Now-s.LastIn < 300*time.Millisecond {
		t.Errorf("got death after a silence of %v, want at least three intervals", s.Now-s.LastIn)
	}
}

// TestHeartbeatShadow: a dead peer is found, and a lively one is not, whatever the
// plugin says.
func TestHeartbeatShadow(t *testing.T) {
	_, cat := openHeartbeats(t, func(c *spi.PluginConfig) { c.CallTimeout = spi.Duration(time.Second) })
	all := []string{"alive", "suspect", "dead", "panic", "nothing"}
	wires := map[string]*wire{}
	for _, says := range all {
		wires[says] = watchWire(t, openStrategy(t, cat, spi.RoleConsumer, `{"says": "`+says+`"}`))
	}
	for _, says := range all {
		t.Run("lively, "+says, func(t *testing.T) { wires[says].lively(t) })
	}
	for _, w := range wires {
		w.mute.Store(true)
	}
	for _, says := range all {
		t.Run("mute, "+says, func(t *testing.T) { wires[says].dies(t) })
	}
}

// TestHeartbeatOfAPluginThatIsGone: a dead peer is found.
func TestHeartbeatOfAPluginThatIsGone(t *testing.T) {
	for _, harm := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		t.Run(harm.String(), func(t *testing.T) {
			p, cat := openHeartbeats(t, func(c *spi.PluginConfig) {
				c.CallTimeout, c.Restart.Base, c.Restart.Cap = spi.Duration(time.Second), spi.Duration(time.Hour), spi.Duration(time.Hour)
			})
			w := watchWire(t, openStrategy(t, cat, spi.RoleConsumer, ""))
			w.lively(t)
			if err := syscall.Kill(p.ready.Load().process.cmd.Process.Pid, harm); err != nil {
				t.Fatal(err)
			}
			w.lively(t)
			w.mute.Store(true)
			w.dies(t)
		})
	}
}

// TestHeartbeatWithoutAPlugin: what stands in decides, and cannot be just anything.
func TestHeartbeatWithoutAPlugin(t *testing.T) {
	for _, tt := range []struct{ name, onFailure, want string }{
		{"default", "", ""},
		{"named", "phi-accrual", ""},
		{"fail", "fail", "not for heartbeats"},
		{"last-good", "last-good", "not for heartbeats"},
		{"misspelt", "three-strik", `did you mean "three-strike"?`},
		{"itself", "says", "comes from plugin acme"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &Plugin{cfg: spi.PluginConfig{Name: "acme", OnFailure: map[string]string{"heartbeat": tt.onFailure}}.Filled(), log: quiet(), turns: make(chan struct{}, 1),
				extensions: []spi.Info{{Kind: "heartbeat", Name: "says", Source: "plugin acme"}}}
			cat := spi.NewCatalog()
			if err := errors.Join(heartbeat.Register(cat), p.Register(cat)); err != nil {
				t.Fatal(err)
			}
			hb, err := cat.Heartbeats.Open(t.Context(), spi.Env{Role: spi.RoleConsumer, Log: quiet()}, spi.Ref{Use: "says"})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Open: got %v, want %q", err, tt.want)
			}
			if err != nil {
				return
			}
			defer hb.(*strategy).Close()
			if got := hb.Timing().Interval; got < time.Second {
				t.Errorf("Timing: got an interval of %v, want that of the built-in", got)
			}
			if d, _ := hb.Decide(spi.Snapshot{ConnID: 1}, spi.State{}); !d.SendPing || d.Next <= 0 {
				t.Errorf("Decide: got %+v, want what the built-in says", d)
			}
		})
	}
}
