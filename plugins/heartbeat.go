package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// addHeartbeat adds a strategy that the plugin decides by, in batches. Its shadow is
// opened from cat.
func (p *Plugin) addHeartbeat(cat *spi.Catalog, info spi.Info) error {
	return cat.Heartbeats.Add(info, func(ctx context.Context, env spi.Env, with []byte) (spi.Heartbeat, error) {
		of := &pluginv1.Strategy{Name: info.Name, With: with, Role: string(env.Role)}
		w := wanted{kind: info.Kind, name: info.Name, with: string(with), role: string(env.Role)}
		number, err := p.prepare(ctx, w)
		if refused(ctx, err) {
			return nil, err
		}
		var timing spi.Timing
		if err == nil {
			timing, err = p.timing(ctx, of)
		}
		switch {
		case errors.Is(err, spi.ErrInvalid):
			return nil, err
		case err != nil:
			env.Log.WithError(err).Warn("the plugin cannot be asked; what stands in decides, with its own interval")
		}
		shadow, err := p.openShadow(ctx, cat, env, timing.Interval)
		if err != nil {
			return nil, err
		}
		use, err := p.keep(ctx, w, number, p.standIn(info.Kind), env.Log)
		if err != nil {
			return nil, errors.Join(err, closeOpened(shadow))
		}
		return newStrategy(p, of, shadow, timing, use), nil
	})
}

// The intervals that a strategy of a plugin may have.
const (
	shortestInterval = 100 * time.Millisecond
	longestInterval  = 10 * time.Minute
)

// timing asks for the Timing of a strategy. Errors: [spi.ErrInvalid] for a
// configuration that the plugin refuses, and for times that cannot be; others if it
// could not be asked.
func (p *Plugin) timing(ctx context.Context, of *pluginv1.Strategy) (spi.Timing, error) {
	reply, err := exchange(ctx, p, func(ctx context.Context, g *generation) (*pluginv1.TimingReply, error) {
		return pluginv1.NewHeartbeatStrategyClient(g.conn).Timing(ctx, &pluginv1.TimingRequest{Generation: g.number, Strategy: of})
	})
	if status.Code(err) == codes.InvalidArgument {
		return spi.Timing{}, fmt.Errorf("plugin %q: %w: %s", p.cfg.Name, spi.ErrInvalid, status.Convert(errors.Unwrap(err)).Message())
	}
	if err != nil {
		return spi.Timing{}, err
	}
	t := spi.Timing{Interval: time.Duration(reply.GetIntervalNanos()), Strikes: int(min(max(reply.GetStrikes(), 0), math.MaxInt32)), Silence: time.Duration(reply.GetSilenceNanos())}
	if t.Interval < shortestInterval || t.Interval > longestInterval {
		return spi.Timing{}, fmt.Errorf("plugin %q: %w: the interval of heartbeat %q is %v; want %v to %v, or use the heartbeat none", p.cfg.Name, spi.ErrInvalid, of.GetName(), t.Interval, shortestInterval, longestInterval)
	}
	return t, nil
}

// openShadow opens the built-in that judges beside the plugin, with an interval if it
// can have that; 0: its own.
func (p *Plugin) openShadow(ctx context.Context, cat *spi.Catalog, env spi.Env, interval time.Duration) (spi.Heartbeat, error) {
	kind := cat.Heartbeats.Kind()
	ref := spi.Ref{Use: p.standIn(kind)}
	fail := func(err error) error {
		return fmt.Errorf("open what stands in for the heartbeat of plugin %q, on_failure.%s: %w", p.cfg.Name, kind, err)
	}
	if ref.Use == spi.Fail || ref.Use == spi.LastGood {
		return nil, fail(fmt.Errorf("%w: %q is not for heartbeats; name a built-in, such as three-strike", spi.ErrInvalid, ref.Use))
	}
	found, err := cat.Heartbeats.Resolve(ref)
	if err != nil {
		return nil, fail(err)
	}
	if strings.HasPrefix(found.Info.Source, "plugin ") {
		return nil, fail(fmt.Errorf("%w: %q comes from %s; name a built-in, such as three-strike", spi.ErrInvalid, ref.Use, found.Info.Source))
	}
	if interval > 0 {
		with, err := json.Marshal(map[string]spi.Duration{"interval": spi.Duration(interval)})
		if err != nil {
			return nil, fail(err)
		}
		timed := spi.Ref{Use: ref.Use, With: spi.Raw{JSON: with}}
		if _, err := cat.Heartbeats.Resolve(timed); err == nil { // it has such a key, and can have that value
			ref = timed
		}
	}
	shadow, err := cat.Heartbeats.Open(ctx, env, ref)
	if err != nil {
		return nil, fail(err)
	}
	return shadow, nil
}

