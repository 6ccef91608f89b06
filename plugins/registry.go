package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// addRegistry adds a registry that is asked over one stream per service.
func (p *Plugin) addRegistry(cat *spi.Catalog, info spi.Info) error {
	if err := p.allowOnFailure(info.Kind, spi.Fail); err != nil {
		return err
	}
	return cat.Registries.Add(info, func(ctx context.Context, env spi.Env, with []byte) (spi.Registry, error) {
		log := env.Log.WithField("plugin", p.cfg.Name)
		w := wanted{kind: info.Kind, name: info.Name, with: string(with)}
		number, err := p.prepare(ctx, w)
		switch {
		case refused(ctx, err):
			return nil, err
		case err != nil:
			log.WithError(err).Warn("the plugin cannot be asked; it is waited for")
		}
		use, err := p.keep(ctx, w, number, "", env.Log)
		if err != nil {
			return nil, err
		}
		return &registry{plugin: p, name: info.Name, with: with, log: log, remove: removeTimeout, use: use}, nil
	})
}

// registry is a registry of a plugin. It holds nothing between Announce and Watch.
type registry struct {
	plugin *Plugin
	name   string
	with   []byte
	log    logrus.FieldLogger
	remove time.Duration // time allowed for the plugin to remove a registration
	use    *usage
}

// Close ends no stream: each is owned by the Announce or Watch that opened it.
func (r *registry) Close() error {
	r.plugin.usages.remove(r.use)
	return nil
}

const (
	removeTimeout = 2 * time.Second
	firstPause    = 100 * time.Millisecond
	longestPause  = 5 * time.Second
	largestShare  = 1 << 30 // weight of an endpoint
)

// errMoved is why a registration is lost when a newer generation makes it again.
var errMoved = errors.New("moved to the next process of the plugin")

// Announce implements spi.Registry.
func (r *registry) Announce(ctx context.Context, reg spi.Registration, up func(error)) error {
	told, was := false, error(nil)
	tell := func(err error) {
		if ctx.Err() == nil && (!told || (err == nil) != (was == nil)) {
			told, was = true, err
			up(err)
		}
	}
	if g, err := r.plugin.use(); err != nil {
		tell(err)
	} else {
		g.release()
	}
	return r.follow(ctx, func(ctx context.Context, g *generation) (answered bool, err error) {
		answered, err = r.announce(ctx, g, reg, tell)
		switch {
		case ctx.Err() != nil:
			tell(errMoved)
		case !isFinal(err):
			tell(fmt.Errorf("registry %q of plugin %q: %w", r.name, r.plugin.cfg.Name, err))
		}
		return answered, err
	})
}

// Watch implements spi.Registry.
func (r *registry) Watch(ctx context.Context, service string, update func([]spi.Endpoint)) error {
	var last []spi.Endpoint // never nil after the first
	lost := false           // that is logged
	return r.follow(ctx, func(ctx context.Context, g *generation) (answered bool, err error) {
		answered, err = r.watch(ctx, g, service, func(set []spi.Endpoint) {
			lost = false
			if ctx.Err() == nil && (last == nil || !slices.EqualFunc(last, set, sameEndpoint)) {
				last = set
				update(slices.Clone(set))
			}
		})
		if ctx.Err() == nil && !isFinal(err) && !lost {
			lost = true
			r.log.WithError(err).WithField("service", service).Warn("the registry is lost; the last set stays")
		}
		return answered, err
	})
}

func sameEndpoint(a, b spi.Endpoint) bool {
	return a.Address == b.Address && a.Weight == b.Weight && maps.Equal(a.Labels, b.Labels)
}

// follow has one stream after the other, each with the generation that is ready, until
// ctx ends, and then returns nil. It returns an error that is final, or that of a
// plugin that was closed. stream ends with its context, which is when there is a
// newer generation; answered says that the plugin was of use.
func (r *registry) follow(ctx context.Context, stream func(context.Context, *generation) (answered bool, err error)) error {
	var after uint64
	pause := firstPause
	for {
		g, err := r.plugin.await(ctx, after)
		if ctx.Err() != nil {
			if err == nil {
				g.release()
			}
			return nil
		}
		if err != nil {
			return err
		}
		answered, err := r.streamWith(ctx, g, stream)
		number, exited := g.number, g.exited()
		g.release()
		switch {
		case ctx.Err() != nil:
			return nil
		case isFinal(err):
			return fmt.Errorf("registry %q of plugin %q: %s", r.name, r.plugin.cfg.Name, status.Convert(err).Message())
		case err == nil: // there is a newer generation
			continue
		}
		if answered {
			pause = firstPause
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		pause = min(2*pause, longestPause)
		select {
		case <-exited:
			after = number
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// streamWith runs stream with a generation until there is a newer one.
func (r *registry) streamWith(ctx context.Context, g *generation, stream func(context.Context, *generation) (bool, error)) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if newer, err := r.plugin.await(ctx, g.number); err == nil {
			newer.release()
			cancel()
		}
	})
	defer waiting.Wait()
	defer cancel()
	answered, err = stream(ctx, g)
	if ctx.Err() != nil {
		err = nil
	}
	return answered, err
}

// isFinal reports whether asking again cannot help.
func isFinal(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented:
		return true
	}
	return false
}

