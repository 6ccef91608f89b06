package plugins

import (
	"fmt"

	"github.com/bhrpc/bhrpc/spi"
)

// Register adds the extensions of the plugin to cat, as if they were linked in. What
// stands in for them is opened from cat too. Errors: those of [spi.Point.Add]; what
// was added before one is removed again.
func (p *Plugin) Register(cat *spi.Catalog) error {
	// What adds an extension of a kind. Kinds that are not here cannot live in a plugin.
	kinds := map[string]func(*spi.Catalog, spi.Info) error{
		cat.LoadBalancers.Kind(): p.addBalancer,
		cat.Heartbeats.Kind():    p.addHeartbeat,
		cat.Registries.Kind():    p.addRegistry,
		cat.Proxies.Kind():       p.addProxy,
		cat.Serializers.Kind():   p.addSerializer,
	}
	for _, info := range p.extensions {
		add, ok := kinds[info.Kind]
		if !ok {
			p.log.WithField("kind", info.Kind).Warn("this kind of extension cannot be in a plugin: " + info.Name)
			continue
		}
		if err := add(cat, info); err != nil {
			return fmt.Errorf("register the extensions of plugin %q: %w", p.cfg.Name, err)
		}
	}
	return nil
}
