package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// wanted is an extension as the host uses it. A process opens it once.
type wanted struct {
	kind, name string
	with       string // JSON; "": the defaults
	role       string // of a heartbeat; "" for other kinds
}

// prepare has the process open an extension, or check its configuration if it opens
// nothing by itself. It may take as long as ctx lasts and is no strike. Errors:
// [spi.ErrInvalid], with what the plugin says; others if the process cannot be used.
func (g *generation) prepare(ctx context.Context, w wanted) error {
	_, err := g.info.Prepare(ctx, &pluginv1.PrepareRequest{Generation: g.number, Kind: w.kind, Name: w.name, With: []byte(w.with), Role: w.role})
	if status.Code(err) == codes.Unimplemented { // in another language, perhaps
		_, err = g.info.Configure(ctx, &pluginv1.ConfigureRequest{Generation: g.number, Kind: w.kind, Name: w.name, With: []byte(w.with)})
	}
	switch {
	case status.Code(err) == codes.InvalidArgument:
		return fmt.Errorf("plugin %q: %w: %s", g.plugin, spi.ErrInvalid, status.Convert(err).Message())
	case err != nil:
		return fmt.Errorf("open %s %q of plugin %q: %w", w.kind, w.name, g.plugin, err)
	}
	return nil
}

// prepare has the process that is ready prepare an extension, within start_timeout, and
// returns its number.
func (p *Plugin) prepare(ctx context.Context, w wanted) (number uint64, err error) {
	g, err := p.use()
	if err != nil {
		return 0, err
	}
	defer g.release()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.StartTimeout.D())
	defer cancel()
	return g.number, g.prepare(ctx, w)
}

// refused reports that an extension cannot be opened: the plugin says so, or the caller
// waits no longer. One that gave no answer is asked by its next start.
func refused(ctx context.Context, err error) bool {
	return err != nil && (!noAnswer(err) || ctx.Err() != nil)
}

// keep notes that an extension is in use, which process number has prepared, 0 if none
// did. Every start from now on prepares it; one that was over a moment ago is made good
// here. The caller removes the usage when it closes the extension.
func (p *Plugin) keep(ctx context.Context, w wanted, number uint64, standIn string, log logrus.FieldLogger) (*usage, error) {
	u := p.usages.add(w, standIn, log.WithField("plugin", p.cfg.Name))
	if g := p.ready.Load(); g != nil && g.number != number {
		if _, err := p.prepare(ctx, w); refused(ctx, err) {
			p.usages.remove(u)
			return nil, err
		}
	}
	return u, nil
}

// settle has a process that was started prepare what is in use, all at once and within
// start_timeout, and publishes it.
func (p *Plugin) settle(ctx context.Context, g *generation) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.StartTimeout.D())
	defer cancel()
	prepared := map[wanted]bool{}
	publish := func() {
		p.mu.Lock()
		p.latest = g
		p.mu.Unlock()
		p.publish(g)
	}
	for {
		missing := p.usages.missing(prepared, publish)
		if len(missing) == 0 {
			return nil
		}
		errs := make([]error, len(missing))
		var all sync.WaitGroup
		for i, w := range missing {
			prepared[w] = true
			all.Go(func() { errs[i] = g.prepare(ctx, w) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
}
