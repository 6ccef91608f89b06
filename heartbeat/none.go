package heartbeat

import (
	"context"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// noneConfig is the configuration of a strategy that takes none.
type noneConfig struct{}

func openNone(context.Context, spi.Env, noneConfig) (spi.Heartbeat, error) { return none{}, nil }

// none trusts every peer.
type none struct{}

func (none) Timing() spi.Timing { return spi.Timing{} }

// Decide is never asked, since Timing has no interval; whoever asks all the same
// learns nothing and is told to come back much later.
func (none) Decide(_ spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	return spi.Decision{Next: time.Hour}, st
}
