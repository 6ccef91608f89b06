package bhrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/config"
	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// App is an opened configuration: what calls, and what can serve. It implements
// [spi.Invoker] and is safe for concurrent use. Make one per configuration, keep it,
// and Close it.
type App struct {
	cfg *Config
	cat *spi.Catalog
	log logrus.FieldLogger

	consumer *core.Consumer // nil: the configuration names nobody to call
	binder   spi.Proxy      // set if consumer is

	plugins spi.Plugins     // nil: the configuration has none
	control *control.Server // nil: nobody can look in
	close   func() error    // what Close does, once

	mu        sync.Mutex
	closing   bool        // nothing is added any more
	opened    []io.Closer // extensions, in the order in which they were opened
	providers []*Provider // those that nobody has stopped
}

// errClosed is for what is begun after Close.
var errClosed = errors.New("the app is closed")

// Open reads a configuration file and the environment and opens what they say; it
// is [Load] and [Config.Open]. path "" means no file.
func Open(ctx context.Context, path string, options ...Option) (*App, error) {
	cfg, err := Load(path)
	if err != nil {
		return nil, err
	}
	return cfg.Open(ctx, options...)
}

// Dial returns an App that calls the providers at addresses, with the default
// configuration and what the environment says. It begins to connect and does not
// wait: a provider that cannot be reached fails the first call.
func Dial(addresses ...string) (*App, error) {
	cfg, err := Load("")
	if err != nil {
		return nil, err
	}
	if err := cfg.Set("consumer.addresses", addresses); err != nil {
		return nil, err
	}
	return cfg.Open(context.Background())
}

// connect opens the consumer's extensions and makes the consumer, if the
// configuration names anybody to call.
func (a *App) connect(ctx context.Context) error {
	section := &a.cfg.c.Consumer
	if len(section.Addresses) == 0 && section.Registry.Use == config.None {
		return nil
	}
	cfg := section.ConsumerConfig
	cfg.Log, cfg.References = a.log, a.cfg.c.References
	for _, address := range section.Addresses {
		cfg.Endpoints = append(cfg.Endpoints, spi.Endpoint{Address: address})
	}
	resolved, err := a.cat.Serializers.Resolve(section.Serializer)
	if err != nil {
		return err
	}
	cfg.SerializerName = resolved.Info.Name
	if cfg.Serializer, err = open(ctx, a, a.cat.Serializers, section.Serializer); err != nil {
		return err
	}
	if section.Compressor.Use != config.None {
		resolved, err := a.cat.Compressors.Resolve(section.Compressor)
		if err != nil {
			return err
		}
		cfg.CompressorName = resolved.Info.Name
		if cfg.Compressor, err = open(ctx, a, a.cat.Compressors, section.Compressor); err != nil {
			return err
		}
	}
	if cfg.LoadBalancer, err = open(ctx, a, a.cat.LoadBalancers, section.LoadBalancer); err != nil {
		return err
	}
	if a.binder, err = open(ctx, a, a.cat.Proxies, section.Proxy); err != nil {
		return err
	}
	if cfg.Heartbeat, err = openFor(ctx, a, spi.RoleConsumer, a.cat.Heartbeats, section.Heartbeat); err != nil {
		return err
	}
	cfg.Observers = a.cfg.Observers
	if section.Registry.Use != config.None {
		if cfg.Registry, err = open(ctx, a, a.cat.Registries, section.Registry); err != nil {
			return err
		}
	}
	if cfg.Interceptors, err = a.interceptors(ctx, section.Interceptors, a.cfg.Interceptors); err != nil {
		return err
	}
	if wrapper, ok := a.binder.(spi.Wrapper); ok {
		cfg.Interceptors = slices.Concat([]spi.Interceptor{wrapper.Intercept}, cfg.Interceptors)
		if a.binder, err = open(ctx, a, a.cat.Proxies, config.Default().Consumer.Proxy); err != nil {
			return err
		}
	}
	a.consumer, err = core.NewConsumer(cfg)
	return a.cfg.c.Place("consumer", err)
}

// open opens an extension that the App closes.
func open[T any](ctx context.Context, a *App, p *spi.Point[T], ref spi.Ref) (T, error) {
	return openFor(ctx, a, "", p, ref)
}

