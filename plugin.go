package bhrpc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// resolve checks the configuration, starts its plugins, nil if it has none, and looks
// up every name, so that what is wrong stops the start and not a call. If it fails
// nothing is left running.
func (c *Config) resolve(ctx context.Context, log logrus.FieldLogger, cat *spi.Catalog) (spi.Plugins, error) {
	if len(c.c.Plugins) == 0 {
		return nil, errors.Join(c.c.Validate(), c.check(cat))
	}
	if err := errors.Join(c.c.Validate(), c.checkStandIns(cat)); err != nil {
		return nil, err // names that a plugin brings are not known yet
	}
	if cat.PluginLoader == nil {
		return nil, c.c.NoLoader()
	}
	plugins, err := cat.PluginLoader.Load(ctx, spi.Env{Log: log}, cat, slices.Clone(c.c.Plugins))
	if err != nil {
		return nil, c.c.PlacePlugins(err)
	}
	if err := c.check(cat); err != nil {
		return nil, errors.Join(err, plugins.Close())
	}
	return plugins, nil
}

// checkStandIns looks up what stands in for plugins that do not run, among what is
// linked in.
func (c *Config) checkStandIns(cat *spi.Catalog) error {
	var errs []error
	refs := c.c.StandIns()
	for _, kind := range slices.Sorted(maps.Keys(refs)) {
		for _, ref := range refs[kind] {
			_, err := cat.Resolve(kind, ref)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// withheld reports whether an extension that is asked for every call, if it is in a
// plugin, must not be used: nobody has set per_call.
func (c *Config) withheld(info spi.Info) bool {
	return slices.ContainsFunc(c.c.Plugins, func(p spi.PluginConfig) bool { return !p.PerCall && info.Source == "plugin "+p.Name })
}

// Plugins describes every plugin process, in the order of the configuration; nil if it
// has none.
func (a *App) Plugins() []spi.PluginStatus {
	if a.plugins == nil {
		return nil
	}
	return a.plugins.Status()
}

// RestartPlugin replaces the process of a plugin by a new one and lets the calls of
// the old one finish. sha256 is the hash of the new program; "": the configured one. If
// the new one does not start within the plugin's start_timeout the old one stays.
// Errors: [spi.ErrUnknown] for a name that is no plugin.
func (a *App) RestartPlugin(ctx context.Context, name, sha256 string) error {
	err := fmt.Errorf("%w: no plugin named %q; the configuration has no plugins", spi.ErrUnknown, name)
	if a.plugins != nil {
		err = a.plugins.Restart(ctx, name, sha256)
	}
	if err != nil {
		return fmt.Errorf("bhrpc: %w", err)
	}
	return nil
}
