package core

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// ConnState is where a connection, or an endpoint without one, stands;
// docs/connections.md draws the edges.
type ConnState string

// The states. Backoff and, at a consumer, connecting are of endpoints that have no
// connection.
const (
	ConnConnecting ConnState = "connecting" // dialled or accepted, no HELLO of the peer yet
	ConnUp         ConnState = "up"         // in use
	ConnSuspect    ConnState = "suspect"    // in use where there is no other: a heartbeat is unanswered
	ConnDraining   ConnState = "draining"   // calls in flight finish, none are added
	ConnBackoff    ConnState = "backoff"    // the next attempt to connect waits
)

// ConnInfo is one connection, or one endpoint that has none, as it was at one
// moment. It is plain data and belongs to whoever asked.
type ConnInfo struct {
	Side       string       `json:"side"` // of this process: "consumer" or "provider"
	Peer       string       `json:"peer"` // address of the other side
	State      ConnState    `json:"state"`
	Serializer string       `json:"serializer,omitempty"` // what requests are in; at a provider all that the consumer offers and this side reads, with commas; "json (HTTP)"
	InFlight   int          `json:"in_flight"`            // calls without an answer yet
	BytesIn    uint64       `json:"bytes_in"`             // read from the connection
	BytesOut   uint64       `json:"bytes_out"`            // taken by the kernel
	FramesIn   uint64       `json:"frames_in"`            // read since the HELLO; HTTP has none
	FramesOut  uint64       `json:"frames_out"`           // written or in line; HTTP has none
	Queued     int          `json:"queued"`               // bytes in line
	Age        spi.Duration `json:"age"`                  // since when it is connected, or not
	LastIn     spi.Duration `json:"last_in"`              // how long ago bytes came; says nothing while BytesIn is 0
	LastOut    spi.Duration `json:"last_out"`             // how long ago bytes went; says nothing while BytesOut is 0
	Late       uint64       `json:"late"`                 // answers that nobody waited for any more; of a consumer
	Reconnects uint64       `json:"reconnects"`           // of the endpoint, since it was listed; of a consumer
	Error      string       `json:"error,omitempty"`      // why there is no connection
	ID         uint64       `json:"id,omitempty"`         // as in events and the log; 0: not up yet
	Strikes    int          `json:"strikes"`              // heartbeats in a row without an answer
	StrikesOf  int          `json:"strikes_of"`           // so many are the end; 0: no heartbeat that counts
	RTT        spi.Duration `json:"rtt"`                  // of the last heartbeat that was answered; 0: none was
	LastSign   spi.Duration `json:"last_sign"`            // how long ago the last sign of life was, which a PING of the peer is not
}

// traffic counts what a reader reads. Its one writer is the reader; anybody may look.
type traffic struct {
	since time.Time // when the connection was made
	bytes atomic.Uint64
	last  atomic.Int64 // of the last bytes, in nanoseconds after since

	signs atomic.Uint64 // of life
	sign  atomic.Int64  // of the last one, in nanoseconds after since
	noted int           // signs that are not counted yet; of the reader alone

	rested bool // bytes came after a rest; the reader's own
}

// progress is how much of one frame is a sign of life, in bytes.
const progress = 4 << 10

// count adds the signs of life that were noted, and reports whether there were any.
func (t *traffic) count() bool {
	if t.noted == 0 {
		return false
	}
	t.sign.Store(t.last.Load())
	t.signs.Add(uint64(t.noted))
	t.noted = 0
	return true
}

// rest is so long without bytes that a connection is likely to be quiet again.
const rest = time.Second

// add counts one read: a clock is looked at per read, not per frame.
func (t *traffic) add(n int) {
	if n > 0 {
		t.bytes.Add(uint64(n))
		now := int64(time.Since(t.since))
		t.rested = t.rested || now-t.last.Load() >= int64(rest)
		t.last.Store(now)
	}
}

// written counts what left by an outbox. Guarded by its mu.
type written struct {
	bytes, frames uint64
	last          time.Time
}

func (w *written) add(n int) {
	if n > 0 {
		w.bytes += uint64(n)
		w.last = time.Now()
	}
}

