package drill

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// patience is how long the tool waits for what has no bound of its own: a connection,
// goroutines that end.
const patience = 10 * time.Second

// Run drills once and prints the time line and the result on out. It returns whether
// everything held; an error is about wrong use or a wrong configuration. The end of
// ctx ends the drill as one that failed. When it returns, nothing of it is left.
func Run(ctx context.Context, cfg Config, out io.Writer) (passed bool, err error) {
	if err := cfg.Validate(); err != nil {
		return false, err
	}
	kind, err := cfg.kind()
	if err != nil {
		return false, err
	}
	j := newJournal(out)
	s, err := open(ctx, cfg, j, kind.plan(cfg))
	if err != nil {
		return false, err
	}
	d := &drill{stage: s, ctx: ctx, load: s.load(), patience: patience}
	if d.prepare() {
		kind.run(d)
		d.finish()
	}
	s.link.Heal() // whatever came in between
	d.load.end()
	if err := s.close(); err != nil {
		d.fault("close: %v", err)
	}
	if ctx.Err() != nil {
		d.fault("interrupted")
	}
	if len(d.faults) > 0 && j.starved() {
		d.fault("and this process was starved, which is no peer's fault: try again")
	}
	d.result(out)
	return len(d.faults) == 0, nil
}

// drill is one drill under way.
type drill struct {
	*stage
	ctx  context.Context
	load *load

	patience time.Duration
	broke    time.Time // when the link was broken
	holding  sync.WaitGroup
	release  context.CancelFunc // ends the call that is held; nil: there is none

	before, after held // resources
	found         string
	faults        []string
}

// held is what this process holds.
type held struct{ goroutines, descriptors int }

func holds() held {
	h := held{goroutines: runtime.NumGoroutine()}
	h.descriptors, _ = descriptors()
	return h
}

// fault notes why the drill fails.
func (d *drill) fault(format string, args ...any) {
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

// await waits until met, which is asked when something happened, and returns whether
// it was within limit.
func (d *drill) await(limit time.Duration, met func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		d.journal.mu.Lock()
		changed := d.journal.changed
		d.journal.mu.Unlock()
		if met() {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return met()
		case <-d.ctx.Done():
			return false
		}
	}
}

// pass lets time pass.
func (d *drill) pass(t time.Duration) { d.await(t, func() bool { return false }) }

// prepare waits for every connection, makes calls for two intervals, and counts what
// is held without them. It returns false if that fails.
func (d *drill) prepare() bool {
	want := len(d.endpoints) * len(d.consumers)
	connected := func() bool { return d.journal.count("consumer", time.Time{}, is[core.Connected]) >= want }
	if !d.await(d.patience, connected) {
		d.fault("not connected to every provider within %v", d.patience)
		return false
	}
	if err := d.reachable(d.load); err != nil {
		d.fault("first call: %v", err)
		return false
	}
	d.warm()
	d.load.begin()
	d.pass(max(d.cfg.Interval, 2*d.cfg.Interval-time.Since(d.journal.start)))
	d.load.end()
	d.before = holds()
	d.load.begin()
	return d.ctx.Err() == nil
}

// warm makes either provider of a pair start as many workers as it will need: they
// stay, and would be counted as a leak.
func (d *drill) warm() {
	if len(d.own) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(d.ctx, d.patience)
	defer cancel()
	ready := func() bool { return d.own["a"].ready() && d.own["b"].ready() }
	var calling sync.WaitGroup
	for range len(d.own) * workers {
		calling.Go(func() {
			for !ready() && d.load.callUnder(ctx, d.consumers[0], "Practice.Gather", nil) == nil {
			}
		})
	}
	calling.Wait()
	if !ready() {
		d.fault("the providers are not called by turns")
	}
}

// is reports whether an event is of a type.
func is[T any](what any) bool { _, ok := what.(T); return ok }

// hold keeps one handler busy at provider a, until its connection ends; then the call
// is made again elsewhere.
func (d *drill) hold() {
	a, ok := d.own["a"]
	if !ok {
		return
	}
	var ctx context.Context
	ctx, d.release = context.WithCancel(d.ctx)
	for range 1000 {
		answered := make(chan struct{})
		d.holding.Go(func() {
			defer close(answered)
			err := d.load.callUnder(ctx, d.consumers[0], "Practice.Hold", nil)
			if ctx.Err() == nil {
				d.load.count(err)
			}
		})
		select {
		case <-a.held:
			return
		case <-answered: // by another provider
		}
	}
}

// phase waits for the moment to break the link, which is early in a round of the
// consumer's heartbeat, and not in the first tenth of one of the provider's: so three
// unanswered heartbeats are well within their bound and four are beyond it.
func (d *drill) phase() {
	ctx, cancel := context.WithTimeout(d.ctx, d.patience)
	defer cancel()
	interval := d.cfg.Interval
	if d.link.ToProvider.AwaitPing(ctx) != nil {
		d.fault("the consumer sends no heartbeat")
		return
	}
	own, theirs := d.link.ToProvider.LastPing(), d.link.ToConsumer.LastPing()
	at := own.Add(interval * 3 / 10)
	for _, percent := range []time.Duration{30, 25, 35, 20} {
		at = own.Add(interval * percent / 100)
		if into := at.Sub(theirs) % interval; into > interval/10 && into < interval*97/100 {
			break
		}
	}
	d.pass(time.Until(at))
	for range 1000 { // so that the last byte before the silence is of this moment
		if d.load.method == "" || d.link.ToConsumer.LastByte().After(at) || d.load.call(d.consumers[0], d.load.method, d.load.args) != nil {
			break
		}
	}
}

