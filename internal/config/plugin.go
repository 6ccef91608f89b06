package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

const pluginsKey = "plugins"

// plugins reports what is wrong with each plugin by itself, and two of one name.
func (v validator) plugins() {
	first := make(map[string]int)
	for i, p := range v.c.Plugins {
		if v.faults.has(pluginKey(i, "")) { // it is no plugin
			continue
		}
		v.plugin(pluginKey(i, ""), p.Validate())
		if earlier, ok := first[p.Name]; ok && p.Name != "" {
			v.faultNear(pluginKey(i, "name"), "%q is the name of %s too%s; plugins need names of their own", clip(p.Name), pluginKey(earlier, ""), v.set(pluginKey(earlier, "name")))
			continue
		}
		first[p.Name] = i
	}
}

// pluginKey returns the full key of what key says of the i-th plugin, and with "" that
// of the plugin.
func pluginKey(i int, key string) string {
	full := fmt.Sprintf("%s.%d", pluginsKey, i)
	if key == "" {
		return full
	}
	return join(full, key)
}

// plugin reports what [spi.PluginConfig.Validate] says of the plugin called key.
func (v validator) plugin(key string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			v.plugin(key, err)
		}
		return
	}
	if fault, ok := errors.AsType[*spi.PluginFault](err); ok {
		v.faultNear(join(key, fault.Key), "%s", fault.Message)
	}
}

// faultNear reports a fault of a key that may not be set, with the place of the
// nearest one around it.
func (v validator) faultNear(key, format string, args ...any) {
	if !v.faults.has(key) {
		v.faults.add(v.c.near(key), key, spi.ErrInvalid, format, args...)
	}
}

// near returns where a key was set, or the nearest one around it.
func (c *Config) near(key string) spi.Pos {
	for {
		if at, ok := c.from[key]; ok {
			return at
		}
		dot := strings.LastIndexByte(key, '.')
		if dot < 0 {
			return c.from[key]
		}
		key = key[:dot]
	}
}

// StandIns returns what the plugins' on_failure keys name: an extension of the kind
// each, with the key and the place where it was set.
func (c *Config) StandIns() map[string][]spi.Ref {
	refs := make(map[string][]spi.Ref)
	for i, p := range c.Plugins {
		for kind, name := range p.OnFailure {
			key := pluginKey(i, "on_failure."+kind)
			if name != spi.LastGood && name != spi.Fail {
				refs[kind] = append(refs[kind], spi.Ref{Use: name, Key: key, At: c.near(key)})
			}
		}
	}
	return refs
}

// PlacePlugins gives the errors about plugins the place where the plugin, or the key
// that is to blame, was set. Other errors are returned as they are.
func (c *Config) PlacePlugins(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, err := range joined.Unwrap() {
			all = append(all, c.PlacePlugins(err))
		}
		return errors.Join(all...)
	}
	failed, ok := errors.AsType[*spi.PluginError](err)
	if !ok {
		return err
	}
	i := slices.IndexFunc(c.Plugins, func(p spi.PluginConfig) bool { return p.Name == failed.Plugin })
	if i < 0 {
		return err
	}
	key := pluginKey(i, failed.Key)
	return &spi.ConfigError{At: c.near(key), Key: key, Message: err.Error(), Cause: err}
}

// NoLoader is the error of a configuration that has plugins, in a program that cannot
// load them.
func (c *Config) NoLoader() error {
	return &spi.ConfigError{At: c.near(pluginsKey), Key: pluginsKey, Cause: spi.ErrNotLinked,
		Message: `plugins: this program cannot load them; import "github.com/bhrpc/bhrpc/plugins" and pass plugins.Loader to bhrpc.Open`}
}
