package plugins

import (
	"context"
	"fmt"
	"time"
)

// awaitEvery is how often await looks.
const awaitEvery = 5 * time.Millisecond

// await returns a generation that is ready and later than after, which the caller
// releases; it waits for one until ctx ends.
func (p *Plugin) await(ctx context.Context, after uint64) (*generation, error) {
	ticks := time.NewTicker(awaitEvery)
	defer ticks.Stop()
	for {
		if g := p.ready.Load(); g != nil && g.number > after && g.hold() {
			return g, nil
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for plugin %q, which %w: %w", p.cfg.Name, errNotReady, ctx.Err())
		}
	}
}
