package plugins

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// Register adds the extensions of the plugin to cat, as if they were linked in. What
// stands in for them is opened from cat too. Errors: those of [spi.Point.Add]; what
// was added before one is removed again.
func (p *Plugin) Register(cat *spi.Catalog) error {
	// Kinds that are not here cannot live in a plugin.
	kinds := map[string]struct {
		add    func(*spi.Catalog, spi.Info) error
		remove func(name string)
	}{
		cat.LoadBalancers.Kind(): {p.addBalancer, cat.LoadBalancers.Remove},
		cat.Heartbeats.Kind():    {p.addHeartbeat, cat.Heartbeats.Remove},
		cat.Registries.Kind():    {p.addRegistry, cat.Registries.Remove},
		cat.Proxies.Kind():       {p.addProxy, cat.Proxies.Remove},
		cat.Serializers.Kind():   {p.addSerializer, cat.Serializers.Remove},
	}
	for i, info := range p.extensions {
		kind, ok := kinds[info.Kind]
		if !ok {
			p.log.WithField("kind", info.Kind).Warn("this kind of extension cannot be in a plugin: " + info.Name)
			continue
		}
		if err := kind.add(cat, info); err != nil {
			for _, added := range p.extensions[:i] {
				if kind, ok := kinds[added.Kind]; ok {
					kind.remove(added.Name)
				}
			}
			return fmt.Errorf("register the extensions of plugin %q: %w", p.cfg.Name, err)
		}
	}
	return nil
}

// standIn says what is done while there is no process, for extensions of a kind: what
// on_failure says, or its default.
func (p *Plugin) standIn(kind string) string {
	defaults := map[string]string{"loadbalancer": spi.LastGood, "heartbeat": "three-strike"}
	return cmp.Or(p.cfg.OnFailure[kind], defaults[kind], spi.Fail)
}

// standIns is standIn for everything that the plugin brings, for people.
func (p *Plugin) standIns() string {
	var kinds, all []string
	for _, info := range p.extensions {
		if !slices.Contains(kinds, info.Kind) {
			kinds = append(kinds, info.Kind)
			all = append(all, info.Kind+": "+p.standIn(info.Kind))
		}
	}
	if len(kinds) == 1 {
		return p.standIn(kinds[0])
	}
	return strings.Join(all, ", ")
}
