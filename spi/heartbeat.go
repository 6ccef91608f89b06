package spi

import "time"

// Role is a side of a connection.
type Role string

// The sides.
const (
	RoleConsumer Role = "consumer" // calls, and connects again after a loss
	RoleProvider Role = "provider" // serves, and never connects
)

// Heartbeat decides when a silent peer is dead. Package heartbeat asks it for every
// connection of a consumer or provider and does what it decides; the strategy itself
// is pure: it has no clock, makes no I/O, starts no goroutine, and the same Snapshot
// and State give the same Decision and State, whatever was asked before. So it can
// be tested without a connection, and live in another process.
//
// It must be safe for concurrent use.
type Heartbeat interface {
	// Timing returns what the host derives its own times from. It never changes.
	Timing() Timing

	// Decide is asked first at a random moment within one Timing.Interval after the
	// connection came up, then after every Decision.Next, and earlier when a
	// connection that is Suspect gives a sign of life. Its State is the one that it
	// returned last for this connection, at first the zero State.
	Decide(Snapshot, State) (Decision, State)
}

// Timing is what a host derives its own times from: the interval that it announces
// to the peer, the write timeout and the TCP user timeout.
type Timing struct {
	// Interval is the usual time between two PINGs on a silent connection. 0: the
	// strategy never pings, and is never asked; the peer's PINGs are answered all the
	// same.
	Interval time.Duration

	// Strikes is how many unanswered PINGs in a row make a peer dead, for listings
	// and logs. 0: the strategy does not count.
	Strikes int

	// Silence is the longest that a peer can be silent before it is dead.
	Silence time.Duration
}

// Snapshot is one connection at one moment, as plain data. Durations count from the
// moment when the connection came up, on a clock that never jumps (it stands still
// while the machine is suspended). What has not happened yet is 0.
type Snapshot struct {
	ConnID uint64 // unique within one consumer or provider
	Role   Role   // of this side

	Now time.Duration
	Due time.Duration // when this question was due; Now-Due is how late this side is itself

	LastIn     time.Duration // when the peer gave a sign of life last, see InCount
	LastOut    time.Duration // when the kernel took bytes last, which proves nothing about the peer
	LastPingAt time.Duration
	LastRTT    time.Duration // from the last PING that was answered to its PONG

	PingSeq   uint64 // of the last PING; they count from 1
	AckSeq    uint64 // the highest PING that a PONG answered; it answers all before it, too
	PongCount uint64 // PONGs that answered a PING of this connection
	// InCount counts signs of life: complete frames that only a peer at work sends
	// (PONG, RESPONSE, ERROR, a chunk of a body, at a provider REQUEST), and every
	// 4 KiB of one frame. A PING, CANCEL, GOAWAY or HELLO is none: the peer's own
	// heartbeat does not answer this side's.
	InCount uint64

	WriteStalled bool  // the last PING still waits in this process: the kernel takes no bytes
	QueueBytes   int64 // bytes that wait to be written
	Inflight     int   // calls without an answer
}

// Liveness is what a strategy thinks of a peer. The zero Liveness is Alive.
type Liveness uint8

// The degrees of liveness.
const (
	Alive   Liveness = iota
	Suspect          // calls avoid the connection while there is another one
	Dead             // the connection is closed at once
)

var livenesses = [...]string{"alive", "suspect", "dead"}

// String returns a lower-case word.
func (l Liveness) String() string {
	if int(l) < len(livenesses) {
		return livenesses[l]
	}
	return "unknown"
}

// Decision is what a [Heartbeat] wants done.
type Decision struct {
	Liveness Liveness
	SendPing bool          // its number will be Snapshot.PingSeq + 1
	Next     time.Duration // from Snapshot.Now to the next Decide; the host asks no sooner than a tenth of Timing.Interval, or 100 ms if that is less
	Strikes  int           // unanswered PINGs in a row, this moment's included
	Reason   string        // [ReasonLocalPause], or of Dead: [ReasonHeartbeatTimeout] or [ReasonWriteStalled]
}

// ReasonLocalPause is the Reason of a Decision that counts nothing, because this
// side was itself too late to judge.
const ReasonLocalPause = "local_pause"

// State is what a strategy remembers of one connection. The host keeps it, as bytes
// of the strategy's own making; by value, since that costs no allocation.
type State [128]byte
