package core_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// directory is a registry whose lists the test writes.
type directory struct {
	mu      sync.Mutex
	lists   map[string][]spi.Endpoint       // by service; absent: not known yet
	watches map[string]func([]spi.Endpoint) // by service
	broken  error                           // what Watch and Announce return at once
	events  []string                        // announcements as they come and go
	leaving func()                          // called when an announcement ends, before it is withdrawn
	live    bool                            // what is announced is listed

	updating sync.Mutex // held during an update: they do not overlap, spi.Registry says
}

func newDirectory() *directory {
	return &directory{lists: make(map[string][]spi.Endpoint), watches: make(map[string]func([]spi.Endpoint))}
}

func endpointsOf(addresses ...string) []spi.Endpoint {
	list := []spi.Endpoint{}
	for _, a := range addresses {
		list = append(list, spi.Endpoint{Address: a})
	}
	return list
}

// list publishes the endpoints of a service.
func (d *directory) list(service string, endpoints []spi.Endpoint) {
	d.updating.Lock()
	defer d.updating.Unlock()
	d.mu.Lock()
	d.lists[service] = endpoints
	update := d.watches[service]
	d.mu.Unlock()
	if update != nil {
		update(slices.Clone(endpoints))
	}
}

func (d *directory) Watch(ctx context.Context, service string, update func([]spi.Endpoint)) error {
	if d.broken != nil {
		return d.broken
	}
	d.updating.Lock()
	d.mu.Lock()
	d.watches[service] = update
	endpoints, known := d.lists[service]
	d.mu.Unlock()
	if known {
		update(slices.Clone(endpoints))
	}
	d.updating.Unlock()
	<-ctx.Done()
	return nil
}

func (d *directory) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, fmt.Sprintf(format, args...))
}

func (d *directory) Announce(ctx context.Context, reg spi.Registration, up func(error)) error {
	if d.broken != nil {
		return d.broken
	}
	d.note("+ %s at %s, weight %d", reg.Service, reg.Address, reg.Weight)
	if d.live {
		d.list(reg.Service, append(d.others(reg), spi.Endpoint{Address: reg.Address}))
	}
	up(nil)
	<-ctx.Done()
	if d.leaving != nil {
		d.leaving()
	}
	if d.live {
		d.list(reg.Service, d.others(reg))
	}
	d.note("- %s", reg.Service)
	return nil
}

// others returns what is listed beside a registration.
func (d *directory) others(reg spi.Registration) []spi.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(d.lists[reg.Service]), func(e spi.Endpoint) bool { return e.Address == reg.Address })
}

func (d *directory) Close() error { return errors.New("not for the Consumer to close") }

// viaRegistry is a consumer that looks services up.
func (w *world) viaRegistry(d *directory, edit func(*core.ConsumerConfig)) *core.Consumer {
	return w.consumer(func(cfg *core.ConsumerConfig) {
		cfg.Registry = d
		if edit != nil {
			edit(cfg)
		}
	})
}

// observer is a load balancer that notes what it sees and picks the first.
type observer struct {
	mu     sync.Mutex
	builds [][]spi.Endpoint
	usable []string // at the last Pick
}

func (o *observer) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.builds = append(o.builds, endpoints)
	return &observingPicker{o, endpoints}, nil
}

type observingPicker struct {
	*observer
	endpoints []spi.Endpoint
}

func (p *observingPicker) Pick(info *spi.CallInfo) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usable = nil
	for i, e := range p.endpoints {
		if info.Usable.Has(i) {
			p.usable = append(p.usable, e.Address)
		}
	}
	return info.Usable.Next(0, len(p.endpoints)), nil
}

