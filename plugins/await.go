package plugins

import (
	"context"
	"fmt"
	"sync"
)

// arrivals tells those who wait that another generation may be ready. The zero
// arrivals is ready for use, and safe for concurrent use.
type arrivals struct {
	mu     sync.Mutex
	next   chan struct{} // closed by tell, which forgets it; nil: nobody waits
	closed bool          // there will be no other
}

// wait returns what is closed at the next tell.
func (a *arrivals) wait() (next <-chan struct{}, closed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		a.next = make(chan struct{})
	}
	return a.next, a.closed
}

// tell wakes everybody who waits; closed: for the last time.
func (a *arrivals) tell(closed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = a.closed || closed
	if a.next != nil {
		close(a.next)
		a.next = nil
	}
}

// await waits for a generation that is ready and comes after a number, 0 for any. The
// caller releases it. Errors: that of ctx, and errNotReady when the plugin is closed.
func (p *Plugin) await(ctx context.Context, after uint64) (*generation, error) {
	for {
		next, closed := p.arrivals.wait() // before the look, or one could be missed
		if g := p.ready.Load(); g != nil && g.number > after && g.hold() {
			return g, nil
		}
		if closed {
			return nil, fmt.Errorf("plugin %q %w", p.cfg.Name, errNotReady)
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
