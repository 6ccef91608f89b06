package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const (
	healthEvery   = 2 * time.Second
	healthTime    = time.Second // for one answer
	healthStrikes = 3           // failures in a row that end a process
	drainLimit    = 10 * time.Second
)

// The states of a plugin, drawn in docs/plugins.md.
const (
	stateStarting = "starting"
	stateReady    = "ready"
	stateKilling  = "killing"
	stateBackoff  = "backoff"
	stateOpen     = "open"
	stateStopped  = "stopped"
)

var (
	errStopped = errors.New("stopped")
	errHealth  = fmt.Errorf("%d health checks in a row failed", healthStrikes)
	errLate    = fmt.Errorf("%d exchanges in a row were not answered in time", lateStrikes)
)

// order asks the supervisor for another process.
type order struct {
	sha256 string
	done   chan<- error // gets one value
}

// firstStart is the start that somebody waits for.
type firstStart struct {
	ctx  context.Context // bounds it
	done chan<- error    // gets one value
}

// supervise walks the states until ctx ends. Without a first start the plugin begins as
// one that ended.
func (p *Plugin) supervise(ctx context.Context, first *firstStart) {
	runtime.LockOSThread() // processes end with the thread that started them; this one ends after them
	defer p.enter(stateStopped)
	p.gone = time.Now()
	var g *generation
	if first != nil {
		var err error
		p.enter(stateStarting)
		if g, err = p.start(first.ctx, p.sha256); err == nil {
			p.extensions = g.extensions
		}
		first.done <- err
		if err != nil {
			return
		}
	}
	for ctx.Err() == nil {
		if g == nil {
			g = p.again(ctx)
		} else {
			g = p.run(ctx, g)
		}
	}
	p.ready.Store(nil)
	if g != nil { // it became ready while ctx ended
		g.end()
	}
	p.retiring.Wait()
}

// run watches a process that is in use until it must end, ends it, and returns the one
// that replaced it, nil if none did.
func (p *Plugin) run(ctx context.Context, g *generation) *generation {
	asked, why := p.watch(ctx, g)
	if asked != nil {
		return p.replace(ctx, g, asked)
	}
	p.publish(nil)
	p.enter(stateKilling)
	exited := isClosed(g.exited())
	g.end()
	exit := g.process.exitText()
	p.mu.Lock()
	p.lastExit = exit
	if !exited && ctx.Err() == nil {
		p.lastExit = why.Error() + ", " + exit
	}
	p.mu.Unlock()
	if ctx.Err() == nil {
		p.gone = time.Now()
		p.schedule.ran(p.gone.Sub(g.since))
		g.logger().WithFields(logrus.Fields{"exit": exit, "fallback": p.standIns()}).WithError(why).Warn("plugin exited")
	}
	return nil
}

// errExited is why a process that ended by itself is given up.
var errExited = errors.New("the process ended")

// watch waits for what ends a process that is ready: its own end, a health check that
// failed too often, answers that are late, an order, or the end of ctx.
func (p *Plugin) watch(ctx context.Context, g *generation) (asked *order, why error) {
	ticks := time.NewTicker(healthEvery)
	defer ticks.Stop()
	failed := 0
	for {
		select {
		case <-ctx.Done():
			return nil, errStopped
		case <-g.exited():
			return nil, errExited
		case <-g.stuck:
			return nil, errLate
		case o := <-p.orders:
			return &o, nil
		case <-ticks.C:
			if g.healthy(ctx) {
				failed = 0
			} else if failed++; failed == healthStrikes {
				return nil, errHealth
			}
		}
	}
}

// healthy asks the health service of a process.
func (g *generation) healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	reply, err := g.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: healthService})
	return err == nil && reply.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
}

// replace starts a new process beside one that is ready. It returns the one that is to
// be used: the new one, or the old one if that failed.
func (p *Plugin) replace(ctx context.Context, old *generation, o *order) *generation {
	sha256 := cmp.Or(o.sha256, p.sha256)
	next, err := p.start(ctx, sha256)
	if err != nil {
		o.done <- err
		return old
	}
	p.sha256 = sha256
	p.schedule = schedule{cfg: p.cfg.Restart}
	p.retiring.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, drainLimit)
		defer cancel()
		old.drain(ctx)
		old.end()
		old.logger().Info("plugin replaced")
		o.done <- nil
	})
	return next
}

// again waits as long as the schedule says and starts a process; nil: that failed, or
// ctx ended.
func (p *Plugin) again(ctx context.Context) *generation {
	wait, open := p.schedule.next(time.Now())
	due := time.Now().Add(wait)
	if open {
		p.enterUntil(stateOpen, due)
		p.log.WithField("starts", p.cfg.Restart.MaxStarts).Errorf("plugin ends too often; the next start is in %v", wait)
	} else {
		p.enterUntil(stateBackoff, due)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	sha256, done := p.sha256, chan<- error(nil)
	select {
	case <-ctx.Done():
		return nil
	case <-timer.C:
	case o := <-p.orders:
		sha256, done = cmp.Or(o.sha256, sha256), o.done
		p.schedule, open = schedule{cfg: p.cfg.Restart}, false
	}
	p.enter(stateStarting)
	p.schedule.started(time.Now(), open)
	g, err := p.start(ctx, sha256)
	if done != nil {
		done <- err
	}
	if err != nil {
		if ctx.Err() == nil {
			p.log.WithError(err).Error("plugin does not start")
		}
		return nil
	}
	p.sha256 = sha256
	g.logger().WithField("attempt", p.schedule.tries).WithField("after", time.Since(p.gone).Round(time.Millisecond)).Info("plugin restarted")
	return g
}

// start starts the next process, checks that it brings what is registered and can be
// used for what is in use, and publishes it.
func (p *Plugin) start(ctx context.Context, sha256 string) (*generation, error) {
	p.number++
	cfg := p.cfg
	cfg.SHA256 = sha256
	g, err := startGeneration(ctx, cfg, p.room, p.number, p.log, &p.output)
	if err != nil {
		return nil, err
	}
	for _, want := range p.extensions {
		if !g.brings(want) {
			g.end()
			return nil, fmt.Errorf("it no longer brings %s %q", want.Kind, want.Name)
		}
	}
	if err := p.settle(ctx, g); err != nil {
		g.end()
		return nil, err
	}
	return g, nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