// openFor is open for one side of a connection.
func openFor[T any](ctx context.Context, a *App, role spi.Role, p *spi.Point[T], ref spi.Ref) (T, error) {
	v, err := p.Open(ctx, spi.Env{Log: a.log, Role: role}, ref)
	closer, ok := any(v).(io.Closer)
	if !ok || err != nil {
		return v, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing {
		return v, errors.Join(errClosed, closer.Close())
	}
	a.opened = append(a.opened, closer)
	return v, nil
}

// interceptors opens those that the configuration names, and puts them around the
// program's own.
func (a *App) interceptors(ctx context.Context, refs []spi.Ref, own []spi.Interceptor) ([]spi.Interceptor, error) {
	var all []spi.Interceptor
	for _, ref := range refs {
		interceptor, err := open(ctx, a, a.cat.Interceptors, ref)
		if err != nil {
			return nil, err
		}
		all = append(all, interceptor)
	}
	return append(all, own...), nil
}

// listenControl lets bhrpc conns look in, if it may. That it cannot is no reason not
// to start.
func (a *App) listenControl(runtimeDir string) {
	if a.cfg.c.Control != config.On {
		return
	}
	server, err := control.Listen(control.Directories(runtimeDir), control.App{Conns: a.conns, Plugins: a.Plugins, Restart: a.RestartPlugin})
	switch {
	case err == nil:
		a.control = server
	case runtime.GOOS == "windows": // not every version has such sockets
		a.log.WithError(err).Debug("no control socket")
	default:
		a.log.WithError(err).Warn("no control socket: bhrpc conns cannot look into this process; control: off leaves it out")
	}
}

// conns describes every connection of the consumer and the providers.
func (a *App) conns() []core.ConnInfo {
	a.mu.Lock()
	providers := slices.Clone(a.providers)
	a.mu.Unlock()
	var all []core.ConnInfo
	if a.consumer != nil {
		all = a.consumer.Conns()
	}
	for _, p := range providers {
		all = append(all, p.core.Conns()...)
	}
	return all
}

// Metrics returns what the consumer, if there is one, and every provider that runs
// have counted since they were made; see [core.Metrics].
func (a *App) Metrics() []core.Metrics {
	a.mu.Lock()
	providers := slices.Clone(a.providers)
	a.mu.Unlock()
	var all []core.Metrics
	if a.consumer != nil {
		all = append(all, a.consumer.Metrics())
	}
	for _, p := range providers {
		all = append(all, p.core.Metrics())
	}
	return all
}

// errNobody is for calls of an App that has nobody to call.
func errNobody() error {
	return &Error{Code: spi.FailedPrecondition, Phase: spi.PhaseResolve, Sent: spi.SentNo,
		Message: "the configuration names no provider to call", Hint: "set consumer.addresses or consumer.registry"}
}

// Method implements [spi.Invoker].
func (a *App) Method(service, name string) *spi.Method {
	if a.consumer == nil {
		return &spi.Method{Service: service, Name: name}
	}
	return a.consumer.Method(service, name)
}

// Invoke implements [spi.Invoker]. Most programs use [Call] or [App.Bind].
func (a *App) Invoke(ctx context.Context, call *spi.Call) error {
	if a.consumer == nil {
		return errNobody()
	}
	return a.consumer.Invoke(ctx, call)
}

// Bind makes target callable by the proxy that consumer.proxy names. With the
// default, reflect, target points to a struct of funcs:
//
//	var hello struct {
//		_   struct{} `bhrpc:"service=Hello"`
//		Say func(ctx context.Context, name string) (string, error)
//	}
//	err := app.Bind(&hello)
//
// What was bound is safe for concurrent use until the App is closed.
func (a *App) Bind(target any) error {
	if a.consumer == nil {
		return fmt.Errorf("bhrpc: %w", errNobody())
	}
	if err := a.binder.Bind(target, a.consumer); err != nil {
		return fmt.Errorf("bhrpc: bind %T: %w", target, err)
	}
	return nil
}

// Explain writes which extension every key chose, and why; see [Config.Explain].
// Unlike the command-line tool it knows what this program links in.
func (a *App) Explain(w io.Writer) error { return a.cfg.writeChoices(w, a.cat) }

// ExplainKeys writes every other key; see [Config.ExplainKeys].
func (a *App) ExplainKeys(w io.Writer) error { return a.cfg.writeKeys(w) }

// Extensions lists everything that this program can choose from, sorted by kind and
// name.
func (a *App) Extensions() []spi.Info { return a.cat.List() }

// drain ends the consumer.
func (a *App) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.c.Consumer.DrainTimeout.D())
	defer cancel()
	if err := a.consumer.Shutdown(ctx); err != nil {
		return fmt.Errorf("bhrpc: %w", err)
	}
	return nil
}

// Close stops the providers that are still running, whose handlers can still call
// others, ends the consumer, and closes the extensions, the last opened first. New
// calls fail with UNAVAILABLE; calls under way finish within
// consumer.drain_timeout, and then fail with UNAVAILABLE too, which the error counts.
// The plugins end last. It is safe to call twice; both calls wait, and say the same.
func (a *App) Close() error { return a.close() }

func (a *App) shutDown() error {
	a.mu.Lock()
	a.closing = true
	providers, opened := slices.Clone(a.providers), slices.Clone(a.opened)
	a.mu.Unlock()
	var errs []error
	for _, p := range providers {
		errs = append(errs, p.Stop())
	}
	if a.consumer != nil {
		errs = append(errs, a.drain())
	}
	for _, closer := range slices.Backward(opened) {
		errs = append(errs, closer.Close())
	}
	errs = append(errs, a.control.Close())
	if a.plugins != nil {
		errs = append(errs, a.plugins.Close())
	}
	return errors.Join(errs...)
}