// doing breaks the link and says how.
func (d *drill) doing(what string, fault func()) {
	d.journal.line("drill", "%s", what)
	d.broke = time.Now()
	fault()
}

// heal mends the link.
func (d *drill) heal() {
	d.link.Heal()
	d.journal.line("drill", "link healed")
}

// lost returns the end of the connection that went through the link, as one side saw
// it.
func (d *drill) lost(who string) (event, core.Disconnected, bool) {
	e, ok := d.journal.first(who, d.broke, func(what any) bool {
		lost, ok := what.(core.Disconnected)
		return ok && (who != "consumer" || lost.Peer == d.endpoints[0])
	})
	end, _ := e.what.(core.Disconnected)
	return e, end, ok
}

// dead waits until one side finds the other dead by its heartbeat, and holds the time
// since a last sign of life against the promise.
func (d *drill) dead(who string, last func() time.Time) (took time.Duration) {
	limit := 2 * d.cfg.latest()
	if !d.await(limit, func() bool { _, _, ok := d.lost(who); return ok }) {
		d.fault("%s: silence was not noticed within %v", side(who), limit)
		return 0
	}
	e, end, _ := d.lost(who)
	took = e.at.Sub(last())
	switch {
	case end.Reason != spi.ReasonHeartbeatTimeout:
		d.fault("%s: the connection ended by %s, not by its heartbeat", side(who), end.Reason)
	case took < d.cfg.earliest():
		d.fault("%s: found dead after %v, before %d x interval", side(who), short(took), promised)
	case took > d.cfg.latest():
		d.fault("%s: found dead after %v, later than %v", side(who), short(took), d.cfg.latest())
	}
	return took
}

func side(who string) string {
	if who == "consumer" {
		return who
	}
	return "provider " + who
}

// foundDead is dead for the consumer, and what the result says.
func (d *drill) foundDead() {
	if took := d.dead("consumer", d.link.ToConsumer.LastByte); took > 0 {
		d.found = fmt.Sprintf("detected in %v (bound %d x interval .. %d x interval + 100ms)", short(took), promised, promised+1)
	}
}

// back waits until the consumer is connected again through the link.
func (d *drill) back() {
	met := func() bool {
		_, ok := d.journal.first("consumer", d.broke, func(what any) bool {
			r, ok := what.(core.Reconnected)
			return ok && r.Peer == d.endpoints[0]
		})
		return ok
	}
	if !d.await(d.patience, met) {
		d.fault("not reconnected within %v", d.patience)
	}
}

// finish calls on for an interval, and looks whether everything is as before.
func (d *drill) finish() {
	d.pass(d.cfg.Interval)
	d.link.Heal()
	if d.release != nil {
		d.release()
	}
	d.load.end()
	d.holding.Wait()
	others := d.journal.count("consumer", d.broke, func(what any) bool {
		lost, ok := what.(core.Disconnected)
		return ok && lost.Peer != d.endpoints[0]
	})
	if others > 0 {
		d.fault("%s lost that did not go through the link", many(others, "connection"))
	}
	if _, failed, first := d.load.made(); failed > 0 && (len(d.endpoints) > 1 || d.journal.crowd) {
		d.fault("%s failed, the first: %v", many(failed, "call"), first)
	}
	d.settle()
}

// settle waits until no more is held than before, which is what is promised.
func (d *drill) settle() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d.patience); ; <-tick.C {
		d.after = holds()
		kept := d.after.goroutines > d.before.goroutines || d.after.descriptors > d.before.descriptors
		if !kept || d.ctx.Err() != nil {
			return
		}
		if time.Now().After(end) {
			d.fault("goroutines or descriptors leak")
			return
		}
	}
}

// result prints the last line.
func (d *drill) result(out io.Writer) {
	parts := []string{"RESULT pass"}
	if len(d.faults) > 0 {
		parts[0] = "RESULT fail (" + strings.Join(d.faults, "; ") + ")"
	}
	if d.found != "" {
		parts = append(parts, d.found)
	}
	if d.after.goroutines > 0 {
		parts = append(parts, fmt.Sprintf("goroutines %d -> %d", d.before.goroutines, d.after.goroutines))
		if _, ok := descriptors(); ok {
			parts = append(parts, fmt.Sprintf("fds %d -> %d", d.before.descriptors, d.after.descriptors))
		}
		calls, failed, _ := d.load.made()
		parts = append(parts, fmt.Sprintf("calls=%d retried=%d failed=%d", calls, max(0, d.hit()-failed), failed))
	}
	fmt.Fprintln(out, strings.Join(parts, "   "))
}

// hit returns how many calls a lost connection ended: all of them were made again.
func (d *drill) hit() (n int) {
	d.journal.count("consumer", d.broke, func(what any) bool {
		if lost, ok := what.(core.Disconnected); ok {
			for _, calls := range lost.Failed {
				n += calls
			}
		}
		return false
	})
	return n
}
