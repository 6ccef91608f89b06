package core

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// request is one call on the provider, from the reader to the answer. It is
// pooled; its context is not, since handlers may keep that.
type request struct {
	conn     *providerConn
	id       uint64
	target   served
	offer    offer
	ctx      *handlerContext
	header   wire.Header
	payload  *buffer // metadata and body; nil once they are decoded
	metadata int     // bytes of metadata in payload
	pairs    int     // user metadata in it
	mayWait  bool    // the answer may wait for room in the write queue
	begun    bool    // interceptors and handler have seen it

	args  spi.Args // nil before they are decoded, and after a crash
	call  spi.Call
	reply outgoing
}

// errUnwanted is an answer that nobody waits for.
var errUnwanted = errors.New("the consumer gave up")

// run serves the request and answers it, whatever the handler does.
func (r *request) run() {
	finished := false
	defer func() {
		if !finished {
			r.crashed(recover())
		}
		r.conn.answered(r)
	}()
	err := r.serve()
	if err == nil {
		err = r.answer()
	}
	if err != nil {
		r.fail(err)
	}
	finished = true
}

// serve decodes the arguments and calls the method through the interceptors.
func (r *request) serve() error {
	if err := r.ctx.Err(); err != nil {
		return contextError(err, spi.PhaseDispatch, "")
	}
	m := r.target.method
	args := m.NewArgs()
	r.args = args
	if err := r.decode(args); err != nil {
		return err
	}
	r.call = spi.Call{Method: r.target.id, Args: args, Metadata: readPairs(r.payload.b[:r.metadata], r.pairs), Peer: r.conn.remote, Identity: r.conn.identity}
	r.payload.release()
	r.payload = nil
	r.begun = true
	return r.conn.provider.invoke(r.ctx, &r.call)
}

