package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

const (
	// outcomeQueue is how many outcomes wait for the plugin: what ends within a restart
	// of it under load.
	outcomeQueue = 4096
	outcomeBatch = 512
	// flushTime is how long Close may take to tell what is left, unless call_timeout is
	// longer.
	flushTime = time.Second
	// ackTime is how long a plugin may take to acknowledge a batch.
	ackTime = 10 * time.Second
)

// addProxy adds a proxy whose hooks are asked in the plugin.
func (p *Plugin) addProxy(cat *spi.Catalog, info spi.Info) error {
	if err := p.allowOnFailure(info.Kind, spi.Fail, spi.Pass); err != nil {
		return err
	}
	return cat.Proxies.Add(info, func(ctx context.Context, env spi.Env, with []byte) (spi.Proxy, error) {
		h := &hooks{plugin: p, name: info.Name, with: with, acked: ackTime, queue: make(chan spi.Outcome, outcomeQueue), closing: make(chan struct{})}
		w := wanted{kind: info.Kind, name: info.Name, with: string(with)}
		number, err := p.admit(ctx, env.Log, perCall{w, "call", h.probe})
		if err != nil {
			return nil, err
		}
		standIn := ""
		if p.cfg.OnFailure[info.Kind] == spi.Pass {
			standIn = spi.Pass
		}
		if h.use, err = p.keep(ctx, w, number, standIn, env.Log); err != nil {
			return nil, err
		}
		h.ctx, h.cancel = context.WithCancel(context.Background())
		h.waiting, h.leave = context.WithCancel(h.ctx)
		h.teller.Go(h.tell)
		return &proxy{spi.FromHooks(h).(spi.Wrapper), h}, nil
	})
}

// proxy asks the hooks in a plugin around each invocation.
type proxy struct {
	spi.Wrapper
	hooks *hooks
}

// Hooks returns the inner contract, for those who check it.
func (p *proxy) Hooks() spi.Hooks { return p.hooks }

// Close tells the plugin the outcomes that wait, for a bounded time.
func (p *proxy) Close() error {
	p.hooks.close()
	return nil
}

// hooks are those of a plugin, as spi.Hooks.
type hooks struct {
	plugin *Plugin
	name   string
	with   []byte
	use    *usage
	number atomic.Uint64 // of the last call
	acked  time.Duration // time allowed for the acknowledgement of a batch

	queue   chan spi.Outcome // of After, to tell; never closed: After may come late
	closing chan struct{}    // closed by close
	once    sync.Once
	ctx     context.Context // of tell; ended by cancel
	cancel  context.CancelFunc
	waiting context.Context // for a process that is ready; ended by leave, when close begins
	leave   context.CancelFunc
	teller  sync.WaitGroup // tell
}

// Before implements spi.Hooks.
func (h *hooks) Before(ctx context.Context, in spi.Invocation) (spi.Verdict, error) {
	if what := odd(in); what != "" {
		return spi.Verdict{}, &spi.Error{Code: spi.InvalidArgument, Message: fmt.Sprintf("%s is not UTF-8, so plugin %q cannot be asked about the call", what, h.plugin.cfg.Name)}
	}
	deadline, bounded := ctx.Deadline()
	hurried := bounded && time.Until(deadline) <= h.plugin.cfg.CallTimeout.D()
	reply, err := h.ask(ctx, &pluginv1.Invocation{Number: h.number.Add(1), Name: h.name, With: h.with,
		Service: in.Service, Version: in.Version, Group: in.Group, Method: in.Method, Metadata: sentMetadata(in.Metadata)})
	switch {
	case err == nil:
		h.use.works()
		return receivedVerdict(reply)
	case ctx.Err() != nil:
		return spi.Verdict{}, ctx.Err()
	case hurried && (errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded):
		return spi.Verdict{}, context.DeadlineExceeded
	case !noAnswer(err): // it may be what the hook, had it been well, would have refused
		return spi.Verdict{}, h.plugin.failed(err)
	}
	h.use.fell(err)
	if h.use.standIn == spi.Pass {
		return spi.Verdict{}, nil
	}
	return spi.Verdict{}, h.plugin.unavailable(err, "bhrpc plugin inspect "+h.plugin.cfg.Name+" says how it does; on_failure: {proxy: pass} would let calls go on without its hooks")
}

// odd names a text of an invocation that no message can carry; "": there is none.
func odd(in spi.Invocation) string {
	for _, name := range [...]string{in.Service, in.Version, in.Group, in.Method} {
		if !utf8.ValidString(name) {
			return strconv.Quote(name)
		}
	}
	for _, pair := range in.Metadata {
		if !utf8.ValidString(pair.Key) || !utf8.ValidString(pair.Value) {
			return fmt.Sprintf("the metadata %q", pair.Key)
		}
	}
	return ""
}

// probe is an exchange of which the author's hooks do not learn.
func (h *hooks) probe(ctx context.Context) error {
	_, err := h.ask(ctx, &pluginv1.Invocation{Name: h.name, With: h.with, Service: "Measurement", Method: "Measure", Metadata: []*pluginv1.Pair{{Key: "trace", Value: "0123456789abcdef"}}})
	return err
}

