package core

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// providerConn is the provider's half of a connection.
type providerConn struct {
	conn
	provider *Provider
	place    *list.Element // in the lobby, whose lock guards it; nil: not there
	secured  bool          // nc is a TLS connection
	stage    atomic.Uint32 // one of those below
	identity *spi.Identity // of the consumer's certificate; nil: none that was verified

	// Of the reader alone.
	serializers []offer    // by the consumer's number; shared, so read-only
	methods     []served   // by the number that this connection defined, from 1
	batch       []*request // what this read brought
	now         time.Time  // of this read; zero: not looked at yet

	maxMessage, maxMetadata uint64    // what the consumer takes
	token                   [16]byte  // the consumer's name for this connection
	supersedes              *[16]byte // and for the one that it takes the place of, until that is gone; nil: none
	yielded                 bool      // its place is another's; guarded by Provider.names

	mu       sync.Mutex
	requests map[uint64]*handlerContext // accepted and not answered, by id; nil: none
	offered  string                     // names of the serializers that both sides have; "" before HELLO, or the header of an HTTP request
	asking   int                        // HTTP requests under way: 0 or 1
	speaks   protocol                   // undecided until the first bytes tell
	leaving  bool                       // the provider is shutting down
	stopped  bool                       // the consumer sends no more requests
}

// The stages of a connection, for the bound on them.
const (
	stageSilent     = iota
	stageIntroduced // by a HELLO, or by the header of an HTTP request
	stageEnded
)

// offer is a serializer that both sides have. The zero offer is none.
type offer struct {
	spi.Serializer
	name   string // as the consumer calls it; set even if this side does not have it
	number uint8  // this side's number
}

// served is a method that this connection has defined. method is nil if there is no
// such method.
type served struct {
	id     *spi.Method
	method *Method
}

func newProviderConn(p *Provider, nc net.Conn) *providerConn {
	c := &providerConn{provider: p}
	c.init(nc, c, p.connConfig())
	return c
}

func (c *providerConn) opened(peer wire.HelloBody) error {
	c.provider.lobby.leave(c)
	if !c.provider.introduce(c, peer.Token, peer.Supersedes) {
		_ = c.refuse(wire.GoAwayOverloaded, errFull.Error())
		return errFull
	}
	c.maxMessage, c.maxMetadata = peer.MaxMessage, peer.MaxMetadata
	var both []string
	for _, s := range peer.Serializers {
		for len(c.serializers) <= int(s.Number) {
			c.serializers = append(c.serializers, offer{})
		}
		o := offer{name: s.Name}
		for _, own := range c.hello.Serializers {
			if own.Name == s.Name {
				o.Serializer, o.number = c.provider.cfg.Serializers[s.Name], own.Number
				both = append(both, s.Name)
			}
		}
		c.serializers[s.Number] = o
	}
	c.serializers = c.provider.sameOffers(c.serializers)
	c.mu.Lock()
	c.offered = cmp.Or(strings.Join(both, ","), "none")
	c.mu.Unlock()
	c.agreeCompressors(peer.Compressors)
	c.token = peer.Token
	if peer.Supersedes != [16]byte{} {
		c.supersedes = &peer.Supersedes
	}
	return nil
}

// watched ends the connection that this one takes the place of.
func (c *providerConn) watched() {
	if old := c.provider.names.enter(c); old != nil {
		old.supersededBy(c.heart.id)
	}
	c.supersedes = nil
}

func (c *providerConn) judged(bool) {} // there is nobody to choose another connection

func (c *providerConn) pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.requests)
}

// sameOffers returns offers, or what the last consumer had if that is the same: most
// consumers of a provider are alike.
func (p *Provider) sameOffers(offers []offer) []offer {
	last := p.lastOffers.Load()
	if last != nil && slices.EqualFunc(*last, offers, func(a, b offer) bool { return a.name == b.name && a.number == b.number }) {
		return *last
	}
	p.lastOffers.Store(&offers)
	return offers
}

// agreeCompressors compresses answers with the first of the consumer's compressors
// that this side has too.
func (c *providerConn) agreeCompressors(theirs []wire.Name) {
	for _, n := range theirs {
		own := c.provider.cfg.Compressors[n.Name]
		if own == nil {
			continue
		}
		c.packs.accept(n.Number, own)
		if c.packs.compressor == nil {
			i := slices.IndexFunc(c.hello.Compressors, func(o wire.Name) bool { return o.Name == n.Name })
			c.packs.compressor, c.packs.number = own, c.hello.Compressors[i].Number
		}
	}
}