const (
	longestBucket = 250 * time.Millisecond // between two batches
	mostStrikes   = 20                     // of a Timing, as of a built-in
	mostShown     = 1000                   // strikes of a decision
	leastPatience = 2 * time.Minute        // a plugin may always keep a silent peer for so long, if its Timing says so
)

// strategy judges by a plugin's decisions as far as the guards let them through, and
// by a built-in beside it, its shadow, where there are none. docs/plugins.md has the
// table. Unlike a built-in strategy it remembers connections, so the same question
// may get another answer later; the State that it returns is that of the shadow.
type strategy struct {
	plugin *Plugin
	of     *pluginv1.Strategy
	shadow spi.Heartbeat
	use    *usage

	timing   spi.Timing    // what the host is told
	interval time.Duration // of the plugin
	bucket   time.Duration // between two batches
	floor    time.Duration // of silence, before which no peer is dead by the plugin's word
	patience time.Duration // of silence, after which the plugin cannot keep a peer
	grace    time.Duration // that a decision holds beyond its Next

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	asking  sync.WaitGroup // Add happens with mu held and closed false
	started time.Time      // zero of beat.seen

	mu      sync.Mutex // held for moments, never while the plugin or the shadow is asked
	closed  bool
	running bool // the goroutine that asks
	beats   map[uint64]*beat
	due     []*beat // whose question waits, in order
	batch   uint64  // number of the last batch
}

// beat is what is known of one connection.
type beat struct {
	seen     time.Duration // when it was asked about last, on the clock of the strategy
	asked    uint64        // batch that its question is in; waiting: not in one yet; 0: there is none
	question spi.Snapshot  // if asked is not 0
	retry    time.Duration // no question before, after one that had no answer

	state    spi.State    // that the plugin returned last
	decided  bool         // there is a decision
	decision spi.Decision // the last one
	basis    spi.Snapshot // that it is about
}

// waiting is no number of a batch.
const waiting = ^uint64(0)

// newStrategy returns the strategy of a plugin. A zero interval in timing means that
// the plugin was not asked, and that the shadow's Timing holds.
func newStrategy(p *Plugin, of *pluginv1.Strategy, shadow spi.Heartbeat, timing spi.Timing, use *usage) *strategy {
	own := shadow.Timing()
	if timing.Interval == 0 {
		timing = own
	}
	timing.Strikes = min(timing.Strikes, mostStrikes)
	strikes := timing.Strikes
	if strikes == 0 {
		strikes = max(own.Strikes, 1)
	}
	interval := timing.Interval
	h := &strategy{
		plugin: p, of: of, shadow: shadow, use: use, timing: timing, interval: interval,
		bucket:   max(min(longestBucket, interval/4), time.Millisecond),
		floor:    time.Duration(strikes) * interval,
		patience: min(timing.Silence, max(leastPatience, 2*time.Duration(strikes+1)*interval)),
		grace:    max(2*longestBucket, interval/4),
		started:  time.Now(), beats: make(map[uint64]*beat),
	}
	if interval < 2*longestBucket { // half a second would be many rounds
		h.grace = interval
	}
	if own.Interval > 0 { // the PINGs of both go out, and the peer must not be told of too few
		h.timing.Interval = min(interval, own.Interval)
	}
	h.timing.Silence = max(h.patience, own.Silence, interval) + h.look()
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// look is how long after a question its answer is there.
func (h *strategy) look() time.Duration { return h.bucket + h.bucket/2 }

// Timing returns that of the plugin, with the longest silence that the guards allow.
func (h *strategy) Timing() spi.Timing { return h.timing }

// Decide returns at once. It has the plugin asked when that is due.
func (h *strategy) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	d, next := h.shadow.Decide(s, st)
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.beats[s.ConnID]
	if b == nil {
		b = new(beat)
		h.beats[s.ConnID] = b
	}
	b.seen = time.Since(h.started)
	if b.asksNow(s) {
		h.ask(b, s)
	}
	return h.guard(b, s, d, st, next)
}

