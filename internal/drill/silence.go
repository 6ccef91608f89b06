package drill

import "github.com/bhrpc/bhrpc/core"

// The drills in which somebody falls silent.

var freeze = Kind{
	Name:  "freeze",
	Short: "nothing passes either way, all sockets stay open",
	Long: `The link to provider a freezes: nothing is read or written, no socket closes, as with a
process that is stopped or a cable that is pulled.

Expected: the consumer and provider a each find the other dead after three unanswered
heartbeats; calls under way are made again on b; the handler at a is cancelled; when
the link is healed, the consumer is connected again.`,
	plan: pair,
	run: func(d *drill) {
		d.hold()
		d.phase()
		d.doing("link to a frozen both ways, sockets stay open", d.link.Freeze)
		d.foundDead()
		if len(d.own) > 0 {
			d.dead("a", d.link.ToProvider.LastByte)
		}
		d.heal()
		d.back()
	},
}

var drop = Kind{
	Name:  "drop",
	Short: "what the provider sends is lost, what the consumer sends arrives",
	Long: `What provider a sends is thrown away; what the consumer sends arrives. The provider's
interval is three times the consumer's, so that the consumer acts first.

Expected: the consumer finds a dead after three unanswered heartbeats, though a hears it
and answers; a learns it by the reset of the connection, and cancels the handler; when
the link is healed, the consumer is connected again.`,
	plan: slowProvider,
	run: func(d *drill) {
		d.hold()
		d.phase()
		d.doing("what a sends is lost, what the consumer sends arrives", d.link.ToConsumer.Drop)
		d.foundDead()
		d.freed()
		d.heal()
		d.back()
	},
}

var halfOpen = Kind{
	Name:  "half-open",
	Short: "the connection is forgotten on the way, new ones pass",
	Long: `The connection to provider a is forgotten on the way, as by a router that has lost its
table: both ends stay open and carry nothing. New connections pass. The provider's
interval is three times the consumer's, so that the consumer acts first.

Expected: the consumer finds a dead after three unanswered heartbeats and connects
again; the new connection supersedes the old one at a, which frees it at once and does
not wait for its own heartbeat.`,
	plan: slowProvider,
	run: func(d *drill) {
		d.hold()
		d.phase()
		d.doing("the connection to a is forgotten on the way, both ends stay open, new ones pass", d.link.HalfOpen)
		d.foundDead()
		d.back()
		d.freed()
		if len(d.own) > 0 && d.journal.count("a", d.broke, is[core.Superseded]) != 1 {
			d.fault("provider a: the old connection was not superseded")
		}
		d.heal()
	},
}

// slowProvider is the usual stage with a provider that leaves it to the consumer to act.
func slowProvider(c Config) plan {
	p := pair(c)
	p.providerInterval *= 3
	return p
}

// freed waits until provider a has let the connection go, for whatever reason.
func (d *drill) freed() {
	if len(d.own) == 0 {
		return
	}
	if !d.await(d.cfg.latest(), func() bool { _, _, ok := d.lost("a"); return ok }) {
		d.fault("provider a: the connection was not freed within %v", d.cfg.latest())
	}
}
