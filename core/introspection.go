package core

import (
	"context"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// IntrospectionService and IntrospectionMethod name the built-in method that lists
// the services of a running Provider. Its result is an [Introspection].
const (
	IntrospectionService = reserved
	IntrospectionMethod  = "Services"
)

// maxListed bounds an Introspection, in methods.
const maxListed = 1000

// Introspection is what a Provider says of itself.
type Introspection struct {
	Agent     string        `json:"agent"`
	Services  []ServiceInfo `json:"services"`  // sorted by name
	Truncated bool          `json:"truncated"` // there are more than fit
}

// ServiceInfo describes one service.
type ServiceInfo struct {
	Name    string   `json:"name"`
	Version string   `json:"version,omitempty"`
	Group   string   `json:"group,omitempty"`
	Methods []string `json:"methods"` // signatures, sorted
}

// introspection returns the built-in service.
func (p *Provider) introspection() *Service {
	return &Service{Name: IntrospectionService, Methods: []*Method{{
		Name: IntrospectionMethod, Signature: IntrospectionMethod + "() Introspection",
		NewArgs: func() spi.Args { return spi.Values(nil) },
		Call:    func(context.Context, spi.Args) (any, error) { return p.Services(), nil },
	}}}
}

// Services lists what the Provider serves, the built-in service left out.
func (p *Provider) Services() Introspection {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := Introspection{Agent: agent, Services: []ServiceInfo{}}
	left := maxListed
	for _, s := range p.services {
		if s.Name == IntrospectionService {
			continue
		}
		info := ServiceInfo{Name: s.Name, Version: s.Version, Group: s.Group}
		for _, m := range s.Methods {
			if left--; left < 0 {
				list.Truncated = true
				break
			}
			info.Methods = append(info.Methods, m.Signature)
		}
		slices.Sort(info.Methods)
		list.Services = append(list.Services, info)
	}
	slices.SortFunc(list.Services, func(a, b ServiceInfo) int {
		return strings.Compare(spi.ServiceKey(a.Name, a.Version, a.Group), spi.ServiceKey(b.Name, b.Version, b.Group))
	})
	return list
}