// info describes what both sides of a connection have. What is read from one lock is
// of one moment; the reader's counters may be a frame ahead of it.
func (c *conn) info(side, peer string, state ConnState) ConnInfo {
	i := ConnInfo{Side: side, Peer: peer, State: state, BytesIn: c.in.traffic.bytes.Load(), FramesIn: c.framesIn.Load()}
	i.Age = since(c.in.traffic.since)
	i.LastIn = max(0, i.Age-spi.Duration(c.in.traffic.last.Load()))
	if c.heart.up.Load() {
		status := c.status()
		i.ID, i.Strikes, i.StrikesOf, i.RTT, i.LastSign = c.heart.id, status.Strikes, c.heart.timing.Strikes, spi.Duration(status.RTT), spi.Duration(c.silent())
		if state == ConnUp && status.Strikes > 0 {
			i.State = ConnSuspect
		}
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	i.BytesOut, i.FramesOut, i.Queued = c.out.written.bytes, c.out.written.frames, c.out.small.queued+c.out.large.queued+len(c.out.control)
	if i.BytesOut > 0 {
		i.LastOut = since(c.out.written.last)
	}
	return i
}

func since(t time.Time) spi.Duration { return spi.Duration(time.Since(t)) }

// Conns describes every endpoint of the Consumer: its connection, or why it has
// none; and every connection that drains beside. They are sorted by address.
func (c *Consumer) Conns() []ConnInfo {
	c.mu.Lock()
	endpoints := slices.Collect(maps.Values(c.endpoints))
	c.mu.Unlock()
	var list []ConnInfo
	shown := make(map[*consumerConn]bool)
	for _, e := range endpoints {
		if i, conn, ok := e.info(); ok {
			list = append(list, i)
			shown[conn] = true
		}
	}
	for _, conn := range c.open.list() { // after the endpoints: what was up then is not shown again
		if !shown[conn] && conn.isDraining() {
			list = append(list, conn.info(ConnDraining))
		}
	}
	sortByPeer(list)
	return list
}

// info describes the endpoint and returns the connection that it showed, if any. It
// returns false if the endpoint is gone.
func (e *endpoint) info() (ConnInfo, *consumerConn, bool) {
	e.mu.Lock()
	state, conn, reconnects, downSince := e.state, e.conn, e.reconnects, e.downSince
	why := e.lostBy
	if last, ok := errors.AsType[*spi.Error](e.last); ok {
		why = last.Message
	}
	e.mu.Unlock()
	i := ConnInfo{Side: "consumer", Peer: e.address, Age: since(downSince), Error: why}
	switch state {
	case gone:
		return i, nil, false
	case up, suspected:
		i = conn.info(ConnUp)
	case connecting:
		i.State = ConnConnecting
	default:
		i.State = ConnBackoff
	}
	i.Reconnects = reconnects
	return i, conn, true
}

func (c *consumerConn) info(state ConnState) ConnInfo {
	i := c.conn.info("consumer", c.endpoint.address, state)
	i.Serializer = c.hello.Serializers[0].Name
	i.InFlight, i.Late = int(c.inFlight.Load()), c.late.Load()
	return i
}

// isDraining reports whether only calls in flight keep the connection.
func (c *consumerConn) isDraining() bool {
	select {
	case <-c.ended:
		return false
	default:
	}
	select {
	case <-c.draining:
		return true
	default:
		return false
	}
}

// Conns describes every connection of the Provider, sorted by address.
func (p *Provider) Conns() []ConnInfo {
	p.mu.Lock()
	conns, leaving := slices.Collect(maps.Keys(p.conns)), p.closing
	p.mu.Unlock()
	list := make([]ConnInfo, len(conns))
	for i, c := range conns {
		list[i] = c.info(leaving)
	}
	sortByPeer(list)
	return list
}

func (c *providerConn) info(leaving bool) ConnInfo {
	c.mu.Lock()
	inFlight, stopped, serializers := len(c.requests)+c.asking, c.stopped, c.offered
	c.mu.Unlock()
	state := ConnUp
	switch {
	case stopped || leaving:
		state = ConnDraining
	case serializers == "":
		state = ConnConnecting
	}
	i := c.conn.info("provider", c.remote, state)
	i.Serializer, i.InFlight = serializers, inFlight
	return i
}

// asked notes that an HTTP request began, or with -1 that it ended.
func (c *providerConn) asked(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offered = "json (HTTP)"
	c.asking += n
}

func sortByPeer(list []ConnInfo) {
	slices.SortFunc(list, func(a, b ConnInfo) int {
		return cmp.Or(strings.Compare(a.Peer, b.Peer), strings.Compare(string(a.State), string(b.State)), cmp.Compare(a.Age, b.Age))
	})
}
