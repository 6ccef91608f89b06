package drill

import (
	"fmt"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

var corrupt = Kind{
	Name:  "corrupt",
	Short: "one bit of one frame is flipped",
	Long: `One bit in the header of the next frame that provider a sends is flipped.

Expected: the consumer ends that connection at once, with protocol_error and without a
strike, since nothing on it can be trusted any more; the other one is unaffected; the
consumer is connected again.`,
	plan: pair,
	run: func(d *drill) {
		d.hold()
		d.doing("one bit of the next frame from a is flipped", d.link.ToConsumer.Corrupt)
		if !d.await(d.patience, func() bool { _, _, ok := d.lost("consumer"); return ok }) {
			d.fault("consumer: the damage was not noticed within %v", d.patience)
			return
		}
		e, end, _ := d.lost("consumer")
		took := e.at.Sub(d.link.ToConsumer.Corrupted())
		d.found = fmt.Sprintf("%s in %v (bound 1 x interval)", end.Reason, short(took))
		switch {
		case end.Reason != spi.ReasonProtocolError:
			d.fault("consumer: the connection ended by %s, not by protocol_error", end.Reason)
		case took > d.cfg.Interval:
			d.fault("consumer: the damage was noticed after %v, later than an interval", short(took))
		case d.journal.count("consumer", d.broke, is[core.Strike]) > 0:
			d.fault("consumer: there were strikes")
		}
		d.freed()
		d.back()
	},
}
