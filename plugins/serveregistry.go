package plugins

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// registries lets a host use the registries of a catalog. Each is opened once per
// configuration, and closed at the end of its last stream.
type registries struct {
	pluginv1.UnimplementedRegistryServer
	catalog *spi.Catalog
	env     spi.Env

	mu     sync.Mutex
	opened map[registryKey]*openRegistry // nil: none yet
}

type registryKey struct{ name, with string }

// openRegistry is a registry in use.
type openRegistry struct {
	ready    chan struct{} // closed by who opens it, when registry and err are set
	registry spi.Registry  // nil: err says why
	err      error
	uses     int // guarded by registries.mu
}

// errOpening stands where an open has panicked.
var errOpening = errors.New("the registry was not opened")

// use returns a registry that is open, and what ends the use.
func (r *registries) use(ctx context.Context, name string, with []byte) (_ spi.Registry, done func(), err error) {
	key := registryKey{name, string(with)}
	r.mu.Lock()
	o, ok := r.opened[key]
	if !ok {
		o = &openRegistry{ready: make(chan struct{}), err: errOpening}
		if r.opened == nil {
			r.opened = make(map[registryKey]*openRegistry)
		}
		r.opened[key] = o
	}
	o.uses++
	r.mu.Unlock()
	done = func() { r.leave(key, o) }
	defer func() {
		if o.registry == nil { // also if an open panics
			done()
		}
	}()
	if !ok {
		r.open(ctx, o, key)
	}
	<-o.ready
	return o.registry, done, o.err
}

func (r *registries) open(ctx context.Context, o *openRegistry, key registryKey) {
	defer close(o.ready)
	ref := spi.Ref{Use: key.name, With: spi.Raw{JSON: []byte(key.with)}}
	if _, err := r.catalog.Registries.Resolve(ref); err != nil {
		o.err = status.Error(codes.InvalidArgument, err.Error())
		return
	}
	registry, err := r.catalog.Registries.Open(ctx, r.env, ref)
	if err != nil {
		o.err = status.Error(codes.Unavailable, err.Error()) // its server may be down
		return
	}
	o.registry, o.err = registry, nil
}

// leave ends a use, and closes the registry after the last one.
func (r *registries) leave(key registryKey, o *openRegistry) {
	r.mu.Lock()
	o.uses--
	last := o.uses == 0
	if last {
		delete(r.opened, key)
	}
	r.mu.Unlock()
	if last && o.registry != nil {
		_ = o.registry.Close() // there is nobody left to tell
	}
}

// Announce keeps a registration in place until the host ends its side of the stream.
func (r *registries) Announce(stream grpc.BidiStreamingServer[pluginv1.Registration, pluginv1.Status]) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	registry, done, err := r.use(stream.Context(), request.GetName(), request.GetWith())
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	go func() { // gRPC ends it when Announce returns: nothing else interrupts Recv
		_, _ = stream.Recv()
		cancel()
	}()
	said := &statuses{changed: make(chan struct{}, 1)}
	var sending sync.WaitGroup
	sending.Go(func() { said.send(stream, request.GetGeneration()) })
	defer sending.Wait()
	defer said.end()
	err = registry.Announce(ctx, spi.Registration{Service: request.GetService(), Address: request.GetAddress(), Instance: request.GetInstance(),
		Weight: int(request.GetWeight()), Labels: request.GetLabels()}, said.up)
	if err != nil && ctx.Err() == nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return nil
}

// Watch sends every set of a service until the host ends the stream.
func (r *registries) Watch(request *pluginv1.Service, stream grpc.ServerStreamingServer[pluginv1.Endpoints]) error {
	ctx := stream.Context()
	registry, done, err := r.use(ctx, request.GetName(), request.GetWith())
	if err != nil {
		return err
	}
	defer done()
	err = registry.Watch(ctx, request.GetService(), func(set []spi.Endpoint) {
		reply := &pluginv1.Endpoints{Generation: request.GetGeneration()}
		for _, e := range set {
			reply.Endpoints = append(reply.Endpoints, &pluginv1.RegisteredEndpoint{Address: e.Address, Weight: int64(e.Weight), Labels: e.Labels})
		}
		_ = stream.Send(reply) // an error ends the stream's context, too
	})
	if err != nil && ctx.Err() == nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return nil
}

// statuses is what a registration has come to: the latest is sent, since who says it
// must not be blocked.
type statuses struct {
	changed chan struct{} // by up and end; received by send; one is enough to look

	mu     sync.Mutex
	latest *pluginv1.Status // nil: nothing to send
	ended  bool
}

// up is what spi.Registry tells.
func (s *statuses) up(err error) {
	news := new(pluginv1.Status)
	if err != nil {
		news.Error = text(err.Error())
		if news.Error == "" {
			news.Error = "not registered"
		}
	}
	s.mu.Lock()
	s.latest = news
	s.mu.Unlock()
	s.nudge()
}

// end lets send return when it has sent the latest.
func (s *statuses) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.nudge()
}

func (s *statuses) nudge() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *statuses) send(stream grpc.BidiStreamingServer[pluginv1.Registration, pluginv1.Status], generation uint64) {
	for range s.changed {
		s.mu.Lock()
		news, ended := s.latest, s.ended
		s.latest = nil
		s.mu.Unlock()
		if news != nil {
			news.Generation = generation
			if stream.Send(news) != nil {
				return // the stream is over
			}
		}
		if ended {
			return
		}
	}
}
