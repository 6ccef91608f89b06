package interceptor

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// openRecover catches what panics between itself and the method or the network. A
// provider answers for a panic by itself, too, when it has passed every interceptor;
// named first here, those see an error instead and the call is one like any other.
func openRecover(_ context.Context, env spi.Env, _ none) (spi.Interceptor, error) {
	return func(next spi.InvokeFunc) spi.InvokeFunc {
		return func(ctx context.Context, call *spi.Call) (err error) {
			defer func() {
				if value := recover(); value != nil {
					err = panicked(ctx, env.Log, call, value)
				}
			}()
			return next(ctx, call)
		}
	}, nil
}

// panicked logs a panic and returns the error that takes its place.
func panicked(ctx context.Context, log logrus.FieldLogger, call *spi.Call, value any) error {
	failure := &spi.Error{Code: spi.Internal, Reason: spi.ReasonHandlerPanic}
	if served(ctx, call) {
		failure.Phase, failure.Message, failure.Hint = spi.PhaseHandler, "the handler panicked", "the provider's log has the stack"
	} else {
		failure.Service, failure.Method, failure.Endpoint = call.Method.Service, call.Method.Name, call.Peer
		failure.Sent = spi.SentMaybe // it may have panicked on the way back
		failure.Message, failure.Hint = "an interceptor panicked", "the log has the stack"
	}
	log.WithFields(logrus.Fields{"method": call.Method.String(), "peer": call.Peer, "panic": fmt.Sprint(value)}).
		Errorf("%s\n%s", failure.Message, debug.Stack())
	return failure
}
