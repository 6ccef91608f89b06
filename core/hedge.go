package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// hedged is attempt for a call whose service hedges: if no answer comes for a while,
// the call is sent to a second endpoint too, and the first answer counts;
// docs/connections.md §6. It all happens in the caller's goroutine.
func (s *callState) hedged(ctx context.Context) error {
	ctx, cancel := within(ctx, s.ownDeadline())
	defer cancel()
	if err := s.launch(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(s.target.hedge)
	defer timer.Stop()
	select {
	case <-s.waiter.done:
		return s.land(ctx, s.conn.outcome(s))
	case <-ctx.Done():
	case <-timer.C:
		if second := s.second(ctx); second != nil {
			defer second.free()
			return s.race(ctx, second)
		}
	}
	return s.awaitRest(ctx)
}

// awaitRest is await and land for what has waited already.
func (s *callState) awaitRest(ctx context.Context) error {
	s.left = time.Until(s.deadline)
	return s.land(ctx, s.conn.await(ctx, s))
}

// second sends the call to another endpoint that is up and takes bytes, if there is
// one and a token to pay with; otherwise it returns nil.
func (s *callState) second(ctx context.Context) *callState {
	c, h, now := s.target.consumer, s.past(), s.target.set.current.Load()
	if h.hedged || len(h.failed)+2 > c.cfg.Retry.Attempts {
		return nil
	}
	h.avoid = append(h.avoid, s.endpoint)
	usable, found := h.without(now, s.tried.spare(now))
	if !found {
		return nil
	}
	i, err := s.pickOf(now, usable)
	if err != nil {
		return nil
	}
	conn := now.endpoints[i].open()
	if conn == nil || conn.out.fullFor(&s.out) || !c.budget.take() {
		return nil
	}
	second := c.states.Get().(*callState)
	second.target, second.call, second.metadata = s.target, s.call, s.metadata
	second.deadline, second.timed = s.deadline, s.timed
	second.endpoint, second.conn, second.hedging = now.endpoints[i], conn, true
	if err := second.launch(ctx); err != nil { // it was not sent
		c.budget.giveBack()
		second.free()
		return nil
	}
	h.hedged = true
	return second
}

// free gives a callState back to its pool.
func (s *callState) free() {
	pool := &s.target.consumer.states
	s.reset()
	pool.Put(s)
}

// race waits for s and second, and ends with the first of them that decides the
// call. s then stands where that one did.
func (s *callState) race(ctx context.Context, second *callState) error {
	select {
	case <-s.waiter.done:
		return s.first(ctx, s, second)
	case <-second.waiter.done:
		return s.first(ctx, second, s)
	case <-ctx.Done():
	}
	sent, ok := s.conn.giveUp(s)
	if !ok { // it was decided in the same moment
		return s.first(ctx, s, second)
	}
	s.history.sent = worse(s.history.sent, sent)
	late := contextError(ctx.Err(), spi.PhaseWait, sent)
	_ = s.land(ctx, late)
	if sent, ok = second.conn.giveUp(second); !ok {
		s.stand(second)
		return second.land(ctx, second.conn.outcome(second))
	}
	s.history.sent = worse(s.history.sent, sent)
	late.Message += fmt.Sprintf("; it was sent to %s too", second.endpoint.address)
	return second.land(ctx, late)
}

// first reads what came for one. rest counts only if that decides nothing.
func (s *callState) first(ctx context.Context, one, rest *callState) error {
	err := one.conn.outcome(one)
	if err == nil && !one.overloaded() {
		rest.drop() // before the result is decoded, which is the user's code
		s.stand(one)
		return one.land(ctx, nil)
	}
	err = one.land(ctx, err)
	var e *spi.Error
	if !errors.As(err, &e) || ranOf(e) == itself {
		rest.drop()
		s.stand(one)
		return err
	}
	if ranOf(e) == notSent {
		s.history.avoid = append(s.history.avoid, one.endpoint)
	} else {
		s.history.note(one.endpoint, e)
	}
	s.call.ReplyMetadata = nil
	err = rest.awaitRest(ctx)
	s.stand(rest)
	return err
}

// stand makes s the attempt that other was, for what follows.
func (s *callState) stand(other *callState) {
	s.endpoint, s.conn = other.endpoint, other.conn
	s.call.Peer = s.endpoint.address
}

// drop cancels an attempt that another one was faster than.
func (s *callState) drop() {
	if _, ok := s.conn.giveUp(s); !ok && s.conn.outcome(s) == nil {
		s.answer.owned.release()
	}
	s.conn.finish(1)
	if s.hedging { // it had less time than the other one
		s.endpoint.load.Abandon()
		return
	}
	took := time.Since(s.began)
	s.endpoint.load.End(s.began.Sub(s.target.consumer.start)+took, took, false)
}

// open returns the open connection, nil if there is none.
func (e *endpoint) open() *consumerConn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.conn
}