// TestUsable: endpoints that are up, or else those that connect, or else all.
func TestUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), new(observer)
		listeners := map[string]net.Listener{"up:1": w.listen("up:1"), "up:2": w.listen("up:2")}
		for _, silent := range []string{"connecting:1", "connecting:2"} {
			w.listen(silent)
		}
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.LoadBalancer = o
			cfg.HandshakeTimeout = spi.Duration(10 * time.Minute)
			cfg.Reconnect = core.Reconnect{Base: spi.Duration(time.Hour), Cap: spi.Duration(time.Hour), Factor: 1, Stable: spi.Duration(time.Hour)}
		}, "refused:1", "connecting:1", "up:1", "connecting:2", "up:2")
		usable := func(want ...string) {
			t.Helper()
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			call := start[string](ctx, c, "echo", "Say", "x")
			synctest.Wait()
			cancel()
			_, _ = call.wait()
			if !reflect.DeepEqual(o.usable, want) {
				t.Errorf("got usable %q, want %q", o.usable, want)
			}
		}
		usable("connecting:1", "connecting:2", "up:1", "up:2") // not yet
		first := w.accept(listeners["up:1"])
		usable("up:1")
		second := w.accept(listeners["up:2"])
		usable("up:1", "up:2")
		w.must(first.Write(coretest.GoAway(coretest.GoAwayShutdown, ""))) // drains, and a new one connects
		go first.AwaitEnd()
		usable("up:2")
		w.network.Link("up:1").Cut()
		w.network.Link("up:1").Refuse()
		w.network.Link("up:2").Refuse()
		go second.AwaitEnd()
		w.must(second.Close())
		usable("connecting:1", "connecting:2")
		for _, a := range []string{"connecting:1", "connecting:2", "up:2"} {
			w.network.Link(a).Refuse()
			w.network.Link(a).Cut()
		}
		usable("connecting:1", "connecting:2", "refused:1", "up:1", "up:2")
	})
}

func TestRegistryIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		w.provider("p:1", nil, echo{})
		c := w.viaRegistry(d, nil)
		begin := time.Now()
		err := c.Invoke(t.Context(), &spi.Call{Method: c.Method("echo", "Say"), Timeout: time.Second})
		w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhaseResolve, sent: spi.SentNo, message: "the deadline passed before the registry listed the endpoints of echo"})
		if got := time.Since(begin); got != time.Second {
			t.Errorf("got the error after %v, want 1s", got)
		}
		call := start[string](t.Context(), c, "echo", "Say", "x")
		synctest.Wait()
		d.list("echo", endpointsOf("p:1"))
		if got, err := call.wait(); got != "x" || err != nil {
			t.Errorf("got %q, %v, want x as soon as there is a list", got, err)
		}
		d.list("echo", endpointsOf())
		_, err = invoke[string](t.Context(), c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Unavailable, phase: spi.PhaseResolve, sent: spi.SentNo, message: "the registry lists no endpoint of echo", hint: "is a provider of it started, with this registry?"})
		synctest.Wait()
		if got := w.network.Link("p:1").Conns(); got != 0 {
			t.Errorf("got %d conns to an endpoint that is not listed any more, want 0", got)
		}
		d.list("echo", endpointsOf("p:1"))
		if got, err := invoke[string](t.Context(), c, "echo", "Say", "y"); got != "y" || err != nil {
			t.Errorf("got %q, %v, want y from the endpoint that is back", got, err)
		}
	})
}

func TestRegistryThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		d.broken = errors.New("wrong password")
		c := w.viaRegistry(d, nil)
		_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Unavailable, phase: spi.PhaseResolve, sent: spi.SentNo, message: "the registry cannot be watched: wrong password"})
		if !errors.Is(err, d.broken) {
			t.Errorf("got %v, want it to match what the registry returned", err)
		}
		if got := w.logged(logrus.WarnLevel); len(got) != 1 || got[0] != "error the registry cannot be watched" {
			t.Errorf("got %q, want one line", got)
		}
	})
}

// TestCloseWhileResolving: a call that waits for the registry ends with its Consumer.
func TestCloseWhileResolving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.viaRegistry(newDirectory(), nil)
		call := start[string](t.Context(), c, "echo", "Say", "x")
		synctest.Wait()
		w.must(c.Close())
		_, err := call.wait()
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonClosed, phase: spi.PhaseResolve, sent: spi.SentNo, message: "the consumer is closed by this side"})
		_, err = invoke[string](t.Context(), c, "another", "Say", "x")
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonClosed, phase: spi.PhasePick, sent: spi.SentNo, message: "the consumer is closed by this side"})
	})
}