// Close ends a request that is under way and waits for it, after the last Decide.
func (h *strategy) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	h.asking.Wait()
	h.plugin.usages.remove(h.use)
	return closeOpened(h.shadow)
}

// due returns when the plugin wants to be asked.
func (b *beat) due() time.Duration {
	if !b.decided {
		return 0
	}
	return b.basis.Now + b.decision.Next
}

// asksNow reports whether the plugin is to be asked: when it wanted to be, or when a
// peer that it suspects has given a sign of life.
func (b *beat) asksNow(s spi.Snapshot) bool {
	if b.asked != 0 || s.Now < b.retry {
		return false
	}
	return s.Now >= b.due() || b.decision.Liveness == spi.Suspect && s.InCount != b.basis.InCount
}

// guard returns what is done: what the shadow decided, d, corrected by what the
// plugin decided last. next is the shadow's State after d, st that before it. mu is
// held.
func (h *strategy) guard(b *beat, s spi.Snapshot, d spi.Decision, st, next spi.State) (spi.Decision, spi.State) {
	if b.decided && s.Now <= b.due()+h.grace {
		says := b.decision
		switch {
		case says.Liveness == spi.Dead:
			if h.believes(b, s) {
				return spi.Decision{Liveness: spi.Dead, Next: h.bucket, Strikes: says.Strikes, Reason: whyDead(s)}, next
			}
		case d.Liveness != spi.Dead:
			d.Liveness, d.Strikes = says.Liveness, says.Strikes
		case s.Now-s.LastIn < h.patience:
			next = st // a death that does not come is not remembered
			d = spi.Decision{Liveness: spi.Suspect, Strikes: says.Strikes, SendPing: s.Now-s.LastPingAt >= h.interval, Next: h.bucket}
		}
		if says.SendPing && s.PingSeq == b.basis.PingSeq && !d.SendPing && d.Liveness != spi.Dead {
			wait := s.LastPingAt + h.interval/2 - s.Now
			d.SendPing = s.PingSeq == 0 || wait <= 0
			if !d.SendPing {
				d.Next = min(d.Next, wait)
			}
		}
	}
	if b.asked != 0 {
		d.Next = min(d.Next, h.look())
	} else if again := max(b.due(), b.retry); again > s.Now {
		d.Next = min(d.Next, again-s.Now)
	}
	return d, next
}

// believes reports whether a peer is dead by the plugin's word.
func (h *strategy) believes(b *beat, s spi.Snapshot) bool {
	switch {
	case s.InCount != b.basis.InCount || s.AckSeq != b.basis.AckSeq: // it spoke since
		return false
	case s.Now-s.LastIn < h.floor || s.PingSeq <= s.AckSeq:
		return false
	}
	return b.basis.Now-b.basis.Due <= h.interval/2
}

// whyDead returns the Reason of a death.
func whyDead(s spi.Snapshot) string {
	if s.WriteStalled {
		return spi.ReasonWriteStalled
	}
	return spi.ReasonHeartbeatTimeout
}
