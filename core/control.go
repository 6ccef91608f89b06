package core

import (
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// sendControl queues a control frame, which goes before data and never waits for
// room.
func (o *outbox) sendControl(h wire.Header, body []byte) {
	h.Body = uint32(len(body))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.written.frames++
		o.control = append(wire.AppendHeader(o.control, h), body...)
	}
}

// answerPing queues a PONG, which also answers for earlier ones that still wait.
func (o *outbox) answerPing(sequence uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pinged, o.pong = true, max(o.pong, sequence)
}

// askPing queues a PING, in place of one that still waits, and flushes it.
func (o *outbox) askPing(sequence uint64) {
	o.mu.Lock()
	if !o.pinging {
		o.asked.queued = time.Now()
	}
	o.pinging, o.ping = o.err == nil, sequence
	o.mu.Unlock()
	o.kick()
}