// decode reads the body into args.
func (r *request) decode(args spi.Args) error {
	plain, failure := r.conn.packs.unpack(r.ctx, time.Time{}, r.header, r.payload.b[r.metadata:])
	if failure != nil {
		return failure
	}
	defer plain.release()
	body := plain.body
	isList := r.header.Flags&wire.FlagList != 0
	list, got, want := wire.List{}, 1, args.Len()
	if isList {
		var err error
		if list, got, err = wire.ReadList(body); err != nil {
			return r.target.invalid("arguments: %v", err)
		}
	}
	if got != want {
		return r.target.invalid("want %s, got %d", count(want, "argument"), got)
	}
	if !isList {
		if err := r.offer.Decode(body, args.At(0)); err != nil {
			return blame(r.target.invalid("argument 1: %v", err), err)
		}
		return nil
	}
	for i := range want {
		arg, err := list.Next()
		if err == nil {
			err = r.offer.Decode(arg, args.At(i))
		}
		if err != nil {
			return blame(r.target.invalid("argument %d: %v", i+1, err), err)
		}
	}
	if err := list.End(); err != nil {
		return r.target.invalid("arguments: %v", err)
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// invalid is a request whose arguments do not fit the method.
func (s served) invalid(format string, args ...any) *spi.Error {
	return &spi.Error{Code: spi.InvalidArgument, Phase: spi.PhaseDecode, Message: fmt.Sprintf(format, args...),
		Hint: "it is " + s.id.Service + "." + s.method.Signature}
}

// callMethod is the innermost InvokeFunc of a Provider.
func callMethod(ctx context.Context, call *spi.Call) error {
	result, err := call.Method.Host.(*Method).Call(ctx, call.Args)
	call.Reply = result
	return err
}

// answer encodes and sends the result.
func (r *request) answer() error {
	if r.ctx.unwanted.Load() {
		return nil
	}
	b := newBuffer(smallest)
	b.b = appendPairs(b.b[:headroom], r.call.ReplyMetadata)
	r.reply = outgoing{Header: wire.Header{Type: wire.Response, Serializer: r.offer.number, ID: r.id}, payload: b, metadata: len(b.b) - headroom, assigner: r}
	if r.target.method.Void {
		r.reply.Flags = wire.FlagVoid
	} else {
		var err error
		if b.b, err = r.offer.Append(b.b, r.call.Reply); err != nil {
			b.release()
			return blame(&spi.Error{Code: spi.Internal, Phase: spi.PhaseEncode, Message: "result: " + err.Error()}, err)
		}
	}
	r.conn.packs.pack(&r.reply)
	if b = r.reply.payload; !r.conn.takes(&r.reply) {
		defer b.release()
		return &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseEncode,
			Message: fmt.Sprintf("the answer has %d bytes, %d of them metadata; the consumer takes %d and %d", len(b.b)-headroom, r.reply.metadata, r.conn.maxMessage, r.conn.maxMetadata)}
	}
	r.conn.reply(&r.reply, r.mayWait)
	return nil
}

// assign lets no answer go that is not wanted any more: while it was packed, or waited
// for room, the consumer may have given up. out.mu is held, so that it is this or a
// CANCEL that finds the answer in the outbox.
func (r *request) assign(_ *outgoing, head []byte, _ uint64) ([]byte, error) {
	if r.ctx.unwanted.Load() {
		return nil, errUnwanted
	}
	return head, nil
}

func appendPairs(dst []byte, m spi.Metadata) []byte {
	for _, p := range m {
		dst = wire.AppendUserPair(dst, p.Key, p.Value)
	}
	return dst
}

// fail answers with an error.
func (r *request) fail(err error) {
	if r.ctx.unwanted.Load() {
		return
	}
	failure := toSend(err)
	if r.begun && failure.Phase == spi.PhaseDispatch { // that is a promise: it was not run
		failure.Phase = spi.PhaseHandler
	}
	r.reply = errorReply(r.id, failure, r.call.ReplyMetadata)
	if !r.conn.takes(&r.reply) {
		r.reply.payload.release()
		r.reply = errorReply(r.id, failure, nil)
	}
	r.reply.assigner = r
	r.conn.reply(&r.reply, r.mayWait)
}

// toSend turns what a handler returned, or the framework decided, into what
// travels. Only an Error that the handler made itself goes as it is: one from a
// call that the handler made says in its text where it came from.
func toSend(err error) *spi.Error {
	own, ok := err.(*spi.Error)
	if ok && own.Service == "" && own.Endpoint == "" {
		e := *own
		if e.Phase == "" {
			e.Phase = spi.PhaseHandler
		}
		if !e.Code.Valid() {
			e.Code = spi.Unknown
		}
		return &e
	}
	e := &spi.Error{Code: spi.CodeOf(err), Phase: spi.PhaseHandler, Message: err.Error()}
	if err == context.Canceled || err == context.DeadlineExceeded { // to the caller their text would speak of its own context
		e.Message = "the handler returned: " + e.Message
	}
	if errors.As(err, &own) {
		e.Reason, e.Details = own.Reason, own.Details
	}
	if !e.Code.Valid() {
		e.Code = spi.Unknown
	}
	return e
}

// Bounds of what an error may say, in bytes. Together they are below minMessage,
// which every consumer takes.
const (
	maxErrorText   = 8 << 10  // message and hint
	maxErrorWord   = maxName  // reason and phase
	maxErrorDetail = 32 << 10 // all details together
)

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// bounded returns details, or nil if they are too large.
func bounded(details map[string]string) map[string]string {
	const framing = 8 // of one detail, at most
	size := 0
	for k, v := range details {
		size += framing + len(k) + len(v)
	}
	if size > maxErrorDetail {
		return nil
	}
	return details
}

// errorReply makes the frame that carries an error.
func errorReply(id uint64, e *spi.Error, pairs spi.Metadata) outgoing {
	b := newBuffer(smallest)
	b.b = appendPairs(b.b[:headroom], pairs)
	metadata := len(b.b) - headroom
	b.b = wire.AppendError(b.b, wire.ErrorBody{
		Message: shorten(e.Message, maxErrorText), Hint: shorten(e.Hint, maxErrorText),
		Reason: shorten(e.Reason, maxErrorWord), Phase: shorten(string(e.Phase), maxErrorWord),
		Details: bounded(e.Details),
	})
	return outgoing{Header: wire.Header{Type: wire.Error, Code: uint8(e.Code), ID: id}, payload: b, metadata: metadata}
}

// crashed answers for a handler that panicked (value is what it panicked with) or
// ended its goroutine (value is nil).
func (r *request) crashed(value any) {
	r.args = nil // the handler may have left them anywhere
	r.fail(r.conn.provider.crashed(value, r.target.id, r.conn.remote))
	if value == nil && r.target.method.Inline { // the reader ends with its goroutine: nobody else will flush
		r.conn.out.farewell()
	}
}

// crashed logs what became of a handler and returns what its caller is told.
func (p *Provider) crashed(value any, method *spi.Method, consumer string) *spi.Error {
	log := p.cfg.Log.WithFields(logrus.Fields{"method": method.String(), "consumer": consumer})
	failure := &spi.Error{Code: spi.Internal, Reason: spi.ReasonHandlerExit, Phase: spi.PhaseHandler, Message: "the handler ended its goroutine"}
	if value != nil {
		failure.Reason, failure.Message = spi.ReasonHandlerPanic, "the handler panicked"
		log = log.WithField("panic", fmt.Sprint(value))
	}
	failure.Hint = "the provider's log has the stack"
	log.Errorf("%s\n%s", failure.Message, debug.Stack())
	return failure
}

// newRequest accepts a request, or says why not.
func (c *providerConn) newRequest(f frame, meta wire.RequestMeta, target served) (*request, *spi.Error) {
	p := c.provider
	var o offer
	if int(f.Serializer) < len(c.serializers) {
		o = c.serializers[f.Serializer]
	}
	switch {
	case target.method == nil:
		return nil, p.notFound(target.id)
	case f.over:
		return nil, tooLarge(f.Header, c.in.limits)
	case o.Serializer == nil:
		return nil, c.notOffered(o)
	case !p.admit():
		return nil, p.overloaded()
	}
	r := p.requests.Get().(*request)
	r.conn, r.id, r.target, r.offer = c, f.ID, target, o
	r.header, r.metadata, r.pairs = f.Header, int(f.Metadata), meta.Pairs
	r.payload = f.keep()
	r.ctx = &handlerContext{base: p.ctx, call: &r.call}
	if meta.HasTimeout {
		if c.now.IsZero() {
			c.now = time.Now()
		}
		r.ctx.deadline = c.now.Add(time.Duration(min(meta.Timeout, uint64(maxTimeout/time.Microsecond))) * time.Microsecond)
	}
	return r, nil
}

// overloaded refuses a request beyond the bound.
func (p *Provider) overloaded() *spi.Error {
	return &spi.Error{Code: spi.ResourceExhausted, Reason: spi.ReasonOverloaded, Phase: spi.PhaseDispatch,
		Message: fmt.Sprintf("%d requests are queued or running", p.cfg.MaxRequests), Hint: "the key provider.max_requests bounds them"}
}

// free gives the request back to its pool.
func (r *request) free() {
	p := r.conn.provider
	r.ctx.finish()
	r.payload.release()
	if m := r.target.method; r.args != nil && m.FreeArgs != nil {
		m.FreeArgs(r.args)
	}
	*r = request{}
	p.requests.Put(r)
	p.release()
}
