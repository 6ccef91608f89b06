package plugins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// Plugin is a plugin that runs, as one process after the other. It is safe for
// concurrent use.
type Plugin struct {
	cfg        spi.PluginConfig
	log        logrus.FieldLogger
	room       *room
	extensions []spi.Info
	turns      chan struct{} // as many as there may be exchanges at a time
	usages     usages

	ready atomic.Pointer[generation] // nil: none

	closing  sync.Once
	closeErr error // written within closing
}

// Open checks, starts and asks the plugin of cfg; ctx and cfg.StartTimeout bound that
// and not its life. A start that does not answer is bounded by
// cfg.StartTimeout alone. log gets what the plugin prints. The caller closes the Plugin; a
// failed Open leaves nothing running. Errors: those of [spi.PluginConfig.Validate],
// [ErrUntrusted], [ErrChecksum], and what the start failed with.
func Open(ctx context.Context, cfg spi.PluginConfig, log logrus.FieldLogger) (*Plugin, error) {
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
	p := &Plugin{cfg: cfg, log: log.WithField("plugin", cfg.Name), room: r, turns: make(chan struct{}, cfg.MaxInflight)}
	g, err := startGeneration(ctx, cfg, r, 1, p.log)
	if err != nil {
		return nil, fmt.Errorf("start plugin %q: %w", cfg.Name, errors.Join(err, p.Close()))
	}
	p.extensions = g.extensions
	p.ready.Store(g)
	return p, nil
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
	if reply, err = ask(ctx, g); err != nil {
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

// Close ends the plugin: it is asked to, and killed with its group after a second. It
// waits for that, and is safe to call twice.
func (p *Plugin) Close() error {
	p.closing.Do(func() {
		if g := p.ready.Swap(nil); g != nil {
			g.end()
		}
		p.closeErr = p.room.Close()
	})
	return p.closeErr
}
