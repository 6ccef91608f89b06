package bhrpc

import (
	"context"
	"fmt"

	"github.com/bhrpc/bhrpc/spi"
)

// Call calls a method by name and returns its result. method is "Service.Method",
// divided at the last dot; arguments are values or pointers to them. c is an [App],
// or anything else that makes calls.
//
// The error is nil or an *[Error]. Without a deadline of its own, ctx is bounded by
// the timeout that the configuration gives the service.
func Call[R any](ctx context.Context, c spi.Invoker, method string, args ...any) (R, error) {
	var result R
	err := Invoke(ctx, c, method, &result, args...)
	return result, err
}

// Invoke is [Call] for results that are not made by the call: reply is a pointer to
// what receives the result, or nil for a method without one.
func Invoke(ctx context.Context, c spi.Invoker, method string, reply any, args ...any) error {
	service, name, ok := spi.SplitMethod(method)
	if !ok {
		return &Error{Code: spi.InvalidArgument, Phase: spi.PhaseResolve, Sent: spi.SentNo, Message: fmt.Sprintf("method %q is not of the form Service.Method", method)}
	}
	return c.Invoke(ctx, &spi.Call{Method: c.Method(service, name), Args: spi.Values(args), Reply: reply})
}

// Error is every error that a call returns: a code, how far the call had come,
// where, whether it was sent, and what to do. It is [spi.Error].
type Error = spi.Error

// WithMetadata returns a context whose calls carry the pair beside their arguments.
func WithMetadata(ctx context.Context, key, value string) context.Context {
	return spi.WithMetadata(ctx, key, value)
}

// Serving returns the call that a handler is serving: its metadata, the consumer's
// address, who it is by its certificate, and the metadata of the answer, which the
// handler may set. It returns nil outside a handler, and what it returns is valid until the handler returns.
func Serving(ctx context.Context) *spi.Call { return spi.CallFrom(ctx) }
