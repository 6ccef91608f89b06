package heartbeat

import (
	"errors"

	"github.com/bhrpc/bhrpc/spi"
)

// Register adds the built-in strategies to the catalog. The errors are those of
// [spi.Register].
func Register(cat *spi.Catalog) error {
	p := cat.Heartbeats
	return errors.Join(
		spi.Register(p, "three-strike", "Sends a PING every interval; a peer that leaves several in a row unanswered is dead. The default.", DefaultThreeStrikeConfig(), openThreeStrike),
		spi.Register(p, "idle", "Sends a PING only when nothing happens on the connection; a peer that is silent for reader_idle is dead. The least traffic.", DefaultIdleConfig(), openIdle),
		spi.Register(p, "phi-accrual", "Learns how regularly PINGs are answered; a peer is dead when its silence has become unlikely. For links whose quality varies.", DefaultPhiAccrualConfig(), openPhiAccrual),
		spi.Register(p, "none", "Sends no PING. The peer's are answered all the same; a silent peer is found by TCP and the write timeout.", noneConfig{}, openNone),
	)
}
