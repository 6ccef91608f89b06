package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/spi"
)

// Loader lets a program have the configuration key plugins; pass it to bhrpc.Open.
// Errors: [spi.ErrDuplicate] if the catalog has a loader already.
func Loader(cat *spi.Catalog) error {
	if cat.PluginLoader != nil {
		return fmt.Errorf("%w: the loader of plugins; pass plugins.Loader once", spi.ErrDuplicate)
	}
	cat.PluginLoader = loader{}
	return nil
}

// loader implements [spi.PluginLoader].
type loader struct{}

// Load starts all plugins at once, waits for the last of them, and adds what they
// bring in the order of cfgs. If it fails cat is not to be used any more.
func (loader) Load(ctx context.Context, env spi.Env, cat *spi.Catalog, cfgs []spi.PluginConfig) (spi.Plugins, error) {
	if env.Log == nil {
		log := logrus.New()
		log.Out = io.Discard
		env.Log = log
	}
	all := loaded{plugins: make([]*Plugin, len(cfgs))}
	errs := make([]error, len(cfgs))
	var starting sync.WaitGroup
	for i, cfg := range cfgs {
		starting.Go(func() { all.plugins[i], errs[i] = load(ctx, env, cat, cfg) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, all.Close())
	}
	for i, p := range all.plugins {
		if err := p.Register(cat); err != nil {
			errs[i] = &spi.PluginError{Plugin: p.cfg.Name, Cause: err}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, all.Close())
	}
	return all, nil
}

// load starts one plugin. One that is optional and does not start goes on being
// started.
func load(ctx context.Context, env spi.Env, cat *spi.Catalog, cfg spi.PluginConfig) (*Plugin, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &spi.PluginError{Plugin: cfg.Name, Cause: fmt.Errorf("configuration of plugin %q: %w", cfg.Name, err)}
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, &spi.PluginError{Plugin: cfg.Name, Key: "path", Cause: fmt.Errorf("find plugin %q: %w", cfg.Name, err)}
	}
	cfg.Path = path
	p, err := Open(ctx, cfg, env.Log)
	switch {
	case err == nil:
		if err := provides(cfg, p.extensions); err != nil {
			return nil, errors.Join(err, p.Close())
		}
		return p, nil
	case cfg.Required, ctx.Err() != nil:
		return nil, &spi.PluginError{Plugin: cfg.Name, Cause: err}
	}
	env.Log.WithError(err).WithField("plugin", cfg.Name).Error("plugin did not start, and is optional; it goes on being started")
	cat.Absent(cfg.Name, err)
	if p, err = openLater(cfg, env.Log); err != nil {
		return nil, &spi.PluginError{Plugin: cfg.Name, Cause: err}
	}
	return p, nil
}

// provides checks that a plugin brings what its configuration says.
func provides(cfg spi.PluginConfig, brought []spi.Info) error {
	var errs []error
	for _, kind := range slices.Sorted(maps.Keys(cfg.Provides)) {
		var known []string
		for _, info := range brought {
			if info.Kind == kind {
				known = append(known, info.Name)
			}
		}
		for i, name := range cfg.Provides[kind] {
			if slices.Contains(known, name) {
				continue
			}
			message := fmt.Sprintf("plugin %q brings no %s named %q", cfg.Name, kind, name)
			if near := spi.Nearest(name, known); near != "" {
				message += fmt.Sprintf("; did you mean %q?", near)
			}
			message += fmt.Sprintf("\n  it brings: %s", listed(brought))
			errs = append(errs, &spi.PluginError{Plugin: cfg.Name, Key: fmt.Sprintf("provides.%s.%d", kind, i), Cause: errors.New(message)})
		}
	}
	return errors.Join(errs...)
}

// listed names extensions with their kinds.
func listed(extensions []spi.Info) string {
	if len(extensions) == 0 {
		return "nothing"
	}
	var all []string
	for _, info := range extensions {
		all = append(all, info.Kind+" "+info.Name)
	}
	return strings.Join(all, ", ")
}

// provided describes the extensions of a plugin that has not started yet, as far as
// its configuration knows them.
func provided(cfg spi.PluginConfig) []spi.Info {
	var infos []spi.Info
	for _, kind := range slices.Sorted(maps.Keys(cfg.Provides)) {
		for _, name := range cfg.Provides[kind] {
			infos = append(infos, spi.Info{Kind: kind, Name: name, Doc: "Of a plugin that has not started yet.", Source: "plugin " + cfg.Name, AnyKeys: true})
		}
	}
	return infos
}

// loaded is the plugins of one program. It implements [spi.Plugins].
type loaded struct {
	plugins []*Plugin // in the order of the configuration; nil for one that failed, which only Close sees
}

// Status describes every plugin.
func (l loaded) Status() []spi.PluginStatus {
	all := make([]spi.PluginStatus, len(l.plugins))
	for i, p := range l.plugins {
		all[i] = p.Status()
	}
	return all
}

// Restart replaces the process of one plugin.
func (l loaded) Restart(ctx context.Context, name, sha256 string) error {
	names := make([]string, len(l.plugins))
	for i, p := range l.plugins {
		if p.cfg.Name == name {
			return p.Restart(ctx, sha256)
		}
		names[i] = p.cfg.Name
	}
	message := fmt.Sprintf("no plugin named %q", name)
	if near := spi.Nearest(name, names); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("%w: %s\n  plugins: %s", spi.ErrUnknown, message, strings.Join(names, ", "))
}

// Close ends all plugins at once.
func (l loaded) Close() error {
	errs := make([]error, len(l.plugins))
	var ending sync.WaitGroup
	for i, p := range l.plugins {
		if p != nil {
			ending.Go(func() { errs[i] = p.Close() })
		}
	}
	ending.Wait()
	return errors.Join(errs...)
}
