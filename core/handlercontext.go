package core

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// ErrPeerGone is the [context.Cause] of a handler whose consumer is gone.
var ErrPeerGone = errors.New("the consumer is gone")

// errCallOver is the cause after the handler has returned.
var errCallOver = errors.New("the call is over")

// handlerContext is the context of one handler. Most handlers never look at it, so
// it costs one allocation; the cancellable context inside, with its timer, is made
// when somebody asks for it. It implements [context.Context] and is safe for
// concurrent use.
type handlerContext struct {
	base     context.Context // of the Provider
	call     *spi.Call       // valid until the handler returns
	deadline time.Time       // zero: none

	// unwanted is set when nobody waits for the answer any more.
	unwanted atomic.Bool

	mu     sync.Mutex
	inner  context.Context // nil until needed
	cancel context.CancelCauseFunc
	stop   context.CancelFunc // of the timer in inner
}

// Deadline implements [context.Context].
func (c *handlerContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements [context.Context].
func (c *handlerContext) Done() <-chan struct{} { return c.real().Done() }

// Err implements [context.Context].
func (c *handlerContext) Err() error {
	c.mu.Lock()
	idle := c.inner == nil && (c.deadline.IsZero() || time.Now().Before(c.deadline)) && c.base.Err() == nil
	c.mu.Unlock()
	if idle {
		return nil
	}
	return c.real().Err()
}

// Value implements [context.Context].
func (c *handlerContext) Value(key any) any {
	if spi.IsCallKey(key) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.call
	}
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner == nil {
		return c.base.Value(key)
	}
	return inner.Value(key)
}

// real returns the cancellable context inside.
func (c *handlerContext) real() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.make()
}

// make is real with mu held.
func (c *handlerContext) make() context.Context {
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancelCause(c.base)
		if !c.deadline.IsZero() {
			c.inner, c.stop = context.WithDeadline(c.inner, c.deadline)
		}
	}
	return c.inner
}

// abandon cancels the context, because the caller gave up or is gone.
func (c *handlerContext) abandon(cause error) {
	c.unwanted.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.make()
	c.cancel(cause)
}

// finish is called when the handler has returned: who still holds the context sees
// it ended, and no longer the call.
func (c *handlerContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.call = nil
	if c.inner == nil { // nobody has looked
		c.inner, c.cancel = endedContext, func(error) {}
		return
	}
	c.cancel(errCallOver)
	if c.stop != nil {
		c.stop()
	}
}

// endedContext is shared by all handlers that never looked at theirs.
var endedContext = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errCallOver)
	return ctx
}()
