package spi

import (
	"context"
	"slices"
)

// Pair is one entry of Metadata. Both halves are text; keys are compared exactly
// and by custom lower case, such as "traceparent".
type Pair struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Metadata is what travels beside the arguments or the result: an ordered list,
// small by nature (64 KiB with everything else by default). Nil is empty.
type Metadata []Pair

// Get returns the value of the first pair with that key, and whether there is one.
func (m Metadata) Get(key string) (string, bool) {
	for _, p := range m {
		if p.Key == key {
			return p.Value, true
		}
	}
	return "", false
}

// Set replaces the first pair with that key, or appends one.
func (m *Metadata) Set(key, value string) {
	for i := range *m {
		if (*m)[i].Key == key {
			(*m)[i].Value = value
			return
		}
	}
	*m = append(*m, Pair{key, value})
}

type (
	outgoingKey struct{}
	callKey     struct{}
)

// WithMetadata returns a context whose calls carry the pair, beside those that
// ctx already carries. It does not change ctx.
func WithMetadata(ctx context.Context, key, value string) context.Context {
	m := slices.Clone(Outgoing(ctx))
	m.Set(key, value)
	return context.WithValue(ctx, outgoingKey{}, slices.Clip(m))
}

// Outgoing returns what calls made with ctx carry. Its pairs must not be modified;
// what is appended goes into a copy.
func Outgoing(ctx context.Context) Metadata {
	m, _ := ctx.Value(outgoingKey{}).(Metadata)
	return m
}

// WithoutMetadata returns a context whose calls carry nothing of what ctx says. It
// is for those who put that into the [Call] itself.
func WithoutMetadata(ctx context.Context) context.Context {
	return context.WithValue(ctx, outgoingKey{}, Metadata(nil))
}

// WithCall returns a context from which [CallFrom] returns call. The framework
// uses it for handlers; a test of a handler may use it too.
func WithCall(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// CallFrom returns the call that a handler is serving: its metadata, its method,
// the consumer's address, and the metadata of the answer, which the handler may
// set. It returns nil outside a handler. The call is valid until the handler
// returns.
func CallFrom(ctx context.Context) *Call {
	call, _ := ctx.Value(callKey{}).(*Call)
	return call
}

// IsCallKey reports whether key is the one that [CallFrom] asks a context for, so
// that a context of the framework's own can answer without a chain of values.
func IsCallKey(key any) bool { return key == callKey{} }
