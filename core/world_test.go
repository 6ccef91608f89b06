package core_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// jsonSerializer is what most tests speak.
type jsonSerializer struct{}

func (jsonSerializer) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

func (jsonSerializer) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

// anyUsable is a load balancer that picks at random.
type anyUsable struct{}

func (anyUsable) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	return randomPicker(len(endpoints)), nil
}

type randomPicker int

func (n randomPicker) Pick(info *spi.CallInfo) (int, error) {
	return info.Usable.Next(rand.IntN(int(n)), int(n)), nil
}

// inOrder is a load balancer that picks the first usable endpoint.
type inOrder struct{}

func (inOrder) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	return firstPicker(len(endpoints)), nil
}

type firstPicker int

func (n firstPicker) Pick(info *spi.CallInfo) (int, error) { return info.Usable.Next(0, int(n)), nil }

// world is an in-memory network and what stands on it, until the test ends.
type world struct {
	testing.TB
	network coretest.Network
	logs    *logtest.Hook // everything that providers and consumers logged
	log     *logrus.Logger
}

func newWorld(t testing.TB) *world {
	log, hook := logtest.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	w := &world{TB: t, logs: hook, log: log}
	t.Cleanup(func() { w.network.Close() })
	return w
}

// logged returns the text of every line at a level or above, in order.
func (w *world) logged(level logrus.Level) []string {
	var lines []string
	for _, e := range w.logs.AllEntries() {
		if e.Level <= level {
			lines = append(lines, fmt.Sprintf("%s %s", e.Level, e.Message))
		}
	}
	return lines
}

// newProvider returns a Provider of services that does not serve yet.
func (w *world) newProvider(edit func(*core.ProviderConfig), impls ...any) *core.Provider {
	w.Helper()
	cfg := core.DefaultProviderConfig()
	cfg.Serializers = map[string]spi.Serializer{"json": jsonSerializer{}}
	cfg.Log = w.log
	if edit != nil {
		edit(&cfg)
	}
	p, err := core.NewProvider(cfg)
	if err != nil {
		w.Fatal(err)
	}
	for _, impl := range impls {
		s, ok := impl.(*core.Service)
		if !ok {
			if s, err = core.NewService("", impl); err != nil {
				w.Fatal(err)
			}
		}
		if err := p.Register(s); err != nil {
			w.Fatal(err)
		}
	}
	return p
}

// provider serves at an address until the test ends.
func (w *world) provider(address string, edit func(*core.ProviderConfig), impls ...any) *core.Provider {
	w.Helper()
	p := w.newProvider(edit, impls...)
	w.serve(p, w.listen(address))
	return p
}

func (w *world) listen(address string) net.Listener {
	w.Helper()
	l, err := w.network.Listen(address)
	if err != nil {
		w.Fatal(err)
	}
	return l
}

// serve runs Serve until the test ends.
func (w *world) serve(p *core.Provider, l net.Listener) {
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := p.Serve(l); !errors.Is(err, core.ErrProviderClosed) {
			w.Errorf("got %v from Serve, want core.ErrProviderClosed", err)
		}
	})
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.Shutdown(ctx)
		serving.Wait()
	})
}

// consumer calls what listens at the addresses, until the test ends.
func (w *world) consumer(edit func(*core.ConsumerConfig), addresses ...string) *core.Consumer {
	w.Helper()
	cfg := core.DefaultConsumerConfig()
	for _, a := range addresses {
		cfg.Endpoints = append(cfg.Endpoints, spi.Endpoint{Address: a})
	}
	cfg.SerializerName, cfg.Serializer, cfg.LoadBalancer = "json", jsonSerializer{}, anyUsable{}
	cfg.Dial, cfg.Log = w.network.Dial, w.log
	if edit != nil {
		edit(&cfg)
	}
	c, err := core.NewConsumer(cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { c.Close() })
	return c
}

// accept waits for a connection and plays the provider's side of it.
func (w *world) accept(l net.Listener) *coretest.Peer {
	w.Helper()
	nc, err := l.Accept()
	if err != nil {
		w.Fatal(err)
	}
	p := coretest.NewPeer(nc)
	if _, err := p.BeProvider(coretest.Hello{Serializers: []string{"json"}}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { p.Close() })
	return p
}

