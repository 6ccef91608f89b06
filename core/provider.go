package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"
)

// ErrProviderClosed is what [Provider.Serve] returns after [Provider.Shutdown].
var ErrProviderClosed = errors.New("the provider was shut down")

// Provider serves calls. Register services, then Serve one or more listeners. It
// is safe for concurrent use.
type Provider struct {
	cfg         ProviderConfig
	instance    uuid.UUID
	serializers []wire.Name // numbered by order of name
	compressors []wire.Name // in the same way
	invoke      spi.InvokeFunc
	queue       workQueue
	requests    sync.Pool // of *request

	complaints rateLimit // of log lines about consumers that misbehave
	pauses     rateLimit // of log lines about accepting; those of a crowd do not hide them
	web        webServer
	tls        *tlsFiles // nil: no TLS
	names      tokens
	pulse      *pulse
	lobby      lobby        // its lock may be taken with mu held
	introduced atomic.Int32 // connections that are none of the lobby's any more, and have not ended
	unpackRoom unpackRoom
	lastOffers atomic.Pointer[[]offer] // nil before the first HELLO

	ctx      context.Context // base of every handler's context; ends with Shutdown
	cancel   context.CancelFunc
	admitted atomic.Int64  // requests queued or running
	quiet    chan struct{} // capacity 1; told when admitted falls to 0 while shutting down
	ending   atomic.Bool   // Shutdown waits for quiet

	announceCtx context.Context // ends when Shutdown begins
	withdraw    context.CancelFunc
	announcing  sync.WaitGroup // Add happens with mu held and leaving false
	running     sync.WaitGroup // accept loops and connections; Add happens with mu held and closing false

	mu        sync.Mutex
	leaving   bool                // Shutdown has begun: no more listeners
	closing   bool                // no more connections
	services  map[string]*Service // by key
	listeners map[net.Listener]bool
	conns     map[*providerConn]bool
	empty     chan struct{} // closed when closing and there are no connections; nil before

	methods atomic.Pointer[map[string]map[string]served] // what services offers, for readers; never nil
}

// NewProvider returns a Provider that serves nothing yet. Errors are about the
// configuration.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Serializers) == 0 || len(cfg.Serializers) > 255 {
		return nil, fmt.Errorf("a provider offers 1 to 255 serializers, not %d", len(cfg.Serializers))
	}
	if len(cfg.Compressors) > 255 {
		return nil, fmt.Errorf("a provider offers at most 255 compressors, not %d", len(cfg.Compressors))
	}
	if cfg.Log == nil {
		cfg.Log = silent()
	}
	instance, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an instance id: %w", err)
	}
	p := &Provider{cfg: cfg, instance: instance, services: make(map[string]*Service), listeners: make(map[net.Listener]bool), conns: make(map[*providerConn]bool), quiet: make(chan struct{}, 1)}
	p.pulse = newPulse(spi.RoleProvider, cfg.Heartbeat)
	p.cfg.WriteTimeout = p.pulse.writeTimeout(cfg.WriteTimeout)
	p.pulse.events.observers = slices.Concat([]*Observer{logProvider(cfg.Log, &p.complaints)}, cfg.Observers)
	p.serializers, p.compressors = numbered(cfg.Serializers), numbered(cfg.Compressors)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.announceCtx, p.withdraw = context.WithCancel(context.Background())
	p.methods.Store(new(map[string]map[string]served))
	p.queue.run = (*request).run
	p.unpackRoom.limit = int64(cfg.Limits.Unpacked)
	p.requests.New = func() any { return new(request) }
	p.invoke = spi.Compose(callMethod, cfg.Interceptors...)
	p.web.init(p, cfg.WriteTimeout)
	if files := cfg.TLS; files.Cert != "" {
		if p.tls, err = newTLSFiles(files.load, cfg.Log, files.Cert, files.Key, files.ClientCA); err != nil {
			return nil, err
		}
	}
	if cfg.Introspection {
		p.add(p.introspection())
	}
	return p, nil
}

// numbered gives names their numbers in HELLO.
func numbered[T any](byName map[string]T) []wire.Name {
	var names []wire.Name
	for i, name := range slices.Sorted(maps.Keys(byName)) {
		names = append(names, wire.Name{Number: uint8(i + 1), Name: name})
	}
	return names
}

// Register adds a service. Services may be added while the Provider serves; those
// added after Serve are not announced to a registry. Error: a service of that name,
// version and group is there already.
func (p *Provider) Register(s *Service) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.services[s.Key()]; ok {
		return fmt.Errorf("service %s is registered twice", s.Key())
	}
	p.add(s)
	return nil
}

