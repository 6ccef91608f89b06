package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// callState is what one call needs on its way; it is pooled.
type callState struct {
	target   *target
	call     *spi.Call
	metadata spi.Metadata // the call's, and what its context adds
	info     spi.CallInfo
	tried    tried
	history  *history // nil: nothing has failed

	deadline time.Time     // when the call ends, if ctx does not end it
	timed    bool          // ctx has no deadline, so the call keeps its own time
	left     time.Duration // until the deadline, when the request was queued

	// One attempt on one connection.
	endpoint *endpoint
	conn     *consumerConn // nil: there was none
	began    time.Time
	hedging  bool // beside another attempt: it must not wait for room
	out      outgoing
	flags    uint8
	waiter   *waiter
	id       uint64
	answer   frame // payload in owned
}

func (s *callState) begin(ctx context.Context, t *target, call *spi.Call) {
	s.target, s.call, s.info.Call = t, call, call
	call.Peer, call.ReplyMetadata = "", nil
	s.metadata = call.Metadata
	if more := spi.Outgoing(ctx); len(more) > 0 {
		s.metadata = slices.Concat(call.Metadata, more) // the nearer first: that is what Get finds
	}
	if deadline, ok := ctx.Deadline(); ok {
		s.deadline, s.timed = deadline, false
		return
	}
	s.deadline, s.timed = time.Now().Add(t.timeoutOf(call)), true
}

func (s *callState) reset() { *s = callState{out: outgoing{}} }

// ownDeadline is what slow paths bound ctx by.
func (s *callState) ownDeadline() time.Time {
	if s.timed {
		return s.deadline
	}
	return time.Time{}
}

// attempts makes the call on one endpoint after another, as long as [again] allows.
func (s *callState) attempts(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return contextError(err, spi.PhasePick, spi.SentNo)
		}
		if s.target.consumer.active.Err() != nil {
			e := lost(errConsumerClosed, spi.SentNo)
			e.Phase = spi.PhasePick
			return e
		}
		now, err := s.target.set.snapshot(ctx, s.ownDeadline())
		if err != nil {
			return err
		}
		i, err := s.pick(now)
		if err != nil {
			return err
		}
		s.endpoint = now.endpoints[i]
		s.call.Peer, s.call.ReplyMetadata = s.endpoint.address, nil
		if s.conn, err = s.endpoint.connection(ctx, s.ownDeadline()); err == nil {
			if s.target.hedge > 0 && s.idempotent() {
				err = s.hedged(ctx)
			} else {
				err = s.attempt(ctx)
			}
		}
		if err == nil || !s.again(ctx, now, i, err) {
			return err
		}
	}
}

// annotate completes an error with what was called and where. Errors of an attempt
// to connect are shared by the calls that waited for it, so it works on a copy.
func (s *callState) annotate(err error) error {
	var failure *spi.Error
	if !errors.As(err, &failure) { // nothing in here returns another kind
		return &spi.Error{Code: spi.Internal, Message: err.Error(), Cause: err}
	}
	e := *failure
	e.Service, e.Method = s.call.Method.Service, s.call.Method.Name
	if e.Endpoint == "" {
		e.Endpoint = s.call.Peer
	}
	if s.history != nil {
		s.history.complete(&e, failure)
	}
	return &e
}

// pick asks the load balancer for an endpoint where the call was not yet.
func (s *callState) pick(now *snapshot) (int, error) {
	if len(now.endpoints) == 0 {
		return 0, &spi.Error{Code: spi.Unavailable, Phase: spi.PhaseResolve, Sent: spi.SentNo,
			Message: "the registry lists no endpoint of " + s.target.key, Hint: "is a provider of it started, with this registry?"}
	}
	usable := s.tried.spare(now)
	if s.history != nil {
		usable, _ = s.history.without(now, usable)
	}
	return s.pickOf(now, usable)
}