// dial connects to an address and plays the consumer's side of it.
func (w *world) dial(address string) *coretest.Peer {
	w.Helper()
	nc, err := w.network.Dial(context.Background(), address)
	if err != nil {
		w.Fatal(err)
	}
	p := coretest.NewPeer(nc)
	if _, err := p.BeConsumer(coretest.Hello{Serializers: []string{"json"}}); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { p.Close() })
	return p
}

// readAs returns the next frame of a Peer, which is one of type want.
func (w *world) readAs(p *coretest.Peer, want coretest.Type) coretest.Frame {
	w.Helper()
	f, err := p.Read()
	if err != nil {
		w.Fatalf("got %v, want a %s", err, want)
	}
	if f.Type != want {
		w.Fatalf("got %s, want a %s", f, want)
	}
	return f
}

// must fails the test at once on an error.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// invoke makes a call and returns its result.
func invoke[R any](ctx context.Context, inv spi.Invoker, service, method string, args ...any) (R, error) {
	var reply R
	err := inv.Invoke(ctx, &spi.Call{Method: inv.Method(service, method), Args: spi.Values(args), Reply: &reply})
	return reply, err
}

// started is a call under way.
type started[R any] struct {
	reply R
	err   error
	call  *spi.Call
	done  chan struct{} // closed when the call is over
}

// start makes a call in a goroutine of its own.
func start[R any](ctx context.Context, inv spi.Invoker, service, method string, args ...any) *started[R] {
	s := &started[R]{done: make(chan struct{})}
	s.call = &spi.Call{Method: inv.Method(service, method), Args: spi.Values(args), Reply: &s.reply}
	go func() {
		defer close(s.done)
		s.err = inv.Invoke(ctx, s.call)
	}()
	return s
}

// wait returns how the call ended.
func (s *started[R]) wait() (R, error) {
	<-s.done
	return s.reply, s.err
}

// isOver reports whether the call has ended.
func (s *started[R]) isOver() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// failure is what a test expects of an error. Texts need only occur.
type failure struct {
	code     spi.Code
	reason   string
	phase    spi.Phase
	sent     spi.Sent
	endpoint string
	remote   bool
	message  string
	hint     string
}

// expect compares an error with what is wanted, all of it.
func (w *world) expect(err error, want failure) *spi.Error {
	w.Helper()
	var e *spi.Error
	if !errors.As(err, &e) {
		w.Errorf("got %v (%T), want an *spi.Error", err, err)
		return &spi.Error{}
	}
	got := failure{e.Code, e.Reason, e.Phase, e.Sent, e.Endpoint, e.Remote, e.Message, e.Hint}
	if contains(got.message, want.message) {
		got.message = want.message
	}
	if contains(got.hint, want.hint) {
		got.hint = want.hint
	}
	if got != want {
		w.Errorf("got %+v, want %+v", got, want)
	}
	return e
}

// contains reports whether part occurs in text; no part means no text.
func contains(text, part string) bool {
	if part == "" {
		return text == ""
	}
	return strings.Contains(text, part)
}

// gate is a service whose methods wait until the test lets them go.
type gate struct {
	entered chan string   // receives the text of every call that has come
	leave   chan struct{} // closed, or sent to, to let calls go
}

func newGate() *gate {
	return &gate{entered: make(chan string, 100_000), leave: make(chan struct{})}
}

func (g *gate) service() *core.Service {
	s, err := core.NewService("Gate", g)
	if err != nil {
		panic(err)
	}
	return s
}

// Pass returns text when the test lets it, or the cause when its context ends.
func (g *gate) Pass(ctx context.Context, text string) (string, error) {
	g.entered <- text
	select {
	case <-g.leave:
		return text, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// Ignore is Pass for a handler that does not look at its context.
func (g *gate) Ignore(text string) (string, error) {
	g.entered <- text
	<-g.leave
	return text, nil
}

// Careless is Ignore for a handler that may fail.
func (g *gate) Careless(text string) (string, error) {
	_, _ = g.Ignore(text)
	if strings.HasPrefix(text, "failed") {
		return "", errors.New(text)
	}
	return text, nil
}

// echo is a service that answers at once.
type echo struct{}

func (echo) Say(text string) (string, error) { return text, nil }
