package plugins

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// mostAsked is how many connections a batch has at most.
const mostAsked = 1024

// asked is one question of a batch.
type asked struct {
	question spi.Snapshot
	state    spi.State
	begun    bool // there is a state
}

// ask puts a question about a connection into the next batch. mu is held.
func (h *strategy) ask(b *beat, s spi.Snapshot) {
	if h.closed {
		return
	}
	b.question, b.asked = s, waiting
	if b.decided {
		b.question.Due = min(b.due(), s.Now)
	}
	h.due = append(h.due, b)
	if !h.running {
		h.running = true
		h.asking.Go(h.run)
	}
}

// run asks what is due once per bucket. It returns when no connection is known any
// more, or with Close.
func (h *strategy) run() {
	ticker := time.NewTicker(h.bucket)
	defer ticker.Stop()
	forgot := time.Now()
	for {
		select {
		case <-ticker.C:
		case <-h.ctx.Done():
			return
		}
		for full := true; full; {
			number, batch := h.take()
			full = len(batch) == mostAsked // there may be more
			if len(batch) > 0 {
				reply, err := h.exchange(batch)
				h.note(h.answered(number, batch, reply, err))
			}
		}
		if time.Since(forgot) < h.timing.Silence {
			continue
		}
		forgot = time.Now()
		if !h.forget() {
			return
		}
	}
}

// take returns the next batch, empty if nothing is due.
func (h *strategy) take() (number uint64, batch []asked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.due), mostAsked)
	h.batch++
	batch = make([]asked, n)
	for i, b := range h.due[:n] {
		b.asked = h.batch
		batch[i] = asked{b.question, b.state, b.decided}
	}
	rest := copy(h.due, h.due[n:])
	clear(h.due[rest:])
	h.due = h.due[:rest]
	return h.batch, batch
}

// exchange asks the plugin about a batch.
func (h *strategy) exchange(batch []asked) (*pluginv1.DecisionBatch, error) {
	request := &pluginv1.SnapshotBatch{Strategy: h.of, Snapshots: make([]*pluginv1.Snapshot, len(batch))}
	for i := range batch {
		request.Snapshots[i] = batch[i].message()
	}
	return exchange(h.ctx, h.plugin, func(ctx context.Context, g *generation) (*pluginv1.DecisionBatch, error) {
		request.Generation = g.number
		reply, err := pluginv1.NewHeartbeatStrategyClient(g.conn).DecideBatch(ctx, request, grpc.MaxCallRecvMsgSize(decisionsSize(len(batch))))
		if err == nil && reply.GetGeneration() != g.number {
			err = fmt.Errorf("an answer for generation %d, this is %d", reply.GetGeneration(), g.number)
		}
		return reply, err
	})
}

// decisionsSize is more than n decisions have, in bytes; planSize says why there is a
// bound.
func decisionsSize(n int) int { return 64<<10 + 256*n }

func (a *asked) message() *pluginv1.Snapshot {
	s := &a.question
	m := &pluginv1.Snapshot{
		Conn: s.ConnID, NowNanos: int64(s.Now), DueNanos: int64(s.Due),
		LastInNanos: int64(s.LastIn), LastOutNanos: int64(s.LastOut), LastPingAtNanos: int64(s.LastPingAt), LastRttNanos: int64(s.LastRTT),
		PingSeq: s.PingSeq, AckSeq: s.AckSeq, PongCount: s.PongCount, InCount: s.InCount,
		WriteStalled: s.WriteStalled, QueueBytes: s.QueueBytes, Inflight: int64(s.Inflight),
	}
	if a.begun {
		m.State = a.state[:]
	}
	return m
}

// answered keeps what was decided about a batch, and returns the first thing that is
// wrong with it.
func (h *strategy) answered(number uint64, batch []asked, reply *pluginv1.DecisionBatch, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range reply.GetDecisions() {
		fault := h.accept(number, d)
		if err == nil && fault != nil {
			err = fmt.Errorf("decision about connection %d refused: %w", d.GetConn(), fault)
		}
	}
	for i := range batch {
		s := &batch[i].question
		b := h.beats[s.ConnID]
		if b.asked != number {
			continue
		}
		b.asked, b.retry = 0, s.Now+h.interval
		if err == nil {
			err = fmt.Errorf("no decision about connection %d", s.ConnID)
		}
	}
	return err
}

// accept keeps one decision. What is said twice counts once. mu is held.
func (h *strategy) accept(number uint64, d *pluginv1.Decision) error {
	b := h.beats[d.GetConn()]
	if b == nil || b.asked != number {
		return fmt.Errorf("it was not asked for")
	}
	if d.GetLiveness() < pluginv1.Decision_ALIVE || d.GetLiveness() > pluginv1.Decision_DEAD {
		return fmt.Errorf("liveness %d; want 0 to 2", d.GetLiveness())
	}
	if len(d.GetState()) > len(b.state) {
		return fmt.Errorf("a state of %d bytes; want %d at most", len(d.GetState()), len(b.state))
	}
	b.asked, b.retry = 0, 0
	b.state = spi.State{}
	copy(b.state[:], d.GetState())
	b.decided, b.basis = true, b.question
	b.decision = spi.Decision{
		Liveness: spi.Liveness(d.GetLiveness()), SendPing: d.GetSendPing(),
		Next:    min(max(time.Duration(d.GetNextNanos()), h.bucket), h.interval),
		Strikes: int(min(max(d.GetStrikes(), 0), mostShown)),
	}
	return nil
}

// forget drops connections that nobody asks about, and returns false when there are
// no others; then nothing is due.
func (h *strategy) forget() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Since(h.started)
	for id, b := range h.beats {
		if b.asked == 0 && now-b.seen > 2*h.timing.Silence {
			delete(h.beats, id)
		}
	}
	h.running = len(h.beats) > 0
	return h.running
}

// note counts and logs how a batch went.
func (h *strategy) note(err error) {
	switch {
	case h.ctx.Err() != nil: // closed; that the plugin was interrupted is no failure
	case err != nil:
		h.use.fell(err)
	default:
		h.use.works()
	}
}