// TestEndpointsComeAndGo: calls follow the list; a call in flight at an endpoint
// that goes finishes there; the list is sorted, without repetitions, with a weight.
func TestEndpointsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, o, g := newWorld(t), newDirectory(), new(observer), newGate()
		for _, a := range []string{"a:1", "b:1", "c:1"} {
			w.provider(a, nil, g.service())
		}
		c := w.viaRegistry(d, func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = o })
		d.list("Gate", []spi.Endpoint{{Address: "c:1", Weight: 3}, {Address: "b:1", Labels: map[string]string{"zone": "eu"}}, {Address: "c:1", Weight: 9}})
		c.Method("Gate", "Pass") // which begins to watch
		synctest.Wait()
		held := start[string](t.Context(), c, "Gate", "Pass", "held")
		<-g.entered
		if got := held.call.Peer; got != "b:1" {
			t.Fatalf("got the call at %s, want b:1", got)
		}
		d.list("Gate", endpointsOf("a:1", "c:1"))
		synctest.Wait()
		for range 3 {
			call := start[string](t.Context(), c, "Gate", "Pass", "x")
			<-g.entered
			if got := call.call.Peer; got != "a:1" {
				t.Errorf("got the call at %s, want a:1", got)
			}
		}
		expectConns := func(want map[string]int) {
			t.Helper()
			synctest.Wait()
			for a, n := range want {
				if got := w.network.Link(a).Conns(); got != n {
					t.Errorf("got %d conns to %s, want %d", got, a, n)
				}
			}
		}
		expectConns(map[string]int{"a:1": 1, "b:1": 1, "c:1": 1})
		close(g.leave)
		if got, err := held.wait(); got != "held" || err != nil {
			t.Errorf("got %q, %v from an endpoint that is no longer listed, want the call to finish", got, err)
		}
		expectConns(map[string]int{"a:1": 1, "b:1": 0, "c:1": 1})
		if len(o.builds) != 2 {
			t.Fatalf("got %d builds, want one for each list", len(o.builds))
		}
		first, second := o.builds[0], o.builds[1]
		if len(first) != 2 || first[0].Address != "b:1" || first[0].Weight != 1 || first[0].Labels["zone"] != "eu" || first[1].Address != "c:1" || first[1].Weight != 3 {
			t.Errorf("got %+v, want b:1 with weight 1 and c:1 with weight 3", first)
		}
		if first[1].Load == nil || first[1].Load != second[1].Load {
			t.Error("got another load of c:1 after the second build, want what was seen of it to stay")
		}
		if got := second[0].Load; got.InFlight() != 0 || got.Failures() != 0 {
			t.Errorf("got %d in flight, %d failures of a:1, want 0 and 0", got.InFlight(), got.Failures())
		}
		if got := first[0].Load; got.InFlight() != 0 || got.Failures() != 0 {
			t.Errorf("got %d in flight, %d failures of b:1, want 0 and 0", got.InFlight(), got.Failures())
		}
	})
}

// TestServicesShareConnections: an address that two services list is connected
// once, until neither lists it.
func TestServicesShareConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		w.provider("p:1", nil, echo{}, values{"shared"})
		c := w.viaRegistry(d, nil)
		d.list("echo", endpointsOf("p:1"))
		d.list("values", endpointsOf("p:1"))
		link := w.network.Link("p:1")
		call := func() {
			t.Helper()
			if _, err := invoke[string](t.Context(), c, "values", "Text"); err != nil {
				t.Error(err)
			}
		}
		if _, err := invoke[string](t.Context(), c, "echo", "Say", "x"); err != nil {
			t.Error(err)
		}
		call()
		d.list("echo", endpointsOf())
		call()
		if got := link.Dials(); got != 1 || link.Conns() != 1 {
			t.Errorf("got %d dials, %d conns, want one of each", got, link.Conns())
		}
		d.list("values", endpointsOf())
		synctest.Wait()
		if got := link.Conns(); got != 0 {
			t.Errorf("got %d conns, want 0 when nobody lists it", got)
		}
	})
}

// TestDelistedWhileWaiting: a call that waits for a connection to an endpoint that
// goes tries those that came.
func TestDelistedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		w.listen("silent:1")
		w.provider("p:1", nil, echo{})
		c := w.viaRegistry(d, nil)
		d.list("echo", endpointsOf("silent:1"))
		call := start[string](t.Context(), c, "echo", "Say", "x")
		synctest.Wait()
		begin := time.Now()
		d.list("echo", endpointsOf("p:1"))
		if got, err := call.wait(); got != "x" || err != nil || time.Since(begin) != 0 {
			t.Errorf("got %q, %v after %v, want x at once", got, err, time.Since(begin))
		}
	})
}

// crooked is a load balancer that does not keep its contract.
type crooked struct {
	build, pick error
	index       func(info *spi.CallInfo) int
}

