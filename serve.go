package bhrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/spi"
)

// ErrStopped is what [Serve] returns after a signal, when everything in flight has
// finished.
var ErrStopped = errors.New("bhrpc: stopped by a signal")

// Service is a service with more to say than its methods: another name than its
// type's, a version, a group, methods that run inline.
type Service struct {
	Impl    any      // its methods are served; see [core.NewService]
	Name    string   // "": the name of Impl's type
	Version string   // consumers name it in references.<service>.version
	Group   string   // likewise
	Inline  []string // methods that never block and run in the connection's reader
}

// Serve serves the methods of services until SIGINT (Ctrl-C) or SIGTERM, with the
// default configuration and what the environment says. A service is any value with
// methods func(ctx context.Context, args...) (result, error), or a [Service]. It
// prints where it listens, its services and a first command to try. At a signal it
// finishes what is in flight and returns [ErrStopped]; a second signal ends the
// program at once. Any other error says why it could not serve.
func Serve(services ...any) error {
	ctx, stop := untilSignal()
	defer stop()
	app, err := Open(ctx, "")
	if err != nil {
		return err
	}
	err = app.Serve(ctx, services...)
	if err == nil {
		err = ErrStopped
	}
	return errors.Join(err, app.Close())
}

// untilSignal returns a context that ends at the first signal; when it has ended,
// the next signal is the system's. stop ends it too and must be called.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1) // sent to by the runtime until signal.Stop; 1, or a signal could be missed
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	})
	return ctx, func() {
		cancel()
		waiting.Wait()
	}
}

// Serve serves services as the configuration's provider section says until ctx
// ends, then finishes what is in flight, within provider.drain_timeout, and returns
// nil. Any other end is an error: one about the configuration or the address, or
// what was cut off at the end of the drain time.
func (a *App) Serve(ctx context.Context, services ...any) error {
	p, err := a.Provide(ctx, services...)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-p.done:
	}
	return p.Stop()
}

// Provider is a running provider. It is safe for concurrent use.
type Provider struct {
	app  *App
	core *core.Provider
	addr net.Addr
	done chan struct{} // closed when it accepts no more
	err  error         // why; set before done is closed
	stop func() error  // what Stop does, once
}

// Provide begins to serve and returns; [Provider.Stop] and [App.Close] end it. ctx
// bounds the start only. After Close it is refused.
func (a *App) Provide(ctx context.Context, services ...any) (*Provider, error) {
	p, err := a.provide(ctx, services)
	if err != nil {
		return nil, fmt.Errorf("bhrpc: %w", err)
	}
	return p, nil
}

func (a *App) provide(ctx context.Context, services []any) (*Provider, error) {
	described, err := describe(services)
	if err != nil {
		return nil, err
	}
	section := &a.cfg.c.Provider
	cfg := section.ProviderConfig
	cfg.Log, cfg.Advertise = a.log, section.Advertise
	if host, _, err := net.SplitHostPort(section.Listen); err == nil && host != "" {
		cfg.HTTP.Hosts = append(slices.Clone(cfg.HTTP.Hosts), host)
	}
	if cfg.Serializers, err = openOffered(ctx, a, a.cat.Serializers, "provider.serializers", section.Serializers); err != nil {
		return nil, err
	}
	if cfg.Compressors, err = openOffered(ctx, a, a.cat.Compressors, "provider.compressors", section.Compressors); err != nil {
		return nil, err
	}
	if cfg.Interceptors, err = a.interceptors(ctx, section.Interceptors, a.cfg.ServerInterceptors); err != nil {
		return nil, err
	}
	if section.Registry.Use != config.None {
		if cfg.Registry, err = open(ctx, a, a.cat.Registries, section.Registry); err != nil {
			return nil, err
		}
	}
	if cfg.Heartbeat, err = openFor(ctx, a, spi.RoleProvider, a.cat.Heartbeats, section.Heartbeat); err != nil {
		return nil, err
	}
	cfg.Observers = a.cfg.Observers
	engine, err := core.NewProvider(cfg)
	if err != nil {
		return nil, a.cfg.c.Place("provider", err)
	}
	for _, s := range described {
		if err := engine.Register(s); err != nil {
			return nil, err
		}
	}
	l, err := listen(ctx, section.Listen)
	if err != nil {
		return nil, err
	}
	p := &Provider{app: a, core: engine, addr: l.Addr(), done: make(chan struct{})}
	p.stop = sync.OnceValue(p.drain)
	if !a.adopt(p) {
		return nil, errors.Join(errClosed, l.Close())
	}
	a.announce(p.addr.String(), cfg, described)
	go func() {
		defer close(p.done)
		if err := engine.Serve(l); !errors.Is(err, core.ErrProviderClosed) {
			p.err = err
		}
	}()
	return p, nil
}

