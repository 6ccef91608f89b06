package interceptor

import (
	"context"
	"errors"

	"github.com/bhrpc/bhrpc/spi"
)

// none is the configuration of an extension that takes none.
type none struct{}

// Register adds the built-in interceptors to the catalog. The errors are those of
// [spi.Register].
func Register(cat *spi.Catalog) error {
	p := cat.Interceptors
	return errors.Join(
		spi.Register(p, "access-log", "Logs one line for every call: method, peer, code and how long it took.", AccessLogConfig{Level: "info"}, openAccessLog),
		spi.Register(p, "recover", "Makes a panic in what it is around, on either side, an INTERNAL error of that call, and logs the stack.", none{}, openRecover),
	)
}

// served reports whether call is one that a provider serves, rather than one that a
// consumer makes, be it within a handler.
func served(ctx context.Context, call *spi.Call) bool { return spi.CallFrom(ctx) == call }
