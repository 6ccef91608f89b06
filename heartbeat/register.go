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
		spi.Register(p, "none", "Sends no PING. The peer's are answered all the same; a silent peer is found by TCP and the write timeout.", noneConfig{}, openNone),
	)
}
