package core

import (
	"strconv"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

const (
	// linesPerPeer is how many lines about one peer go to the log at once; then it is
	// one per second.
	linesPerPeer = 20

	// linesOfAll is the same for all peers together: twenty thousand that die at once
	// are not twenty thousand lines.
	linesOfAll = 1000

	// rememberedPeers bounds the peers whose lines are counted.
	rememberedPeers = 4096
)

// eventLog writes what happens to connections to the log: changes of state only, and
// of one peer, and of all of them, not too many. One goroutine uses it.
type eventLog struct {
	log    logrus.FieldLogger
	peer   string                // what its address is called: "endpoint" or "consumer"
	action string                // what this side does about a dead peer
	limits map[string]*rateLimit // by peer
	all    rateLimit
}

// newEventLog returns a log of one side.
func newEventLog(log logrus.FieldLogger, peer, action string) *eventLog {
	return &eventLog{log: log, peer: peer, action: action, limits: make(map[string]*rateLimit), all: rateLimit{burst: linesOfAll}}
}

// about returns where lines about a connection go; false: there were too many.
func (l *eventLog) about(id ConnID) (logrus.FieldLogger, bool) {
	limit := l.limits[id.Peer]
	if limit == nil {
		if len(l.limits) >= rememberedPeers {
			clear(l.limits)
		}
		limit = &rateLimit{burst: linesPerPeer}
		l.limits[id.Peer] = limit
	}
	return l.log.WithFields(logrus.Fields{l.peer: id.Peer, "conn": id.ID}), limit.allow() && l.all.allow()
}

// observer writes what both sides have to say.
func (l *eventLog) observer() *Observer {
	return &Observer{
		Connected: func(c Connected) {
			l.log.WithFields(logrus.Fields{l.peer: c.Peer, "conn": c.ID, "interval": c.Heartbeat.Interval, "peer_interval": c.PeerInterval}).Debug("connected")
		},
		Strike: func(s Strike) {
			log, ok := l.about(s.ConnID)
			if !ok {
				return
			}
			strike := strconv.Itoa(s.N)
			if s.Of > 0 {
				strike += "/" + strconv.Itoa(s.Of)
			}
			log = log.WithFields(logrus.Fields{"strike": strike, "silent": s.Silent.Round(time.Millisecond), "in_flight": s.InFlight})
			switch {
			case s.Of > 0 && s.N >= s.Of:
				log.WithField("action", l.action).Warn("heartbeat unanswered")
			case s.N > 1:
				log.Warn("heartbeat unanswered")
			default:
				log.Info("heartbeat unanswered")
			}
		},
		Recovered: func(r Recovered) {
			if log, ok := l.about(r.ConnID); ok {
				log.WithField("strikes", r.Strikes).Info("recovered")
			}
		},
		LocalPause: func(p LocalPause) {
			if log, ok := l.about(p.ConnID); ok {
				log.WithField("late", p.Late.Round(time.Millisecond)).Info("this process was paused; a heartbeat was not counted")
			}
		},
		Superseded: func(s Superseded) {
			if log, ok := l.about(s.ConnID); ok {
				log.WithField("by", s.By).Info("superseded: the consumer connected again")
			}
		},
	}
}

// logConsumer is the log of a consumer.
func logConsumer(log logrus.FieldLogger) *Observer {
	l := newEventLog(log, "endpoint", "reconnect")
	o := l.observer()
	o.Disconnected = func(d Disconnected) {
		switch d.Reason {
		case spi.ReasonGoAway, spi.ReasonClosed:
			return // it was meant to end
		}
		if log, ok := l.about(d.ConnID); ok {
			log.WithFields(logrus.Fields{"reason": d.Reason, "cause": d.Cause, "failed": d.Failed[spi.SentMaybe] + d.Failed[spi.SentNo]}).Warn("disconnected")
		}
	}
	o.ReconnectAttempt = func(a ReconnectAttempt) {
		log.WithFields(logrus.Fields{"endpoint": a.Peer, "attempt": a.Attempt, "delay": a.Delay.Round(time.Millisecond)}).Debug("will connect")
	}
	o.Reconnected = func(r Reconnected) {
		if log, ok := l.about(r.ConnID); ok {
			log.WithFields(logrus.Fields{"attempt": r.Attempt, "down": r.Down.Round(time.Millisecond)}).Info("reconnected")
		}
	}
	return o
}

// logProvider is the log of a provider, which complains about consumers at a limited
// rate.
func logProvider(log logrus.FieldLogger, complaints *rateLimit) *Observer {
	l := newEventLog(log, "consumer", "disconnect")
	o := l.observer()
	o.Disconnected = func(d Disconnected) {
		logGone(log.WithFields(logrus.Fields{"consumer": d.Peer, "conn": d.ID, "cancelled": d.Cancelled}), complaints, d.Reason, d.Cause)
	}
	return o
}

// logGone writes why a provider's connection ended.
func logGone(log logrus.FieldLogger, complaints *rateLimit, reason, cause string) {
	log = log.WithFields(logrus.Fields{"reason": reason, "cause": cause})
	switch reason {
	case spi.ReasonProtocolError, spi.ReasonWriteStalled, spi.ReasonConnecting, spi.ReasonOverloaded, spi.ReasonCertificate, spi.ReasonTLS, spi.ReasonHeartbeatTimeout:
		if complaints.allow() {
			log.Warn("disconnected a consumer")
		}
	default:
		log.Debug("consumer gone")
	}
}
