package spi

import (
	"fmt"
	"slices"
)

// Catalog is the framework's extension points; its fields are the closed list of
// what can be extended. A program makes one, fills it and passes it down; there is
// no global one.
type Catalog struct {
	Serializers   *Point[Serializer]
	LoadBalancers *Point[LoadBalancer]
	Proxies       *Point[Proxy]
	Heartbeats    *Point[Heartbeat]
	Registries    *Point[Registry]
	Compressors   *Point[Compressor]
	Interceptors  *Point[Interceptor]

	// PluginLoader starts the programs that the key plugins names. nil: none is linked
	// in, and the key is refused.
	PluginLoader PluginLoader
}

// NewCatalog returns a Catalog of empty points.
func NewCatalog() *Catalog {
	return &Catalog{
		Serializers:   NewPoint[Serializer]("serializer"),
		LoadBalancers: NewPoint[LoadBalancer]("loadbalancer"),
		Proxies:       NewPoint[Proxy]("proxy"),
		Heartbeats:    NewPoint[Heartbeat]("heartbeat"),
		Registries:    NewPoint[Registry]("registry"),
		Compressors:   NewPoint[Compressor]("compressor"),
		Interceptors:  NewPoint[Interceptor]("interceptor"),
	}
}

// List describes everything in the catalog, by kind in the order of the fields,
// then by name.
func (c *Catalog) List() []Info {
	return slices.Concat(c.Serializers.List(), c.LoadBalancers.List(), c.Proxies.List(), c.Heartbeats.List(), c.Registries.List(),
		c.Compressors.List(), c.Interceptors.List())
}

// Resolve is [Point.Resolve] of the point of that kind. Errors: those, and
// [ErrUnknown] for a kind that there is not.
func (c *Catalog) Resolve(kind string, ref Ref) (Resolved, error) {
	for _, p := range []interface {
		Kind() string
		Resolve(Ref) (Resolved, error)
	}{c.Serializers, c.LoadBalancers, c.Proxies, c.Heartbeats, c.Registries, c.Compressors, c.Interceptors} {
		if p.Kind() == kind {
			return p.Resolve(ref)
		}
	}
	return Resolved{}, ref.errorf(ErrUnknown, "there is no kind of extension called %q", kind)
}

// Absent makes the errors about unknown names, of every kind, say that a plugin which
// might have brought them did not start, and why.
func (c *Catalog) Absent(plugin string, why error) {
	note := fmt.Sprintf("plugin %q, which is optional, did not start: %v", plugin, why)
	for _, p := range []interface{ absent(note string) }{c.Serializers, c.LoadBalancers, c.Proxies, c.Heartbeats, c.Registries} {
		p.absent(note)
	}
}