// adopt lets Close stop a provider. It returns false if the App is closed.
func (a *App) adopt(p *Provider) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closing {
		a.providers = append(a.providers, p)
	}
	return !a.closing
}

// Addr returns where the provider listens.
func (p *Provider) Addr() net.Addr { return p.addr }

// Stop withdraws the provider, finishes what is in flight within
// provider.drain_timeout, and returns when everything is gone: nil, or what was cut
// off, or why the provider had stopped by itself. It is safe to call twice.
func (p *Provider) Stop() error { return p.stop() }

func (p *Provider) drain() error {
	limit := p.app.cfg.c.Provider.DrainTimeout
	p.app.log.WithField("limit", limit).Info("provider draining")
	ctx, cancel := context.WithTimeout(context.Background(), limit.D())
	defer cancel()
	err := p.core.Shutdown(ctx)
	<-p.done
	p.app.mu.Lock()
	p.app.providers = slices.DeleteFunc(p.app.providers, func(other *Provider) bool { return other == p })
	p.app.mu.Unlock()
	if err = errors.Join(p.err, err); err != nil {
		return fmt.Errorf("bhrpc: %w", err)
	}
	p.app.log.Info("provider stopped")
	return nil
}

// describe turns what the program serves into services.
func describe(services []any) ([]*core.Service, error) {
	var all []*core.Service
	var errs []error
	for _, v := range services {
		s, ok := v.(Service)
		if !ok {
			s = Service{Impl: v}
		}
		described, err := core.NewService(s.Name, s.Impl)
		if err == nil {
			described.Version, described.Group = s.Version, s.Group
			err = described.Inline(s.Inline...)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, described)
	}
	if len(services) == 0 {
		errs = append(errs, errors.New("nothing to serve; pass a value with methods func(ctx context.Context, args...) (result, error)"))
	}
	return all, errors.Join(errs...)
}

// openOffered opens the extensions that consumers may choose: those that a list
// names, or all that may be used.
func openOffered[T any](ctx context.Context, a *App, p *spi.Point[T], list string, names []string) (map[string]T, error) {
	refs := a.cfg.offered(list, names)
	if len(refs) == 0 {
		for _, info := range p.List() {
			if a.cfg.withheld(info) {
				continue
			}
			refs = append(refs, spi.Ref{Use: info.Name, Key: list})
		}
	}
	all := make(map[string]T)
	for _, ref := range refs {
		resolved, err := p.Resolve(ref) // the name that travels, not an alias
		if err != nil {
			return nil, err
		}
		if all[resolved.Info.Name], err = open(ctx, a, p, ref); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := core.Listen(ctx, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("provider.listen: %s is in use; stop the program that listens there, or choose another address (BHRPC_PROVIDER_LISTEN=127.0.0.1:0 takes any free port): %w", address, syscall.EADDRINUSE)
	}
	if err != nil {
		return nil, fmt.Errorf("provider.listen: %w", err)
	}
	return l, nil
}

// announce logs what a newcomer wants to know: where, what, and how to try it.
func (a *App) announce(address string, cfg core.ProviderConfig, services []*core.Service) {
	a.log.WithField("addr", address).WithField("services", len(services)).WithField("registry", a.cfg.c.Provider.Registry.Use).Info("provider ready")
	for _, s := range services {
		for _, m := range s.Methods {
			a.log.Infof("  %s.%s", s.Key(), m.Signature)
		}
		for _, skipped := range s.Skipped {
			a.log.Warnf("  not served: %s", skipped)
		}
	}
	a.log.Infof("try: %s     stop: Ctrl-C (drains up to %v)", firstCommand(address, cfg, services), cfg.DrainTimeout)
}

// firstCommand is a call for a first try: by curl if the provider answers that.
func firstCommand(address string, cfg core.ProviderConfig, services []*core.Service) string {
	first, ok := core.FirstCall(services)
	switch {
	case !ok:
		return "bhrpc ls " + address
	case cfg.HTTP.Enabled && cfg.Serializers["json"] != nil:
		return first.Curl(curlTarget(address, cfg.TLS.Cert != ""))
	case cfg.TLS.Cert != "":
		address = "--tls " + address
	}
	return first.Tool(address)
}

// curlTarget is what curl needs to reach an address. The file of the authority is the
// reader's to name.
func curlTarget(address string, secured bool) string {
	options := ""
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		options, address = "--unix-socket "+path+" ", "localhost"
	}
	if secured {
		options, address = options+"--cacert CA.pem ", "https://"+address
	}
	return options + address
}