// cut is why a stream ended that nobody canceled. gRPC says Canceled if the host closed
// the connection to a process that had ended before it noticed.
func cut(ctx context.Context, err error) error {
	if status.Code(err) == codes.Canceled && ctx.Err() == nil {
		return errExited
	}
	return err
}

// announce keeps a registration in place with one generation until ctx ends, and has
// it removed.
func (r *registry) announce(ctx context.Context, g *generation, reg spi.Registration, tell func(error)) (answered bool, err error) {
	streamed, cancel := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx until the registration is removed
	stop := context.AfterFunc(ctx, cancel)
	stream, err := pluginv1.NewRegistryClient(g.conn).Announce(streamed)
	if err == nil {
		err = stream.Send(&pluginv1.Registration{Generation: g.number, Name: r.name, With: r.with, Service: reg.Service,
			Address: reg.Address, Instance: reg.Instance, Weight: int64(reg.Weight), Labels: reg.Labels})
	}
	if !stop() || err != nil && !errors.Is(err, io.EOF) { // io.EOF: Recv knows why
		cancel()
		return false, err
	}
	var ending sync.WaitGroup
	ending.Go(func() {
		select {
		case <-ctx.Done():
		case <-streamed.Done():
			return
		}
		_ = stream.CloseSend()
		timer := time.NewTimer(r.remove)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-streamed.Done():
		}
	})
	defer ending.Wait()
	defer cancel()
	for {
		news, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return answered, errors.New("the plugin ended an announcement")
		case err != nil:
			return answered, cut(ctx, err)
		case news.GetGeneration() != g.number:
			return answered, fmt.Errorf("an answer for generation %d, this is %d", news.GetGeneration(), g.number)
		case ctx.Err() != nil: // how it is removed is nobody's news
		case news.GetError() != "":
			tell(fmt.Errorf("registry %q of plugin %q: %s", r.name, r.plugin.cfg.Name, news.GetError()))
		default:
			answered = true
			tell(nil)
		}
	}
}

// watch gives update every set of a service that one generation sends and that can
// be one, until ctx ends.
func (r *registry) watch(ctx context.Context, g *generation, service string, update func([]spi.Endpoint)) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pluginv1.NewRegistryClient(g.conn).Watch(ctx, &pluginv1.Service{Generation: g.number, Name: r.name, With: r.with, Service: service})
	if err != nil {
		return false, err
	}
	refused := false // the last set was
	for {
		news, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return answered, errors.New("the plugin ended a watch")
		case err != nil:
			return answered, cut(ctx, err)
		case news.GetGeneration() != g.number:
			return answered, fmt.Errorf("an answer for generation %d, this is %d", news.GetGeneration(), g.number)
		}
		set, fault := receivedSet(news.GetEndpoints())
		if fault != nil && !refused {
			r.log.WithError(fault).WithField("service", service).Warn("a set of endpoints was refused; the last one stays")
		}
		if refused = fault != nil; !refused {
			answered = true
			update(set)
		}
	}
}

// receivedSet checks a set of endpoints and returns it, never nil, in its order.
func receivedSet(endpoints []*pluginv1.RegisteredEndpoint) ([]spi.Endpoint, error) {
	set := make([]spi.Endpoint, len(endpoints))
	known := make(map[string]bool, len(endpoints))
	for i, e := range endpoints {
		switch {
		case e.GetAddress() == "":
			return nil, fmt.Errorf("endpoint %d of %d has no address", i+1, len(endpoints))
		case known[e.GetAddress()]:
			return nil, fmt.Errorf("it names endpoint %q twice", e.GetAddress())
		case e.GetWeight() < 0 || e.GetWeight() > largestShare:
			return nil, fmt.Errorf("weight %d of endpoint %q; want 0 to %d", e.GetWeight(), e.GetAddress(), largestShare)
		}
		known[e.GetAddress()] = true
		set[i] = spi.Endpoint{Address: e.GetAddress(), Weight: max(int(e.GetWeight()), 1), Labels: e.GetLabels()}
	}
	return set, nil
}