func (c *providerConn) handle(f frame) error {
	switch f.Type {
	case wire.Request:
		return c.request(f)
	case wire.Cancel:
		f.owned.release()
		c.mu.Lock()
		ctx := c.requests[f.ID]
		c.mu.Unlock()
		if ctx != nil {
			ctx.abandon(context.Canceled)
		}
		if p := c.parts.drop(f.ID); p != nil {
			c.answered(p.request)
		}
		c.out.forget(f.ID)
	case wire.GoAway:
		f.owned.release()
		c.mu.Lock()
		c.stopped = true
		over := len(c.requests) == 0
		c.mu.Unlock()
		if over {
			c.out.finish(errGoAway)
		}
	case wire.Response, wire.Error:
		f.owned.release()
		return protocolErrorf("%s from a consumer", f.Type)
	default:
		c.skip(f)
	}
	return nil
}

// idle hands what one read brought to the workers, with one lock.
func (c *providerConn) idle() {
	if len(c.batch) > 0 {
		c.provider.queue.push(c.batch)
		clear(c.batch)
		c.batch = c.batch[:0]
	}
	c.now = time.Time{}
}

// rest frees what only a busy connection needs. Most of that is the stack, which does
// not shrink to less than twice what a goroutine begins with, once it has grown: so
// a fresh one waits for what comes next.
func (c *providerConn) rest() bool {
	c.mu.Lock()
	if len(c.requests) == 0 {
		c.requests = nil
	}
	c.mu.Unlock()
	c.batch, c.hello = nil, nil
	c.provider.running.Go(c.run)
	return true
}

// request accepts one request, or answers why not. An error ends the connection.
func (c *providerConn) request(f frame) error {
	if f.over && f.payload == nil { // if it defined a method, that is lost
		reply := errorReply(f.ID, tooLarge(f.Header, c.in.limits), nil)
		return c.reply(&reply, false)
	}
	meta, err := wire.ParseRequestMeta(f.metadata())
	var target served
	if err == nil {
		target, err = c.served(meta)
	}
	if err != nil {
		f.owned.release()
		return err
	}
	r, refusal := c.newRequest(f, meta, target)
	if refusal != nil {
		f.owned.release()
		reply := errorReply(f.ID, refusal, nil)
		return c.reply(&reply, false)
	}
	if f.Flags&wire.FlagMore != 0 {
		return c.collect(f, meta.Whole, r)
	}
	if c.inline(r) {
		return nil
	}
	if err := c.accept(r); err != nil {
		r.free()
		return err
	}
	c.enqueue(r)
	return nil
}

// inline runs a request in the reader, if its method wants that and nothing speaks
// against it: answers that wait, or a body to decompress.
func (c *providerConn) inline(r *request) bool {
	if !r.target.method.Inline || r.header.Flags&wire.FlagCompressed != 0 || c.out.full() {
		return false
	}
	r.run()
	return true
}

// enqueue hands an accepted request to the workers, with the others of this read.
func (c *providerConn) enqueue(r *request) {
	r.mayWait = true
	c.batch = append(c.batch, r)
}

// collect accepts a request whose body comes in parts. What has come of it is the
// request's payload.
func (c *providerConn) collect(f frame, size uint64, r *request) error {
	p, err := newPart(f, size)
	fits := false
	if err == nil {
		fits, err = c.within(f.Metadata, size)
	}
	if err == nil {
		err = c.accept(r)
	}
	if err != nil {
		r.free()
		return err
	}
	refusal := tooLarge(p.header, c.in.limits)
	if fits {
		p.data, p.request = r.payload, r
		if _, err = c.parts.begin(p, nil); err == nil {
			r.payload = nil
			return nil
		}
		refusal = c.parts.tooMany(p) // an id in use was refused before
	}
	r.fail(refusal)
	c.answered(r)
	return nil
}

func (c *providerConn) collected(p *part) error {
	r := p.request
	r.payload = p.data
	if !c.inline(r) {
		c.enqueue(r)
	}
	return nil
}

// maxTimeout bounds the time that a consumer can give a request; more makes no
// difference.
const maxTimeout = 30 * 24 * time.Hour

