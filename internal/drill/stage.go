package drill

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/link"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// introspection is a method that every provider has, unless it is switched off.
const introspection = core.IntrospectionService + "." + core.IntrospectionMethod

// stage is what a drill is played on: providers, a link before the first, consumers.
type stage struct {
	cfg     Config
	plan    plan
	journal *journal

	link      *link.Link
	own       map[string]*practice // the providers of this process by name; none: the user's
	endpoints []string             // addresses, that of the link first
	consumers []*bhrpc.App
	closers   []io.Closer // in the order in which they were opened
}

// open makes providers, the link, and consumers that know everybody.
func open(ctx context.Context, cfg Config, j *journal, p plan) (*stage, error) {
	s := &stage{cfg: cfg, plan: p, journal: j, own: make(map[string]*practice)}
	if err := s.fill(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// plan is what differs between stages.
type plan struct {
	providers        int           // of this process, unless the user brings some
	consumers        int           // more than one are a crowd, of which single ones are not shown
	providerInterval time.Duration // of the providers of this process
	first            time.Duration // key consumer.reconnect.first; five times that after a death
	bodies           int           // bytes of the answers that are asked for; 0: none
	plugin           bool          // consumers pick by a plugin
}

// pair is the usual stage: a and b with the consumer's interval, one consumer.
func pair(c Config) plan {
	return plan{providers: 2, consumers: 1, providerInterval: c.Interval, first: min(200*time.Millisecond, c.Interval/5)}
}

func (s *stage) fill(ctx context.Context) error {
	p := s.plan
	addresses := s.cfg.Providers
	if len(addresses) == 0 {
		for i := range p.providers {
			address, err := s.provide(ctx, string(rune('a'+i)), p.providerInterval)
			if err != nil {
				return err
			}
			addresses = append(addresses, address)
		}
	}
	var err error
	if s.link, err = link.Listen(addresses[0]); err != nil {
		return err
	}
	s.closers = append(s.closers, s.link)
	s.endpoints = append([]string{s.link.Addr()}, addresses[1:]...)
	if s.journal.crowd = p.consumers > 1; s.journal.crowd { // the link is all that they need
		s.endpoints = s.endpoints[:1]
	}
	for i, address := range s.endpoints {
		s.journal.names[address] = string(rune('a' + i))
	}
	for range p.consumers {
		if err := s.consume(ctx, p.first); err != nil {
			return err
		}
	}
	return nil
}

// base is the configuration that both sides begin with.
func (s *stage) base() (*bhrpc.Config, error) {
	cfg, err := bhrpc.Load(s.cfg.File)
	if err != nil {
		return nil, err
	}
	silent := logrus.New()
	silent.Out = io.Discard
	cfg.Log = silent
	return cfg, set(cfg, map[string]any{"control": "off", "consumer.registry": "none", "provider.registry": "none", "consumer.addresses": []string{}})
}

func set(cfg *bhrpc.Config, keys map[string]any) error {
	var errs []error
	for key, value := range keys {
		errs = append(errs, cfg.Set(key, value))
	}
	return errors.Join(errs...)
}

// beat is the heartbeat of one side, as a configuration has it.
func (s *stage) beat(interval time.Duration) map[string]any {
	return map[string]any{"use": "three-strike", "with": map[string]any{"interval": interval.String(), "strikes": s.cfg.Strikes}}
}

// provide starts a provider of this process.
func (s *stage) provide(ctx context.Context, name string, interval time.Duration) (address string, err error) {
	cfg, err := s.base()
	if err != nil {
		return "", err
	}
	if err := set(cfg, map[string]any{"provider.listen": "127.0.0.1:0", "provider.heartbeat": s.beat(interval)}); err != nil {
		return "", err
	}
	cfg.Observers = []*core.Observer{s.journal.provider(name)}
	app, err := cfg.Open(ctx)
	if err != nil {
		return "", err
	}
	s.closers = append(s.closers, app)
	impl := newPractice(name)
	p, err := app.Provide(ctx, bhrpc.Service{Impl: impl, Name: "Practice", Inline: []string{"Ask", "Fill"}})
	if err != nil {
		return "", err
	}
	s.own[name] = impl
	return p.Addr().String(), nil
}

// consume starts a consumer.
func (s *stage) consume(ctx context.Context, first time.Duration) error {
	cfg, err := s.base()
	if err != nil {
		return err
	}
	err = set(cfg, map[string]any{"consumer.addresses": s.endpoints, "consumer.heartbeat": s.beat(s.cfg.Interval), "consumer.reconnect.first": first.String(), "consumer.reconnect.cap": "1s"})
	if s.cfg.File == "" { // by turns, so that some calls are lost every time
		err = errors.Join(err, cfg.Set("consumer.loadbalancer", "round-robin"))
	}
	if err != nil {
		return err
	}
	cfg.Observers = []*core.Observer{s.journal.consumer()}
	var options []bhrpc.Option
	if s.plan.plugin {
		if options, err = s.plug(cfg); err != nil {
			return err
		}
	}
	app, err := cfg.Open(ctx, options...)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, app)
	s.consumers = append(s.consumers, app)
	return nil
}

// load returns calls of the consumers in turn.
func (s *stage) load() *load {
	var turn atomic.Uint64
	l := &load{
		next:    func() *bhrpc.App { return s.consumers[turn.Add(1)%uint64(len(s.consumers))] },
		method:  "Practice.Ask",
		pace:    s.cfg.Interval / 50,
		most:    64,
		timeout: 10*time.Second + 10*s.cfg.Interval,
	}
	switch {
	case len(s.own) == 0:
		l.method = introspection
	case s.plan.bodies > 0:
		l.method, l.args, l.pace = "Practice.Fill", []any{s.plan.bodies}, s.cfg.Interval/10
	}
	return l
}

// reachable checks that the user's providers are there, and whether they can be
// called.
func (s *stage) reachable(l *load) error {
	if len(s.own) > 0 {
		return nil
	}
	err := l.call(s.consumers[0], l.method, nil)
	if spi.CodeOf(err) == spi.Unimplemented { // provider.introspection is off
		l.method, err = "", nil
		s.journal.line("calls", "none: the provider answers heartbeats only (its key provider.introspection is off)")
	}
	return err
}

// close closes everything, the last opened first.
func (s *stage) close() error {
	s.journal.silence()
	if s.link != nil {
		s.link.Heal() // or what is closed waits for what does not come
	}
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i].Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}