// pickOf asks the load balancer for one of the usable endpoints.
func (s *callState) pickOf(now *snapshot, usable spi.Bitmap) (int, error) {
	s.info.Usable, s.info.Now = usable, s.target.consumer.now()
	i, err := now.picker.Pick(&s.info)
	if err != nil {
		failure := &spi.Error{Code: spi.CodeOf(err), Phase: spi.PhasePick, Sent: spi.SentNo, Message: err.Error(), Cause: err}
		if chosen, ok := err.(*spi.Error); ok {
			failure.Message, failure.Hint = chosen.Message, chosen.Hint
		}
		return 0, failure
	}
	if n := len(now.endpoints); i < 0 || i >= n || !usable.Has(i) {
		return 0, &spi.Error{Code: spi.Internal, Phase: spi.PhasePick, Sent: spi.SentNo,
			Message: fmt.Sprintf("the load balancer picked endpoint %d of %d, which is not usable", i, n)}
	}
	return i, nil
}

// tried are the endpoints of one listing that a call could not reach. The zero
// tried is none.
type tried struct {
	of   *listing
	set  spi.Bitmap
	left int
}

// add notes endpoint i and reports whether any is left.
func (t *tried) add(now *snapshot, i int) bool {
	if t.of != now.listing {
		n := len(now.endpoints)
		*t = tried{now.listing, spi.NewBitmap(n), n}
	}
	if !t.set.Has(i) {
		t.set.Set(i)
		t.left--
	}
	return t.left > 0
}

// spare returns the usable endpoints that were not tried; if there are none, all
// that were not tried.
func (t *tried) spare(now *snapshot) spi.Bitmap {
	if t.of != now.listing {
		return now.usable
	}
	n := len(now.endpoints)
	usable, rest := spi.NewBitmap(n), spi.NewBitmap(n)
	found := false
	for i := range n {
		if t.set.Has(i) {
			continue
		}
		rest.Set(i)
		if now.usable.Has(i) {
			usable.Set(i)
			found = true
		}
	}
	if found {
		return usable
	}
	return rest
}

// attempt makes the call on one connection and reads the answer.
func (s *callState) attempt(ctx context.Context) error {
	if err := s.launch(ctx); err != nil {
		return err
	}
	return s.land(ctx, s.conn.await(ctx, s))
}

// launch sends the request. Without an error land is due.
func (s *callState) launch(ctx context.Context) error {
	if err := s.encode(); err != nil {
		return err
	}
	s.out.deadline = s.ownDeadline()
	s.began = time.Now()
	if s.left = s.deadline.Sub(s.began); s.left <= 0 {
		s.out.payload.release()
		return contextError(context.DeadlineExceeded, spi.PhaseQueue, spi.SentNo)
	}
	s.endpoint.load.Begin()
	err := s.conn.start(ctx, s)
	if err != nil {
		s.weigh(err)
	}
	return err
}

// land reads the answer of a request that was sent, if err does not say why there is
// none.
func (s *callState) land(ctx context.Context, err error) error {
	s.conn.finish(1)
	s.weigh(err)
	if err != nil {
		return err
	}
	return s.finish(ctx)
}

// weigh counts the end of an attempt for the load balancer.
func (s *callState) weigh(err error) {
	took, code, load := time.Since(s.began), spi.CodeOf(err), &s.endpoint.load
	if err != nil && code != spi.Unavailable && code != spi.DeadlineExceeded { // it says nothing about the endpoint
		load.Abandon()
		return
	}
	load.End(s.began.Sub(s.target.consumer.start)+took, took, err != nil || s.overloaded())
}

// overloaded reports an answer by which the endpoint is to blame: neither the size of
// this call's bodies, nor another code of the handler's.
func (s *callState) overloaded() bool {
	code := spi.Code(s.answer.Code)
	if s.answer.Type != wire.Error || code != spi.Unavailable && code != spi.ResourceExhausted {
		return false
	}
	body, err := wire.ParseError(s.answer.body())
	phase := spi.Phase(body.Phase)
	return err != nil || phase != spi.PhaseDecode && phase != spi.PhaseEncode
}