func (c crooked) Build([]spi.Endpoint) (spi.Picker, error) { return c, c.build }
func (c crooked) Pick(info *spi.CallInfo) (int, error) {
	if c.pick != nil {
		return 0, c.pick
	}
	return c.index(info), nil
}

// TestCrookedLoadBalancer: nonsense is an error of the call, never a panic.
func TestCrookedLoadBalancer(t *testing.T) {
	fixed := func(i int) func(*spi.CallInfo) int { return func(*spi.CallInfo) int { return i } }
	nonsense := func(i int) failure {
		return failure{code: spi.Internal, phase: spi.PhasePick, sent: spi.SentNo, message: fmt.Sprintf("the load balancer picked endpoint %d of 2, which is not usable", i)}
	}
	errPlan := errors.New("no plan")
	for _, tt := range []struct {
		name     string
		balancer crooked
		want     failure
	}{
		{"negative", crooked{index: fixed(-1)}, nonsense(-1)},
		{"beyond", crooked{index: fixed(2)}, nonsense(2)},
		{"far beyond", crooked{index: fixed(1 << 40)}, nonsense(1 << 40)},
		{"not usable", crooked{index: fixed(1)}, nonsense(1)},
		{"error", crooked{pick: errPlan}, failure{code: spi.Unknown, phase: spi.PhasePick, sent: spi.SentNo, message: "no plan"}},
		{"coded error", crooked{pick: spi.Errorf(spi.ResourceExhausted, "no share left")}, failure{code: spi.ResourceExhausted, phase: spi.PhasePick, sent: spi.SentNo, message: "no share left"}},
		{"build", crooked{build: errPlan}, failure{code: spi.Unknown, phase: spi.PhasePick, sent: spi.SentNo, message: "build the load balancer for 2 endpoints: no plan"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, d := newWorld(t), newDirectory()
				w.provider("a:1", nil, echo{})
				w.network.Link("b:1").Refuse()
				d.list("echo", endpointsOf("a:1", "b:1"))
				c := w.viaRegistry(d, func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = tt.balancer })
				c.Method("echo", "Say")
				synctest.Wait()
				_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
				w.expect(err, tt.want)
				for _, cause := range []error{tt.balancer.pick, tt.balancer.build} {
					if cause != nil && !errors.Is(err, cause) {
						t.Errorf("got %v, want it to match %v", err, cause)
					}
				}
			})
		})
	}
}

// TestNewConsumer: what is wrong with a configuration is said at once.
func TestNewConsumer(t *testing.T) {
	errPlan := errors.New("no plan")
	good := func() core.ConsumerConfig {
		cfg := core.DefaultConsumerConfig()
		cfg.SerializerName, cfg.Serializer, cfg.LoadBalancer, cfg.Endpoints = "json", jsonSerializer{}, anyUsable{}, endpointsOf("p:1")
		cfg.Dial = func(context.Context, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
		return cfg
	}
	for _, tt := range []struct {
		name string
		edit func(cfg *core.ConsumerConfig)
		want string // "": no error
	}{
		{"complete", func(*core.ConsumerConfig) {}, ""},
		{"no serializer", func(cfg *core.ConsumerConfig) { cfg.Serializer = nil }, "a consumer needs a serializer and its name"},
		{"no name of the serializer", func(cfg *core.ConsumerConfig) { cfg.SerializerName = "" }, "a consumer needs a serializer and its name"},
		{"no load balancer", func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = nil }, "a consumer needs a load balancer"},
		{"nobody to call", func(cfg *core.ConsumerConfig) { cfg.Endpoints = nil }, "a consumer needs either endpoints or a registry"},
		{"two ways to find somebody", func(cfg *core.ConsumerConfig) { cfg.Registry = newDirectory() }, "a consumer needs either endpoints or a registry"},
		{"out of range", func(cfg *core.ConsumerConfig) { cfg.Timeout = 0; cfg.Reconnect.Factor = 0.5 }, "timeout: 0s is not between 1ms and 24h0m0s\nreconnect.factor: 0.5 is not between 1 and 10"},
		{"load balancer fails", func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = crooked{build: errPlan} }, "build the load balancer for 1 endpoints: no plan"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good()
			tt.edit(&cfg)
			c, err := core.NewConsumer(cfg)
			if c != nil {
				defer c.Close()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
