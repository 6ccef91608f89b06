//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/spi"
)

// endpoints is how many doors a cycling consumer goes through.
const endpoints = 4

// cycleReport is what a process of row 21 says after its cycles. It keeps no events:
// what it holds is what is measured.
type cycleReport struct {
	Open     int // connections, as both sides count them
	InFlight int // calls without an answer
	Metrics  core.Metrics
}

// built opens what both sides need of the catalog.
func built(side spi.Role) (codec spi.Serializer, beat spi.Heartbeat, balancer spi.LoadBalancer, err error) {
	cat, ctx, env := spi.NewCatalog(), context.Background(), spi.Env{Role: side}
	if err = extensions.Register(cat); err != nil {
		return nil, nil, nil, err
	}
	with, err := json.Marshal(quickBeat.key()["with"])
	if err != nil {
		return nil, nil, nil, err
	}
	codec, codecErr := cat.Serializers.Open(ctx, env, spi.Ref{Use: "json"})
	beat, beatErr := cat.Heartbeats.Open(ctx, env, spi.Ref{Use: "three-strike", With: spi.Raw{JSON: with}})
	balancer, balancerErr := cat.LoadBalancers.Open(ctx, env, spi.Ref{Use: "round-robin"})
	return codec, beat, balancer, errors.Join(codecErr, beatErr, balancerErr)
}

// ends keeps one end of the connection at every door, so that it can be closed
// underneath the framework. It is safe for concurrent use.
type ends struct {
	mu    sync.Mutex
	conns map[string]net.Conn // by door
}

func (e *ends) keep(door string, nc net.Conn) net.Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		e.conns = make(map[string]net.Conn)
	}
	e.conns[door] = nc
	return nc
}

// end closes the way to a peer, in order, as a process that ends does.
func (e *ends) end(peer string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, nc := range e.conns {
		if nc.RemoteAddr().String() == peer {
			_ = nc.(*net.TCPConn).CloseWrite()
		}
	}
}

// door is a listener that keeps what it accepts.
type door struct {
	net.Listener
	ends *ends
}

func (d door) Accept() (net.Conn, error) {
	nc, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return d.ends.keep(d.Addr().String(), nc), nil
}

// doorsRole is a provider behind several doors, who shows its caller out if that asks
// for it.
type doorsRole struct{ provider *core.Provider }

func newDoorsRole(json.RawMessage) (role, any, error) {
	codec, beat, _, err := built(spi.RoleProvider)
	if err != nil {
		return nil, nil, err
	}
	open := new(ends)
	cfg := core.DefaultProviderConfig()
	cfg.Serializers, cfg.Heartbeat = map[string]spi.Serializer{"json": codec}, beat
	cfg.Interceptors = []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
		return func(ctx context.Context, call *spi.Call) error {
			if call.Method.Name == "Hang" {
				open.end(call.Peer)
			}
			return next(ctx, call)
		}
	}}
	p, err := core.NewProvider(cfg)
	if err != nil {
		return nil, nil, err
	}
	service, err := core.NewService("Till", new(till))
	if err != nil {
		return nil, nil, err
	}
	if err := p.Register(service); err != nil {
		return nil, nil, err
	}
	var addresses []string
	for range endpoints {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		addresses = append(addresses, l.Addr().String())
		go func() { _ = p.Serve(door{l, open}) }()
	}
	return doorsRole{p}, addresses, nil
}

func (d doorsRole) obey(string, json.RawMessage) (any, error) {
	r := cycleReport{Metrics: d.provider.Metrics()}
	for _, c := range d.provider.Conns() {
		r.Open++
		r.InFlight += c.InFlight
	}
	return r, nil
}

// cyclerRole is a consumer of some doors that is always on its way out again.
type cyclerRole struct {
	consumers [endpoints]*core.Consumer // of one door each
	addresses []string
	open      ends
}

func newCyclerRole(raw json.RawMessage) (role, any, error) {
	addresses, err := parse[[]string](raw)
	if err != nil {
		return nil, nil, err
	}
	codec, beat, balancer, err := built(spi.RoleConsumer)
	if err != nil {
		return nil, nil, err
	}
	c := &cyclerRole{addresses: addresses}
	for i := range c.consumers {
		cfg := core.DefaultConsumerConfig()
		cfg.Endpoints = []spi.Endpoint{{Address: addresses[i]}}
		cfg.SerializerName, cfg.Serializer, cfg.Heartbeat, cfg.LoadBalancer = "json", codec, beat, balancer
		cfg.Reconnect = core.Reconnect{First: 0, Base: spi.Duration(time.Millisecond), Factor: 1, Cap: spi.Duration(time.Millisecond), Stable: 0}
		cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i))} // or two doors may have a peer of the same port
			nc, err := (&net.Dialer{LocalAddr: from}).DialContext(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return c.open.keep(address, nc), nil
		}
		if c.consumers[i], err = core.NewConsumer(cfg); err != nil {
			return nil, nil, err
		}
	}
	return c, nil, nil
}

func (c *cyclerRole) obey(do string, raw json.RawMessage) (any, error) {
	if do == "cycle" { // so many cycles, shared by the doors
		n, err := parse[int](raw)
		if err != nil {
			return nil, err
		}
		return nil, c.cycle(n)
	}
	var r cycleReport
	for _, consumer := range c.consumers {
		for _, conn := range consumer.Conns() {
			if conn.State == core.ConnUp {
				r.Open++
			}
			r.InFlight += conn.InFlight
		}
		r.Metrics = added(r.Metrics, consumer.Metrics())
	}
	return r, nil
}

// added adds up what row 21 looks at.
func added(a, b core.Metrics) core.Metrics {
	a.Connected += b.Connected
	a.Reconnected += b.Reconnected
	a.EventsLost += b.EventsLost
	if a.Disconnected == nil {
		a.Disconnected = make(map[string]uint64)
	}
	for reason, n := range b.Disconnected {
		a.Disconnected[reason] += n
	}
	return a
}

// cycle goes in and out by all doors at the same time.
func (c *cyclerRole) cycle(n int) error {
	var cycling sync.WaitGroup
	errs := make([]error, endpoints)
	for i, consumer := range c.consumers {
		cycling.Go(func() {
			for k := range n / endpoints {
				if errs[i] = c.once(consumer, c.addresses[i], k%2 == 1); errs[i] != nil {
					return
				}
			}
			errs[i] = echoes(consumer)
		})
	}
	cycling.Wait()
	return errors.Join(errs...)
}

// once makes a call, and ends the connection: this side does, or the provider in the
// midst of another call.
func (c *cyclerRole) once(consumer *core.Consumer, address string, byProvider bool) error {
	if err := echoes(consumer); err != nil {
		return err
	}
	last := &spi.Call{Method: consumer.Method("Till", "Hang")}
	if !byProvider {
		c.open.end(address)
		last = &spi.Call{Method: consumer.Method("Till", "Size"), Args: spi.Values{"x"}, Reply: new(int)} // on the next connection perhaps
	}
	err := consumer.Invoke(context.Background(), last)
	if errors.Is(err, spi.ErrConnLost) || err == nil && !byProvider {
		return nil
	}
	return fmt.Errorf("got %v of a call whose connection ends, want that it is lost", err)
}

// echoes makes a call that waits for a connection and is answered.
func echoes(consumer *core.Consumer) error {
	var reply string
	err := consumer.Invoke(context.Background(), &spi.Call{Method: consumer.Method("Till", "Echo"), Args: spi.Values{"x"}, Reply: &reply})
	if err == nil && reply != "x" {
		err = fmt.Errorf("got the answer %q, want x", reply)
	}
	return err
}