// encode writes metadata and arguments into the call's buffer.
func (s *callState) encode() error {
	b := newBuffer(smallest)
	b.b = b.b[:headroom]
	fail := func(code spi.Code, format string, args ...any) *spi.Error {
		b.release()
		return &spi.Error{Code: code, Phase: spi.PhaseEncode, Sent: spi.SentNo, Message: fmt.Sprintf(format, args...)}
	}
	if len(s.target.key) > maxName || len(s.target.name) > maxName {
		return fail(spi.InvalidArgument, "names have at most %d bytes", maxName)
	}
	for _, p := range s.metadata {
		if len(p.Key) == 0 || len(p.Key) > maxName {
			return fail(spi.InvalidArgument, "metadata key %q: keys have 1 to %d bytes", p.Key, maxName)
		}
		b.b = wire.AppendUserPair(b.b, p.Key, p.Value)
	}
	s.out.metadata = len(b.b) - headroom
	var err error
	if b.b, s.flags, err = appendArgs(b.b, s.target.consumer.cfg.Serializer, s.call.Args); err != nil {
		return blame(fail(spi.InvalidArgument, "%v", err), err)
	}
	s.out.payload = b
	return nil
}

// appendArgs appends the body of a request: one argument, or a list.
func appendArgs(dst []byte, serializer spi.Serializer, args spi.Args) (_ []byte, flags uint8, err error) {
	n := 0
	if args != nil {
		n = args.Len()
	}
	if n == 1 {
		if dst, err = serializer.Append(dst, args.At(0)); err != nil {
			return dst, 0, fmt.Errorf("argument 1: %w", err)
		}
		return dst, 0, nil
	}
	dst = wire.AppendListCount(dst, n)
	for i := range n {
		start := len(dst)
		if dst, err = serializer.Append(dst, args.At(i)); err != nil {
			return dst, 0, fmt.Errorf("argument %d: %w", i+1, err)
		}
		dst = wire.PrefixLength(dst, start)
	}
	return dst, wire.FlagList, nil
}

// finish reads the answer.
func (s *callState) finish(ctx context.Context) error {
	answer := s.answer
	defer answer.owned.release()
	pairs, err := wire.CountPairs(answer.metadata())
	if err != nil {
		return s.badAnswer("metadata of the answer: %v", err)
	}
	s.call.ReplyMetadata = readPairs(answer.metadata(), pairs)
	if answer.Type == wire.Error {
		return s.remoteError(answer)
	}
	if s.call.Reply == nil {
		return nil
	}
	if answer.Flags&wire.FlagVoid != 0 {
		e := s.badAnswer("the method has no result")
		e.Reason = spi.ReasonNoResult
		return e
	}
	if answer.Serializer != s.conn.serializer {
		return s.badAnswer("the answer is in another serializer than the request")
	}
	plain, failure := s.conn.packs.unpack(ctx, s.ownDeadline(), answer.Header, answer.body())
	if failure != nil {
		failure.Sent = spi.SentMaybe
		return failure
	}
	defer plain.release()
	if err := s.target.consumer.cfg.Serializer.Decode(plain.body, s.call.Reply); err != nil {
		return blame(s.badAnswer("result: %v", err), err)
	}
	return nil
}

// readPairs copies user metadata out of a block that was checked.
func readPairs(block []byte, count int) spi.Metadata {
	if count == 0 {
		return nil
	}
	m := make(spi.Metadata, 0, count)
	wire.Pairs(block, func(k, v []byte) { m = append(m, spi.Pair{Key: string(k), Value: string(v)}) })
	return m
}

// badAnswer is an answer that this side cannot use. The provider has run the call.
func (s *callState) badAnswer(format string, args ...any) *spi.Error {
	err := fmt.Errorf(format, args...)
	return &spi.Error{Code: spi.Internal, Phase: spi.PhaseDecode, Sent: spi.SentMaybe, Message: err.Error(), Cause: errors.Unwrap(err),
		Hint: fmt.Sprintf("the caller wants a %T", s.call.Reply)}
}

// remoteError is what the provider decided.
func (s *callState) remoteError(answer frame) error {
	body, err := wire.ParseError(answer.body())
	if err != nil {
		return s.badAnswer("error from the provider: %v", err)
	}
	code := spi.Code(answer.Code)
	if !code.Valid() {
		code = spi.Unknown
	}
	return &spi.Error{Code: code, Reason: body.Reason, Phase: spi.Phase(body.Phase), Remote: true, Message: body.Message, Hint: body.Hint, Details: body.Details}
}
