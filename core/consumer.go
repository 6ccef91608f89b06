package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"
)

const (
	// dialLimit bounds how many connections a Consumer makes at once.
	dialLimit = 64

	// keptTargets bounds the methods that a Consumer remembers; beyond it they are
	// resolved for every call.
	keptTargets = 1 << 16
)

// Consumer makes calls to providers. It implements [spi.Invoker] and is safe for
// use by thousands of goroutines. Make one per configuration and keep it: it holds
// a connection to every endpoint.
type Consumer struct {
	cfg      ConsumerConfig
	instance uuid.UUID
	start    time.Time // zero of the clock of spi.Load
	invoke   spi.InvokeFunc
	states   sync.Pool // of *callState
	dials    chan struct{}
	budget   budget
	tls      *tlsFiles // nil: no TLS
	pulse    *pulse

	unpackRoom unpackRoom

	ctx     context.Context // ends with Close, or at the end of Shutdown
	cancel  context.CancelFunc
	active  context.Context // of calls that begin, endpoints and watches; ends when Shutdown begins, or with ctx
	leave   context.CancelFunc
	running sync.WaitGroup // endpoints and watches; Add happens with mu held and closed false
	open    openConns

	targetsMu sync.RWMutex
	targets   map[[2]string]*spi.Method // by service and method

	mu        sync.Mutex
	closed    bool
	endpoints map[string]*endpoint    // by address
	sets      map[string]*endpointSet // by service key; only "" where addresses are fixed
}

// target is a method as a Consumer resolved it: what a call need not look up.
type target struct {
	consumer *Consumer
	key      string // service key
	name     string
	timeout  time.Duration
	set      *endpointSet

	idempotent bool          // a call of it may run twice
	hedge      time.Duration // without an answer for so long, it does; 0: never
}

// NewConsumer returns a Consumer and starts to connect to its endpoints; it does
// not wait for that. Errors are about the configuration.
func NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	switch {
	case cfg.Serializer == nil || cfg.SerializerName == "":
		return nil, errors.New("a consumer needs a serializer and its name")
	case (cfg.Compressor == nil) != (cfg.CompressorName == ""):
		return nil, errors.New("a compressor has a name, and a name a compressor")
	case cfg.LoadBalancer == nil:
		return nil, errors.New("a consumer needs a load balancer")
	case (len(cfg.Endpoints) == 0) == (cfg.Registry == nil):
		return nil, errors.New("a consumer needs either endpoints or a registry")
	}
	if cfg.Log == nil {
		cfg.Log = silent()
	}
	if cfg.Dial == nil {
		cfg.Dial = dial
	}
	instance, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an instance id: %w", err)
	}
	c := &Consumer{cfg: cfg, instance: instance, start: time.Now(), dials: make(chan struct{}, dialLimit),
		targets: make(map[[2]string]*spi.Method), endpoints: make(map[string]*endpoint), sets: make(map[string]*endpointSet)}
	if files := cfg.TLS; files.Enabled {
		if c.tls, err = newTLSFiles(files.load, cfg.Log, files.CA, files.Cert, files.Key); err != nil {
			return nil, err
		}
	}
	c.pulse = newPulse(spi.RoleConsumer, cfg.Heartbeat)
	c.cfg.WriteTimeout = c.pulse.writeTimeout(cfg.WriteTimeout)
	c.pulse.events.observers = slices.Concat([]*Observer{logConsumer(cfg.Log)}, cfg.Observers)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.budget.init(cfg.Retry.Budget)
	c.unpackRoom.limit = int64(cfg.Limits.Unpacked)
	c.active, c.leave = context.WithCancel(c.ctx)
	c.states.New = func() any { return new(callState) }
	c.invoke = spi.Compose(c.call, cfg.Interceptors...)
	if cfg.Registry == nil {
		all := newEndpointSet("")
		c.sets[""] = all
		if err := c.update(all, cfg.Endpoints); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func silent() logrus.FieldLogger {
	log := logrus.New()
	log.Out = io.Discard
	return log
}

// Close ends every connection; calls under way fail with UNAVAILABLE. It returns
// when everything the Consumer started is gone, and is safe to call twice. What the
// configuration brought (registry, load balancer) stays open.
func (c *Consumer) Close() error {
	c.retire()
	c.cancel()
	c.running.Wait()
	c.pulse.close()
	return nil
}

// Shutdown ends the Consumer when its calls are over: new ones fail with
// UNAVAILABLE, those whose request is queued or sent finish until ctx ends, and what
// is left is then closed. It returns nil if nothing was cut off, and otherwise says
// what was. It may be called twice, and before or beside Close.
func (c *Consumer) Shutdown(ctx context.Context) error {
	c.retire()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.running.Wait()
	}()
	cut := 0
	select {
	case <-over:
	case <-ctx.Done():
		for _, conn := range c.open.list() {
			cut += int(conn.inFlight.Load())
		}
	}
	c.cancel()
	<-over
	c.pulse.close()
	if cut > 0 {
		return fmt.Errorf("%s cut off at the end of the drain time", count(cut, "call"))
	}
	return nil
}

// retire lets nothing begin any more.
func (c *Consumer) retire() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.leave()
}