func (h *hooks) ask(ctx context.Context, in *pluginv1.Invocation) (*pluginv1.Verdict, error) {
	return exchange(ctx, h.plugin, func(ctx context.Context, g *generation) (*pluginv1.Verdict, error) {
		in.Generation = g.number
		reply, err := pluginv1.NewProxyClient(g.conn).Before(ctx, in)
		if err == nil && (reply.GetGeneration() != g.number || reply.GetNumber() != in.GetNumber()) {
			err = fmt.Errorf("verdict %d of generation %d on call %d of generation %d", reply.GetNumber(), reply.GetGeneration(), in.GetNumber(), g.number)
		}
		return reply, err
	})
}

// After implements spi.Hooks. It does not wait.
func (h *hooks) After(_ context.Context, out spi.Outcome) {
	select {
	case h.queue <- out:
	default:
		h.use.drop(1)
	}
}

// tell tells the plugin what is in the queue, until close.
func (h *hooks) tell() {
	for {
		select {
		case first := <-h.queue:
			h.send(h.batch(first))
			h.use.reportDrops(time.Now(), false)
		case <-h.closing:
			for {
				select {
				case first := <-h.queue:
					h.send(h.batch(first))
					continue
				default:
				}
				h.use.reportDrops(time.Now(), true)
				return
			}
		}
	}
}

// batch takes what waits behind first.
func (h *hooks) batch(first spi.Outcome) []*pluginv1.Outcome {
	batch := []*pluginv1.Outcome{sentOutcome(first)}
	for len(batch) < outcomeBatch {
		select {
		case next := <-h.queue:
			batch = append(batch, sentOutcome(next))
		default:
			return batch
		}
	}
	return batch
}

// send tells one batch to a process that is ready, and waits for one.
func (h *hooks) send(batch []*pluginv1.Outcome) {
	g, err := h.plugin.await(h.waiting, 0)
	if err != nil {
		h.use.drop(len(batch))
		return
	}
	defer g.release()
	ctx, cancel := context.WithTimeout(h.ctx, h.acked)
	defer cancel()
	ack, err := pluginv1.NewProxyClient(g.conn).After(ctx, &pluginv1.Outcomes{Generation: g.number, Name: h.name, With: h.with, Outcomes: batch})
	if err != nil || ack.GetGeneration() != g.number {
		h.use.drop(len(batch))
		return
	}
	h.use.drop(len(batch) - int(min(ack.GetTold(), uint64(len(batch)))))
}

func (h *hooks) close() {
	h.once.Do(func() {
		close(h.closing)
		h.leave()
		late := time.AfterFunc(max(flushTime, h.plugin.cfg.CallTimeout.D()), h.cancel)
		h.teller.Wait()
		late.Stop()
		h.cancel()
		h.plugin.usages.remove(h.use)
	})
}

func sentMetadata(m spi.Metadata) []*pluginv1.Pair {
	if len(m) == 0 {
		return nil
	}
	pairs, sent := make([]pluginv1.Pair, len(m)), make([]*pluginv1.Pair, len(m))
	for i := range m {
		pairs[i].Key, pairs[i].Value = m[i].Key, m[i].Value
		sent[i] = &pairs[i]
	}
	return sent
}

func receivedMetadata(pairs []*pluginv1.Pair) spi.Metadata {
	m := make(spi.Metadata, len(pairs)) // not nil: empty means none at all
	for i, p := range pairs {
		m[i] = spi.Pair{Key: p.GetKey(), Value: p.GetValue()}
	}
	return m
}

// receivedVerdict returns what the hook decided, or the error it failed with.
func receivedVerdict(v *pluginv1.Verdict) (spi.Verdict, error) {
	var verdict spi.Verdict
	if v.Metadata != nil {
		verdict.Metadata = receivedMetadata(v.GetMetadata().GetPairs())
	}
	switch instead := v.GetInstead().(type) {
	case *pluginv1.Verdict_Answer:
		verdict.Answer = append(json.RawMessage{}, instead.Answer...) // not nil
	case *pluginv1.Verdict_Refusal:
		r := instead.Refusal
		verdict.Refuse = &spi.Refusal{Code: codeNamed(r.GetCode()), Message: r.GetMessage(), Details: r.GetDetails()}
	case *pluginv1.Verdict_Failure:
		f := instead.Failure
		return spi.Verdict{}, &spi.Error{Code: codeNamed(f.GetCode()), Reason: f.GetReason(), Message: f.GetMessage(), Hint: f.GetHint(), Details: f.GetDetails()}
	}
	return verdict, nil
}

func sentOutcome(out spi.Outcome) *pluginv1.Outcome {
	return &pluginv1.Outcome{Service: text(out.Service), Method: text(out.Method), Endpoint: text(out.Endpoint), TookNanos: int64(out.Took),
		Code: out.Code.String(), Message: text(out.Message)}
}

// codeNamed returns the code of a name, 0 for "OK" and for what is none.
func codeNamed(name string) spi.Code {
	for c := spi.Code(1); c.Valid(); c++ {
		if c.String() == name {
			return c
		}
	}
	return 0
}
