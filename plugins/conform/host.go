package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// inTimeLimit bounds how long an answer within call_timeout is tried for: a busy machine
// is late now and then, and a plugin that is too slow always is.
const inTimeLimit = 5 * time.Second

// inTime opens and uses every extension with the call_timeout that hosts have, while the
// checks of contracts have a longer one.
func (r *runner) inTime(ctx context.Context, f found) {
	cfg := r.cfg.Plugin
	cfg.CallTimeout = r.callTimeout
	p := r.open(ctx, f, cfg)
	if p == nil {
		return
	}
	defer r.nothingLeft(f)
	defer r.close(f, p)
	cat := spi.NewCatalog()
	if err := errors.Join(r.cfg.Register(cat), p.Register(cat)); err != nil {
		f.faultf("register its extensions: %v", err)
		return
	}
	for _, e := range r.report.Extensions {
		ask := r.asks(ctx, cat, e)
		if ask == nil || r.refused[e.Kind+" "+e.Name] {
			continue
		}
		before, late := answered(p), time.Now().Add(inTimeLimit)
		err := ask()
		for answered(p) == before && time.Now().Before(late) && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond) // perhaps there is no process at the moment
			err = ask()
		}
		if answered(p) == before {
			f.faultf("%s %s: it gave no answer within %v, which hosts wait unless call_timeout says more; what takes longer belongs into open: %v", e.Kind, e.Name, r.callTimeout, err)
		}
	}
}

// answered is how many exchanges a plugin answered.
func answered(p *plugins.Plugin) uint64 {
	s := p.Status()
	return s.Calls - s.Errors
}

// asks returns what opens an extension, makes exchanges with it and closes it; nil for
// those that nobody waits for.
func (r *runner) asks(ctx context.Context, cat *spi.Catalog, e spi.Info) func() error {
	with := r.cfg.With[e.Name]
	switch e.Kind {
	case cat.LoadBalancers.Kind():
		return using(ctx, r, cat.LoadBalancers, e.Name, with, func(lb spi.LoadBalancer) error {
			endpoints := make([]spi.Endpoint, 3)
			for i := range endpoints {
				endpoints[i] = spi.Endpoint{Address: fmt.Sprintf("10.0.0.%d:7070", i), Weight: 1, Load: new(spi.Load)}
			}
			_, err := lb.Build(endpoints)
			return err
		})
	case cat.Serializers.Kind():
		return using(ctx, r, cat.Serializers, e.Name, with, encoded)
	case cat.Proxies.Kind():
		return using(ctx, r, cat.Proxies, e.Name, with, func(p spi.Proxy) error { return intercepted(ctx, p) })
	case cat.Heartbeats.Kind():
		return using(ctx, r, cat.Heartbeats, e.Name, with, func(spi.Heartbeat) error { return nil }) // opening it asks for its Timing
	}
	return nil
}

func using[T any](ctx context.Context, r *runner, point *spi.Point[T], name string, with []byte, use func(T) error) func() error {
	return func() error {
		value, err := point.Open(ctx, spi.Env{Log: r.log, Role: spi.RoleConsumer}, spi.Ref{Use: name, With: spi.Raw{JSON: with}})
		if err != nil {
			return err
		}
		err = use(value)
		if closer, ok := any(value).(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
		return err
	}
}

// encoded encodes a small document.
func encoded(s spi.Serializer) error {
	_, err := s.Append(nil, map[string]any{"item": "tea", "count": 2})
	return err
}

// replaced waits until a host has another process than the one of a number. Meanwhile
// it does what a host does.
func (r *runner) replaced(f found, p *plugins.Plugin, after uint64, meanwhile func()) (plugins.Process, bool) {
	filled := r.cfg.Plugin.Filled()
	limit := filled.StartTimeout.D() + filled.Restart.Base.D() + 5*time.Second + r.cfg.Within // it is found out, ended, and made again
	late := time.Now().Add(limit)
	for {
		if process, ok := p.Process(); ok && process.Generation > after {
			return process, true
		}
		if time.Now().After(late) {
			f.faultf("no other process was ready %v later%s", limit, r.last.text())
			return plugins.Process{}, false
		}
		meanwhile()
		time.Sleep(10 * time.Millisecond) // there is nothing to wait on
	}
}

const (
	callers = 64       // at once
	large   = 15 << 20 // bytes of a text; a message has at most 16 MiB
)

// concurrently lets many callers make an exchange at once.
func (r *runner) concurrently(kind, name string, exchange func() error) {
	r.check(strings.Join([]string{"contract", kind, name, "many-callers"}, " "), 1, func(f found) {
		errs := make([]error, callers)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				for range 10 {
					errs[i] = errors.Join(errs[i], exchange())
				}
			})
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			f.faultf("%d callers at once: %s", callers, show(err))
		}
	})
}

// largely has a serializer encode a text that just fits into a message. It may refuse it.
func (r *runner) largely(name string, s spi.Serializer) {
	r.check("contract serializer "+name+" large", 1, func(f found) {
		_, err := s.Append(nil, strings.Repeat("x", large))
		if code := spi.CodeOf(err); err != nil && code != spi.ResourceExhausted && code != spi.Unknown { // Unknown: its own words
			f.faultf("a text of %d MiB: got %s; want it encoded, or refused by an error that says why", large>>20, show(err))
		}
		if err := encoded(s); err != nil {
			f.faultf("a small document after a text of %d MiB: %v", large>>20, err)
		}
	})
}