// add is Register with mu held.
func (p *Provider) add(s *Service) {
	p.services[s.Key()] = s
	methods := make(map[string]map[string]served)
	maps.Copy(methods, *p.methods.Load())
	own := make(map[string]served)
	for _, m := range s.Methods {
		own[m.Name] = served{&spi.Method{Service: s.Name, Name: m.Name, Version: s.Version, Group: s.Group, Host: m}, m}
	}
	methods[s.Key()] = own
	p.methods.Store(&methods)
}

// find returns the method, or one without a Method if there is none.
func (p *Provider) find(service, method string) served {
	if s, ok := (*p.methods.Load())[service][method]; ok {
		return s
	}
	return served{id: &spi.Method{Service: service, Name: method}}
}

// notFound explains a method that is not served.
func (p *Provider) notFound(id *spi.Method) *spi.Error {
	e := &spi.Error{Code: spi.Unimplemented, Phase: spi.PhaseDispatch}
	all := *p.methods.Load()
	methods, ok := all[id.Service] // the key, as the consumer wrote it
	if !ok {
		e.Message = fmt.Sprintf("service %s not found", id.Service)
		if near := spi.Nearest(id.Service, slices.Collect(maps.Keys(all))); near != "" {
			e.Hint = fmt.Sprintf("did you mean %s?", near)
		}
		return e
	}
	e.Message = fmt.Sprintf("method %s not found", id)
	if near := spi.Nearest(id.Name, slices.Collect(maps.Keys(methods))); near != "" {
		e.Hint = fmt.Sprintf("did you mean %s.%s?", id.Service, methods[near].method.Signature)
	}
	return e
}

// admit counts a request against the bound.
func (p *Provider) admit() bool {
	if p.admitted.Add(1) > int64(p.cfg.MaxRequests) {
		p.admitted.Add(-1)
		return false
	}
	return true
}

func (p *Provider) release() {
	if p.admitted.Add(-1) == 0 && p.ending.Load() {
		p.tellQuiet()
	}
}

func (p *Provider) connConfig() connConfig {
	return connConfig{
		limits: p.cfg.Limits, handshakeTimeout: p.cfg.HandshakeTimeout.D(), writeTimeout: p.cfg.WriteTimeout.D(),
		instance: p.instance, serializers: p.serializers, frameTimeout: p.cfg.FrameTimeout.D(),
		compressors: p.compressors, compressAbove: p.cfg.CompressAbove, checksum: p.cfg.Checksum, pulse: p.pulse, unpackRoom: &p.unpackRoom,
	}
}

// Serve accepts connections until the Provider is shut down or the listener fails,
// and closes the listener. It announces the services registered so far, if there is
// a registry. After Shutdown it returns [ErrProviderClosed].
func (p *Provider) Serve(l net.Listener) error {
	defer l.Close()
	if !p.listen(l) {
		return ErrProviderClosed
	}
	defer p.running.Done()
	for delay := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			delay = 0
			p.adopt(nc)
			continue
		}
		if p.announceCtx.Err() != nil {
			return ErrProviderClosed
		}
		if !isTemporary(err) {
			p.unlisten(l)
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		// Out of descriptors, most likely. Connections that are open go on.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		if p.pauses.allow() {
			p.cfg.Log.WithError(err).WithField("retry", delay).Warn("cannot accept")
		}
		sleep(p.announceCtx, delay)
	}
}

// listen enters a listener and announces the services there. It returns false if
// the Provider is shut down.
func (p *Provider) listen(l net.Listener) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leaving {
		return false
	}
	p.listeners[l] = true
	p.running.Add(1)
	p.announce(l)
	return true
}

func (p *Provider) unlisten(l net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.listeners, l)
}

// isTemporary reports an error after which accepting may work again.
func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// guests is how many connections there may be beyond max_conns: they may be there to take
// the place of others, or have ended and are being cleaned up.
const guests = 16

// makeRoom waits until one more connection may be accepted, and reports whether it may.
// If there are too many, the one that has been silent longest gives way; if all have
// introduced themselves, a few more may do so, and introduce decides.
func (p *Provider) makeRoom() bool {
	for {
		p.mu.Lock()
		all := len(p.conns)
		p.mu.Unlock()
		known, most := int(p.introduced.Load()), p.cfg.MaxConns
		if known >= most {
			most += guests
		}
		if all < most && p.lobby.len() < p.cfg.MaxHandshakes {
			return true
		}
		oldest, wait := p.lobby.giveWay(p.cfg.HandshakeTimeout.D())
		switch {
		case wait > 0:
			if !sleep(p.announceCtx, wait) {
				return true // and adopt closes it
			}
		case oldest == nil:
			return all < p.cfg.MaxConns+guests
		default:
			oldest.close(errCrowded)
			return true
		}
	}
}

