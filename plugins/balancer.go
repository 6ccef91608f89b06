package plugins

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// untilPlan is the built-in that picks before the first plan, where last-good is
// what a failure leaves.
const untilPlan = "p2c"

// addBalancer adds a load balancer that picks by the plugin's plans.
func (p *Plugin) addBalancer(cat *spi.Catalog, info spi.Info) error {
	return cat.LoadBalancers.Add(info, func(ctx context.Context, env spi.Env, with []byte) (spi.LoadBalancer, error) {
		w := wanted{kind: info.Kind, name: info.Name, with: string(with)}
		number, err := p.prepare(ctx, w)
		switch {
		case refused(ctx, err):
			return nil, err
		case err != nil:
			env.Log.WithField("plugin", p.cfg.Name).WithError(err).Warn("plugin loadbalancer could not be opened yet")
		}
		onFailure := p.standIn(info.Kind)
		standIn, err := p.openStandIn(ctx, cat, env, onFailure)
		if err != nil {
			return nil, err
		}
		inUse := onFailure // without the plugin
		if onFailure == spi.Fail {
			inUse = ""
		}
		use, err := p.keep(ctx, w, number, inUse, env.Log)
		if err != nil {
			return nil, errors.Join(err, closeOpened(standIn))
		}
		remote := &planner{plugin: p, open: &pluginv1.PlanOpen{Name: info.Name, With: with}, use: use}
		// What becomes of plans is logged by remote, which knows what stands in.
		return &balancer{planned: spi.FromPlanner(remote, spi.Env{}), remote: remote, standIn: standIn, onFailure: onFailure}, nil
	})
}

// openStandIn opens the built-in that stands in for the plugin; nil: none does.
func (p *Plugin) openStandIn(ctx context.Context, cat *spi.Catalog, env spi.Env, onFailure string) (spi.LoadBalancer, error) {
	ref := spi.Ref{Use: onFailure}
	switch onFailure {
	case spi.Fail:
		return nil, nil
	case spi.LastGood:
		ref.Use = untilPlan
	}
	found, err := cat.LoadBalancers.Resolve(ref)
	switch {
	case onFailure == spi.LastGood && errors.Is(err, spi.ErrUnknown):
		return nil, nil // a catalog without the built-in ones: the endpoints' own weights
	case err != nil:
		return nil, fmt.Errorf("on_failure.loadbalancer of plugin %q: %w\n  besides the name of a built-in: %s, %s", p.cfg.Name, err, spi.LastGood, spi.Fail)
	case strings.HasPrefix(found.Info.Source, "plugin "):
		return nil, fmt.Errorf("%w: on_failure.loadbalancer of plugin %q: %q is in a plugin too; name a built-in, such as %s", spi.ErrInvalid, p.cfg.Name, onFailure, untilPlan)
	}
	return cat.LoadBalancers.Open(ctx, spi.Env{Log: env.Log, Role: env.Role}, ref)
}

// balancer picks locally by the plans of a plugin, or by what stands in for it.
type balancer struct {
	planned   spi.LoadBalancer // by the plans of remote
	remote    *planner
	standIn   spi.LoadBalancer // nil: none
	onFailure string
}

// Build implements spi.LoadBalancer.
func (b *balancer) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	planned, err := b.planned.Build(endpoints)
	if err != nil {
		return nil, err
	}
	p := &picker{planned: planned.(spi.PlannedPicker), balancer: b, least: spi.FreshPlan}
	if b.onFailure == spi.LastGood {
		p.least = spi.LastPlan
	} else {
		p.ready = &b.remote.plugin.ready
	}
	if b.standIn != nil {
		if p.standIn, err = b.standIn.Build(endpoints); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Close ends the stream of plans. Pickers work on by their last plans.
func (b *balancer) Close() error {
	err := closeOpened(b.planned)
	b.remote.mu.Lock()
	b.remote.hangUp()
	b.remote.mu.Unlock()
	b.remote.plugin.usages.remove(b.remote.use)
	return errors.Join(err, closeOpened(b.standIn))
}

// picker picks by plans while they are good enough.
type picker struct {
	planned  spi.PlannedPicker
	least    spi.Basis                   // what is good enough
	ready    *atomic.Pointer[generation] // of the plugin, without which plans are not good enough; nil: they are
	standIn  spi.Picker                  // nil: none
	balancer *balancer
}

// Pick implements spi.Picker.
func (p *picker) Pick(info *spi.CallInfo) (int, error) {
	i, err := p.planned.Pick(info) // also asks for plans, by which it comes back
	if p.planned.Basis() >= p.least && (p.ready == nil || p.ready.Load() != nil) {
		return i, err
	}
	use := p.balancer.remote.use
	switch {
	case p.balancer.onFailure == spi.Fail:
		return 0, &spi.Error{Code: spi.Unavailable, Message: fmt.Sprintf("plugin %q has no plan, and on_failure: {loadbalancer: fail} lets nothing stand in", p.balancer.remote.plugin.cfg.Name),
			Hint: "bhrpc plugin inspect " + p.balancer.remote.plugin.cfg.Name + " says how it does"}
	case p.standIn == nil:
		use.stoodIn()
		return i, err
	}
	use.stoodIn()
	return p.standIn.Pick(info)
}