// served finds the method that a request names.
func (c *providerConn) served(meta wire.RequestMeta) (served, error) {
	if !meta.Define {
		if meta.Number > uint64(len(c.methods)) {
			return served{}, protocolErrorf("method %d was never defined", meta.Number)
		}
		target := &c.methods[meta.Number-1]
		if target.method == nil { // its service may have been registered since
			*target = c.provider.find(target.id.Service, target.id.Name)
		}
		return *target, nil
	}
	if len(meta.Service) > 2*maxName || len(meta.Method) > maxName {
		return served{}, protocolErrorf("a name of more than %d bytes", maxName)
	}
	target := c.provider.find(string(meta.Service), string(meta.Method))
	switch {
	case meta.Number == 0: // for this frame only
	case meta.Number != uint64(len(c.methods))+1:
		return served{}, protocolErrorf("method %d defined out of turn, after %d", meta.Number, len(c.methods))
	case len(c.methods) >= c.provider.cfg.Limits.Methods:
		return served{}, protocolErrorf("more than %d methods defined", c.provider.cfg.Limits.Methods)
	default:
		c.methods = append(c.methods, target)
	}
	return target, nil
}

// accept enters a request among those that are not answered.
func (c *providerConn) accept(r *request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.requests[r.id]; ok {
		return protocolErrorf("request id %d is in use", r.id)
	}
	if c.requests == nil {
		c.requests = make(map[uint64]*handlerContext)
	}
	c.requests[r.id] = r.ctx
	return nil
}

// reply sends an answer. The reader may not wait for room, so its answers go beyond
// the limit of the write queue; a consumer that asks and does not read is
// disconnected.
func (c *providerConn) reply(f *outgoing, mayWait bool) error {
	f.wait, f.flush, f.yield = mayWait, mayWait, true
	err := c.out.send(context.Background(), f)
	if errors.Is(err, errQueueFull) {
		c.close(errWriteStalled)
		return errWriteStalled
	}
	return nil // a connection that ended needs no answer, nor a consumer that gave up
}

// takes reports whether an answer is within what the consumer takes.
func (c *providerConn) takes(f *outgoing) bool {
	message, metadata := len(f.payload.b)-headroom, f.metadata
	if c.out.chunked && message-metadata > chunkBody {
		message, metadata = message+wire.MostWhole, metadata+wire.MostWhole
	}
	return uint64(message) <= c.maxMessage && uint64(metadata) <= c.maxMetadata
}

// answered removes a request, and closes a connection after its last answer when
// no more requests come.
func (c *providerConn) answered(r *request) {
	c.mu.Lock()
	delete(c.requests, r.id)
	over := c.stopped && len(c.requests) == 0
	c.mu.Unlock()
	r.free()
	if over {
		c.out.finish(errGoAway)
	}
}

// sendGoAway asks the consumer for no more requests.
func (c *providerConn) sendGoAway() {
	c.out.sendControl(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown}, wire.AppendGoAway(nil, wire.GoAwayBody{Message: "the provider is shutting down"}))
	c.out.kick()
}

func (c *providerConn) closing(error) {
	if c.stage.Swap(stageEnded) == stageIntroduced {
		c.provider.introduced.Add(-1)
	}
}

// goneFor is why the handlers of a connection that ends are cancelled: its consumer is
// gone, unless it is the provider that goes.
func (c *providerConn) goneFor() error {
	select {
	case <-c.ended:
		if errors.Is(c.cause, errClosed) {
			return context.Canceled
		}
	default:
	}
	return ErrPeerGone
}

// closed cancels the handlers of this consumer. What its last read brought goes to
// the workers all the same: they count it as over, and run nothing.
func (c *providerConn) closed(cause error, d *Disconnected) {
	c.provider.names.leave(c)
	c.mu.Lock()
	left := slices.Collect(maps.Values(c.requests))
	stopped := c.stopped
	c.mu.Unlock()
	if d != nil {
		if d.Cancelled = len(left); stopped {
			d.agreed()
		}
	}
	for _, ctx := range left {
		ctx.abandon(c.goneFor())
	}
	for _, p := range c.parts.close() {
		c.answered(p.request)
	}
	c.idle()
	c.provider.lobby.leave(c)
	c.provider.gone(c, cause, d != nil)
}

// notOffered explains a serializer that this provider does not have.
func (c *providerConn) notOffered(o offer) *spi.Error {
	var names []string
	for _, s := range c.provider.serializers {
		names = append(names, s.Name)
	}
	what := "a serializer that its HELLO did not list"
	if o.name != "" {
		what = fmt.Sprintf("serializer %q", o.name)
	}
	return &spi.Error{Code: spi.Unimplemented, Phase: spi.PhaseDispatch, Message: what + " is not offered here", Hint: "the provider offers " + strings.Join(names, ", ")}
}
