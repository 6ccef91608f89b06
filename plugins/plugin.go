package plugins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// Plugin is a plugin that runs, as one process after the other: a process that ends is
// replaced, as docs/plugins.md draws it. It is safe for concurrent use.
type Plugin struct {
	cfg        spi.PluginConfig
	log        logrus.FieldLogger
	room       *room
	extensions []spi.Info    // written before Open returns
	turns      chan struct{} // as many as there may be exchanges at a time
	output     output
	meter      meter
	usages     usages

	ready atomic.Pointer[generation] // nil: none

	ctx      context.Context // of the supervisor; ended by cancel
	cancel   context.CancelFunc
	running  sync.WaitGroup // the supervisor
	retiring sync.WaitGroup // processes that were replaced; the supervisor adds and waits
	orders   chan order
	closing  sync.Once
	closeErr error // written within closing

	// Of the supervisor's goroutine.
	sha256   string // configured, or given with a restart
	number   uint64 // of the last generation
	schedule schedule
	gone     time.Time // when the last process ended

	mu       sync.Mutex
	state    string
	since    time.Time
	due      time.Time   // of the next start, in backoff and open; zero otherwise
	latest   *generation // that started, for people
	lastExit string
	changed  chan struct{} // closed and replaced whenever state or ready changes
}

// Open checks, starts and asks the plugin of cfg, and goes on starting it whenever it
// ends. ctx and cfg.StartTimeout bound the first start and not its life. log gets what
// becomes of the plugin and what it prints. The caller closes the Plugin; a failed Open
// leaves nothing running. Errors: those of [spi.PluginConfig.Validate], [ErrUntrusted],
// [ErrChecksum], and what the start failed with.
func Open(ctx context.Context, cfg spi.PluginConfig, log logrus.FieldLogger) (*Plugin, error) {
	p, err := newPlugin(cfg, log)
	if err != nil {
		return nil, err
	}
	first := make(chan error, 1)
	p.begin(&firstStart{ctx, first})
	if err := <-first; err != nil {
		return nil, fmt.Errorf("start plugin %q: %w", cfg.Name, errors.Join(err, p.Close()))
	}
	return p, nil
}

// openLater returns a plugin that runs as soon as one of the starts to come succeeds.
// It brings what cfg.Provides names.
func openLater(cfg spi.PluginConfig, log logrus.FieldLogger) (*Plugin, error) {
	p, err := newPlugin(cfg, log)
	if err != nil {
		return nil, err
	}
	p.extensions = provided(cfg)
	p.begin(nil)
	return p, nil
}

// newPlugin checks cfg and makes a private directory.
func newPlugin(cfg spi.PluginConfig, log logrus.FieldLogger) (*Plugin, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of plugin %q: %w", cfg.Name, err)
	}
	if !filepath.IsAbs(cfg.Path) || filepath.Clean(cfg.Path) != cfg.Path {
		return nil, fmt.Errorf("configuration of plugin %q: path: %q is not an absolute path in its shortest form", cfg.Name, cfg.Path)
	}
	cfg = cfg.Filled()
	r, err := openRoom(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("start plugin %q: %w", cfg.Name, err)
	}
	return &Plugin{cfg: cfg, log: log.WithField("plugin", cfg.Name), room: r, turns: make(chan struct{}, cfg.MaxInflight),
		orders: make(chan order), sha256: cfg.SHA256, schedule: schedule{cfg: cfg.Restart}, changed: make(chan struct{})}, nil
}

// begin starts the supervisor.
func (p *Plugin) begin(first *firstStart) {
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(func() { p.supervise(p.ctx, first) })
}

// enter notes a state.
func (p *Plugin) enter(state string) { p.enterUntil(state, time.Time{}) }

// enterUntil notes a state that lasts until the next start, which is due then.
func (p *Plugin) enterUntil(state string, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state, p.since, p.due = state, time.Now(), due
	close(p.changed)
	p.changed = make(chan struct{})
}

// publish lets g be used from now on; nil: none.
func (p *Plugin) publish(g *generation) {
	p.ready.Store(g)
	if g != nil {
		p.enter(stateReady)
	}
}

// await returns a generation that is ready and later than after, which the caller
// releases; it waits for one until ctx ends or the plugin is closed.
func (p *Plugin) await(ctx context.Context, after uint64) (*generation, error) {
	return p.awaitBy(ctx, after, time.Time{})
}

