package core

import (
	"context"
	"maps"
	"slices"

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
	Services  []ServiceInfo `json:"services"`  // sorted by name, version and group
	Truncated bool          `json:"truncated"` // there are more methods than the thousand that fit
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
	for _, key := range slices.Sorted(maps.Keys(p.services)) {
		s := p.services[key]
		if s.Name == IntrospectionService {
			continue
		}
		info := ServiceInfo{Name: s.Name, Version: s.Version, Group: s.Group, Methods: s.signatures()}
		if len(info.Methods) > left {
			info.Methods, list.Truncated = info.Methods[:left], true
		}
		if left -= len(info.Methods); len(info.Methods) > 0 {
			list.Services = append(list.Services, info)
		}
	}
	return list
}

// registered lists what is served, the built-in service included, sorted by key.
func (p *Provider) registered() []*Service {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*Service
	for _, key := range slices.Sorted(maps.Keys(p.services)) {
		all = append(all, p.services[key])
	}
	return all
}

// signatures returns those of the methods, sorted.
func (s *Service) signatures() []string {
	all := make([]string, len(s.Methods))
	for i, m := range s.Methods {
		all[i] = m.Signature
	}
	slices.Sort(all)
	return all
}