// now is the time on the clock of spi.Load.
func (c *Consumer) now() time.Duration { return time.Since(c.start) }

func (c *Consumer) connConfig() connConfig {
	var compressors []wire.Name
	if c.cfg.Compressor != nil {
		compressors = []wire.Name{{Number: 1, Name: c.cfg.CompressorName}}
	}
	return connConfig{
		limits: c.cfg.Limits, handshakeTimeout: c.cfg.HandshakeTimeout.D(), writeTimeout: c.cfg.WriteTimeout.D(),
		instance: c.instance, serializers: []wire.Name{{Number: 1, Name: c.cfg.SerializerName}}, begin: true,
		frameTimeout: c.cfg.FrameTimeout.D(), compressors: compressors, compressAbove: c.cfg.CompressAbove, checksum: c.cfg.Checksum, pulse: c.pulse, unpackRoom: &c.unpackRoom,
	}
}

// Method resolves a method; see [spi.Invoker].
func (c *Consumer) Method(service, name string) *spi.Method {
	key := [2]string{service, name}
	c.targetsMu.RLock()
	m := c.targets[key]
	c.targetsMu.RUnlock()
	if m != nil {
		return m
	}
	ref := c.cfg.References[service]
	t := &target{consumer: c, key: spi.ServiceKey(service, ref.Version, ref.Group), name: name}
	t.timeout = cmp.Or(ref.Methods[name].Timeout, ref.Timeout, c.cfg.Timeout).D()
	t.idempotent, t.hedge = slices.Contains(ref.Idempotent, name), ref.Hedge.D()
	t.set = c.set(t.key)
	m = &spi.Method{Service: service, Name: name, Version: ref.Version, Group: ref.Group, Host: t}
	c.targetsMu.Lock()
	defer c.targetsMu.Unlock()
	if known := c.targets[key]; known != nil {
		return known
	}
	if len(c.targets) < keptTargets {
		c.targets[key] = m
	}
	return m
}

// set returns the endpoints of a service, and begins to watch the registry for
// them if need be.
func (c *Consumer) set(service string) *endpointSet {
	if c.cfg.Registry == nil {
		service = ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sets[service]; s != nil {
		return s
	}
	s := newEndpointSet(service)
	c.sets[service] = s
	if !c.closed {
		c.running.Go(func() { c.watch(s) })
	}
	return s
}

// watch follows the registry until the Consumer is closed.
func (c *Consumer) watch(s *endpointSet) {
	log := c.cfg.Log.WithField("service", s.service)
	err := c.cfg.Registry.Watch(c.active, s.service, func(listed []spi.Endpoint) {
		log.WithField("endpoints", len(listed)).Debug("the registry listed endpoints")
		if err := c.update(s, listed); err != nil {
			log.WithError(err).Error("cannot use what the registry listed")
		}
	})
	if err == nil {
		err = errConsumerClosed
	} else {
		log.WithError(err).Error("the registry cannot be watched")
	}
	if s.current.Load() == nil {
		s.failed = err
		close(s.known)
	}
}

// Invoke makes a call and waits for its answer; see [spi.Invoker]. Without a
// deadline of its own, ctx is bounded by the call's Timeout, or what is configured.
// A call that failed is made again on another endpoint if it cannot have run, or is
// idempotent: docs/connections.md §5.
func (c *Consumer) Invoke(ctx context.Context, call *spi.Call) error {
	if len(c.cfg.Interceptors) == 0 {
		return c.call(ctx, call)
	}
	return c.intercepted(ctx, call)
}

// intercepted shows the interceptors the call as it will be made: under its
// deadline, and with what its context adds to the metadata. They work on a copy,
// so that the caller's own can be used again.
func (c *Consumer) intercepted(ctx context.Context, call *spi.Call) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.target(call.Method).timeoutOf(call))
		defer cancel()
	}
	own := *call
	own.Peer, own.ReplyMetadata = "", nil
	own.Metadata = slices.Clone(call.Metadata)
	if more := spi.Outgoing(ctx); len(more) > 0 {
		own.Metadata = append(own.Metadata, more...)
		ctx = spi.WithoutMetadata(ctx)
	}
	err := c.invoke(ctx, &own)
	call.Peer, call.ReplyMetadata = own.Peer, own.ReplyMetadata
	return err
}

// target returns what this Consumer knows of a method, which another Invoker may
// have resolved.
func (c *Consumer) target(m *spi.Method) *target {
	if t, ok := m.Host.(*target); ok && t.consumer == c {
		return t
	}
	return c.Method(m.Service, m.Name).Host.(*target)
}

// timeoutOf returns the bound of a call whose context has none.
func (t *target) timeoutOf(call *spi.Call) time.Duration {
	if call.Timeout > 0 {
		return call.Timeout
	}
	return t.timeout
}

// call is Invoke within the interceptors.
func (c *Consumer) call(ctx context.Context, call *spi.Call) error {
	t := c.target(call.Method)
	s := c.states.Get().(*callState)
	c.budget.earn()
	s.begin(ctx, t, call)
	err := s.attempts(ctx)
	if err != nil {
		err = s.annotate(err)
	}
	s.free()
	return err
}
