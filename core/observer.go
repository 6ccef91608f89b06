package core

import (
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Observer is told what happens to connections. Every func may be nil. They are
// called one after the other, in the order in which things happened, by a goroutine
// that holds no lock: one that takes long delays other events and the log, and
// nothing else. Events beyond 4,096 that wait are dropped and counted, see [Metrics];
// the Disconnected of a Connected that was told never is. Close and Shutdown of a
// Consumer and Shutdown of a Provider return after the last event was told: a func may
// begin them in a goroutine of its own, and must not wait for them. Everything else
// may be called from here.
type Observer struct {
	Connected        func(Connected)
	Strike           func(Strike)
	Recovered        func(Recovered)
	LocalPause       func(LocalPause)
	Disconnected     func(Disconnected)
	ReconnectAttempt func(ReconnectAttempt)
	Reconnected      func(Reconnected)
	Superseded       func(Superseded)
}

// ConnID says which connection an event is about.
type ConnID struct {
	Role spi.Role  // of this side
	ID   uint64    // counts the connections of one consumer or provider from 1
	Peer string    // address of the other side
	At   time.Time // when it happened
}

// Connected is a connection whose HELLOs were exchanged.
type Connected struct {
	ConnID
	Heartbeat    spi.Timing    // of this side
	PeerInterval time.Duration // between the peer's PINGs, as it announced; 0: it sends none
}

// Strike is a heartbeat that was not answered in time.
type Strike struct {
	ConnID
	N        int           // in a row, from 1
	Of       int           // so many are the end; 0: the strategy does not count
	Seq      uint64        // of the last PING
	Silent   time.Duration // since the last sign of life, or the beginning
	InFlight int           // calls without an answer
}

// Recovered is a sign of life after strikes.
type Recovered struct {
	ConnID
	Strikes int // that it undid
}

// LocalPause is a heartbeat that was not counted, because this process itself had
// been stopped or starved.
type LocalPause struct {
	ConnID
	Late time.Duration // how late this side was
}

// Disconnected is the end of a connection that was Connected. There is exactly one
// for each that was told.
type Disconnected struct {
	ConnID
	Reason     string           // one of spi's Reason constants
	Cause      string           // the same, for people
	Strikes    int              // when it ended
	Silent     time.Duration    // since the last sign of life, or the beginning
	Lifetime   time.Duration    // since it was Connected
	Failed     map[spi.Sent]int // calls that failed with it, at a consumer; nil: none
	Cancelled  int              // requests that were cancelled with it, at a provider
	QueueBytes int              // that were not written any more
}

// ReconnectAttempt is a consumer that will connect again.
type ReconnectAttempt struct {
	Peer    string
	Attempt int           // since there was a connection, from 1
	Delay   time.Duration // until it begins
	At      time.Time
}

// Reconnected follows a Connected that was not what the endpoint's first attempt led to:
// after a connection that ended, or attempts that failed.
type Reconnected struct {
	ConnID
	Attempt int           // how many it took
	Down    time.Duration // how long there was no connection
}

// Superseded is a connection at a provider whose consumer gave it up for dead and
// connected again; its Disconnected follows.
type Superseded struct {
	ConnID
	By uint64 // ID of the new connection
}
