package spi

import "context"

// Registration is what a provider tells a registry: one service at one address.
type Registration struct {
	Service  string            // service key, see [ServiceKey]
	Address  string            // where consumers connect, "host:port"
	Instance string            // UUID of the provider process side, in text
	Weight   int               // share of calls relative to others; 0 means 1
	Labels   map[string]string // such as zone=eu1; may be nil
}

// Registry is where providers announce themselves and consumers find them. It is
// safe for concurrent use.
type Registry interface {
	// Announce keeps the registration in place until ctx ends, then removes it and
	// returns nil. It calls up(nil) whenever the registration has come into place,
	// and up with the cause whenever it was lost and is being restored; up must
	// not block. It returns an error only if it can never succeed.
	Announce(ctx context.Context, reg Registration, up func(error)) error

	// Watch calls update with the full set of endpoints of a service, first as soon
	// as it is known and then on every change, until ctx ends; it then returns
	// nil. An empty set is a set. Calls to update do not overlap; the slice
	// belongs to the callee. It returns an error only if it can never succeed.
	Watch(ctx context.Context, service string, update func([]Endpoint)) error

	// Close releases what the registry holds. Announce and Watch have returned
	// before it is called. It is safe to call twice.
	Close() error
}