// introduce counts a connection, until its end, as one that has introduced itself, and
// reports whether it may stay: there is a place, or another one, that its consumer has
// given up, gives it its own.
func (p *Provider) introduce(c *providerConn, token, supersedes [16]byte) bool {
	if !c.stage.CompareAndSwap(stageSilent, stageIntroduced) {
		return true // it ends
	}
	taken := p.names.yields(supersedes, token)
	if int(p.introduced.Add(1)) <= p.cfg.MaxConns || taken {
		return true
	}
	c.closing(errFull) // it counts no longer, however long its end takes
	return false
}

// adopt runs a connection.
func (p *Provider) adopt(nc net.Conn) {
	if !p.makeRoom() {
		_ = nc.Close()
		if p.complaints.allow() {
			p.cfg.Log.WithField("consumer", nameOf(nc.RemoteAddr())).Warn(errFull.Error())
		}
		return
	}
	tuneSocket(nc, p.pulse.userTimeout(p.cfg.WriteTimeout))
	c := newProviderConn(p, nc)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		_ = nc.Close()
		return
	}
	p.conns[c] = true
	p.lobby.enter(c)
	p.running.Go(c.meet)
}

// gone forgets a connection that was cleaned up. The end of one that was up is an
// event.
func (p *Provider) gone(c *providerConn, cause error, up bool) {
	if !up {
		reason, text := reasonOf(cause)
		logGone(p.cfg.Log.WithField("consumer", c.remote), &p.complaints, reason, text)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	if p.closing && len(p.conns) == 0 {
		close(p.empty)
	}
}

// announce keeps the services in the registry. mu is held.
func (p *Provider) announce(l net.Listener) {
	if p.cfg.Registry == nil {
		return
	}
	address := p.cfg.Advertise
	if address == "" {
		address = l.Addr().String()
	}
	for key, s := range p.services {
		if s.Name == IntrospectionService {
			continue
		}
		log := p.cfg.Log.WithFields(logrus.Fields{"service": key, "addr": address})
		reg := spi.Registration{Service: key, Address: address, Instance: p.instance.String(), Weight: p.cfg.Weight}
		p.announcing.Go(func() {
			err := p.cfg.Registry.Announce(p.announceCtx, reg, func(err error) {
				if err != nil {
					log.WithError(err).Warn("not registered")
					return
				}
				log.Info("registered")
			})
			if err != nil {
				log.WithError(err).Error("cannot be registered")
			}
		})
	}
}

// handlerGrace is how long Shutdown waits for handlers whose context has ended.
const handlerGrace = time.Second

// Shutdown stops the Provider: it withdraws from the registry, stops accepting,
// asks consumers for no more requests, waits for those in flight until ctx ends,
// and closes what is left. It returns nil if nothing was cut off, and otherwise
// says what was. It is safe to call twice; both calls wait.
func (p *Provider) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.leaving = true
	p.mu.Unlock()
	p.withdraw()
	p.announcing.Wait()
	conns := p.stopAccepting()
	for _, c := range conns {
		c.leave()
	}
	p.web.leave()
	cut := 0
	select {
	case <-p.empty:
	case <-ctx.Done():
	}
	if ctx.Err() != nil { // beside another Shutdown both cases may hold
		cut = int(p.admitted.Load())
	}
	for _, c := range conns { // first, or handlers would answer that they were cancelled
		c.close(errClosed)
	}
	p.cancel()
	p.running.Wait()
	p.pulse.close()
	p.queue.close()
	if left := p.handlersLeft(); left > 0 {
		return fmt.Errorf("%s ignored the end of the drain time and still run", count(left, "handler"))
	}
	p.queue.workers.Wait()
	if cut > 0 {
		return fmt.Errorf("%s cut off at the end of the drain time", count(cut, "request"))
	}
	return nil
}

// handlersLeft waits for handlers to end, but not for ever, and returns how many do
// not.
func (p *Provider) handlersLeft() int {
	p.ending.Store(true)
	grace := time.NewTimer(handlerGrace)
	defer grace.Stop()
	for p.admitted.Load() > 0 {
		select {
		case <-p.quiet:
		case <-grace.C:
			return int(p.admitted.Load())
		}
	}
	p.tellQuiet() // another Shutdown may wait too
	return 0
}

func (p *Provider) tellQuiet() {
	select {
	case p.quiet <- struct{}{}:
	default:
	}
}

// stopAccepting closes the listeners and returns the connections that are left.
func (p *Provider) stopAccepting() []*providerConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closing {
		p.closing = true
		p.empty = make(chan struct{})
		if len(p.conns) == 0 {
			close(p.empty)
		}
	}
	for l := range p.listeners {
		_ = l.Close()
	}
	return slices.Collect(maps.Keys(p.conns))
}