// awaitBy is await for who does not wait for a start that is due after by; zero: however
// late it is.
func (p *Plugin) awaitBy(ctx context.Context, after uint64, by time.Time) (*generation, error) {
	for {
		p.mu.Lock()
		state, changed, due := p.state, p.changed, p.due
		p.mu.Unlock()
		if g := p.ready.Load(); g != nil && g.number > after && g.hold() {
			return g, nil
		}
		if state == stateStopped {
			return nil, fmt.Errorf("plugin %q %w", p.cfg.Name, errNotReady)
		}
		if !by.IsZero() && due.After(by) {
			return nil, fmt.Errorf("plugin %q %w; the next start is in %v", p.cfg.Name, errNotReady, time.Until(due).Round(time.Millisecond))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for plugin %q, which %w: %w", p.cfg.Name, errNotReady, ctx.Err())
		}
	}
}

// Extensions describes what the plugin brings. It must not be modified.
func (p *Plugin) Extensions() []spi.Info { return p.extensions }

// use returns the generation that is ready, which the caller releases.
func (p *Plugin) use() (*generation, error) {
	for {
		g := p.ready.Load()
		if g == nil {
			return nil, fmt.Errorf("plugin %q %w", p.cfg.Name, errNotReady)
		}
		if g.hold() {
			return g, nil
		}
	}
}

// exchange makes one request of a generation that is ready, within call_timeout and
// at most max_inflight at a time, and counts it. It is for what is asked and answered
// at once; a stream counts for itself.
func exchange[T any](ctx context.Context, p *Plugin, ask func(context.Context, *generation) (T, error)) (reply T, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.CallTimeout.D())
	defer cancel()
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return reply, fmt.Errorf("ask plugin %q: %d exchanges are under way: %w", p.cfg.Name, cap(p.turns), ctx.Err())
	}
	g, err := p.use()
	if err != nil {
		return reply, err
	}
	defer g.release()
	start := time.Now()
	reply, err = ask(ctx, g)
	took := time.Since(start)
	p.meter.note(took, err)
	g.answered(err, start, p.cfg.CallTimeout.D())
	if err != nil {
		return reply, fmt.Errorf("ask plugin %q: %w", p.cfg.Name, err)
	}
	return reply, nil
}

// Configure lets the plugin check a configuration, JSON or nil for the defaults, and
// returns what would be in force. It opens nothing. Errors: [spi.ErrInvalid], with
// what the plugin says; others if it could not be asked.
func (p *Plugin) Configure(ctx context.Context, kind, name string, with []byte) (effective []byte, err error) {
	reply, err := exchange(ctx, p, func(ctx context.Context, g *generation) (*pluginv1.ConfigureReply, error) {
		return g.info.Configure(ctx, &pluginv1.ConfigureRequest{Generation: g.number, Kind: kind, Name: name, With: with})
	})
	switch {
	case status.Code(err) == codes.InvalidArgument:
		return nil, fmt.Errorf("plugin %q: %w: %s", p.cfg.Name, spi.ErrInvalid, status.Convert(errors.Unwrap(err)).Message())
	case err != nil:
		return nil, fmt.Errorf("configure %s %q: %w", kind, name, err)
	}
	return reply.GetEffective(), nil
}

// Restart replaces the process by a new one, which starts first; exchanges that are
// under way in the old one may finish. A plugin that does not run is started at once.
// sha256 is the hash of the new program, "" the one before. It returns when the old
// process has ended; ctx bounds only how long that is waited for. Close does not let
// the exchanges of the old one finish.
func (p *Plugin) Restart(ctx context.Context, sha256 string) error {
	cfg := p.cfg
	if sha256 != "" {
		cfg.SHA256 = sha256
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("restart plugin %q: %w", p.cfg.Name, err)
	}
	done := make(chan error, 1)
	select {
	case p.orders <- order{sha256, done}:
	case <-p.ctx.Done():
		return fmt.Errorf("restart plugin %q: it is closed", p.cfg.Name)
	case <-ctx.Done():
		return fmt.Errorf("restart plugin %q: %w", p.cfg.Name, ctx.Err())
	}
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("restart plugin %q: %w", p.cfg.Name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("restart plugin %q: %w", p.cfg.Name, ctx.Err())
	}
}

// Close ends the plugin: it is asked to, and killed with its group after a second. It
// waits for that, and is safe to call twice.
func (p *Plugin) Close() error {
	p.closing.Do(func() {
		p.cancel()
		p.running.Wait()
		p.closeErr = p.room.Close()
	})
	return p.closeErr
}
