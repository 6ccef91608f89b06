package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// TestOverTCP is everything at once over the loopback interface: two providers that
// announce themselves, interceptors and metadata on both sides, several services
// and versions, inline and other methods, small and large calls, errors, panics,
// calls that give up, and a provider that is shut down under load.
func TestOverTCP(t *testing.T) {
	const callers, rounds = 8, 12
	w, d, s := newWorld(t), newDirectory(), newBazaar(callers)
	var calls, served atomic.Int32
	counting := func(n *atomic.Int32) []spi.Interceptor {
		return []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
			return func(ctx context.Context, call *spi.Call) error {
				n.Add(1)
				return next(ctx, call)
			}
		}}
	}
	var providers []*core.Provider
	var addresses []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		w.must(err)
		service, err := core.NewService("bazaar", s)
		w.must(err)
		w.must(service.Inline("Price"))
		service.Version = "2.0"
		p := w.newProvider(func(cfg *core.ProviderConfig) {
			cfg.Registry, cfg.Interceptors = d, counting(&served)
		}, service, faulty{})
		w.serve(p, l)
		providers, addresses = append(providers, p), append(addresses, l.Addr().String())
	}
	d.list("bazaar#2.0#", endpointsOf(addresses...))
	d.list("faulty", endpointsOf(addresses...))
	c := w.viaRegistry(d, func(cfg *core.ConsumerConfig) {
		cfg.Dial, cfg.Interceptors = nil, counting(&calls)
		cfg.References = map[string]core.Reference{"bazaar": {Version: "2.0"}}
	})

	var all sync.WaitGroup
	half := make(chan struct{}) // closed when half of the work is done
	var done atomic.Int32
	for caller := range callers {
		all.Go(func() {
			for round := range rounds {
				if err := s.round(c, caller, round); err != nil {
					t.Error(err)
				}
				if done.Add(1) == callers*rounds/2 {
					close(half)
				}
			}
		})
	}
	<-half
	w.must(providers[0].Shutdown(t.Context()))
	d.list("bazaar#2.0#", endpointsOf(addresses[1]))
	d.list("faulty", endpointsOf(addresses[1]))
	all.Wait()
	if got := calls.Load(); got != callers*rounds*6 {
		t.Errorf("got %d calls through the consumer's interceptor, want %d", got, callers*rounds*6)
	}
	w.must(c.Close())
	for _, p := range providers {
		w.must(p.Shutdown(t.Context()))
		if got := p.Requests() + p.ConnCount(); got != 0 {
			t.Errorf("got %d requests or conns left, want 0", got)
		}
	}
	if got := served.Load(); got != callers*rounds*6 {
		t.Errorf("got %d requests through the providers' interceptor, want each call once: %d", got, callers*rounds*6)
	}
}

// TestShutdownDoesNotReset: who leaves of its own accord says so by an end of the stream;
// only what is dead is reset.
func TestShutdownDoesNotReset(t *testing.T) {
	w := newWorld(t)
	p, address := w.overTCP(nil, echo{})
	nc, err := net.Dial("tcp", address)
	w.must(err)
	peer := coretest.NewPeer(nc)
	defer peer.Close()
	_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json"}})
	w.must(err)
	w.must(peer.Write(coretest.Request(1<<20, "echo", "Say", []byte(`"x"`))))
	ended, cancel := context.WithCancel(t.Context())
	w.readAs(peer, coretest.TypeResponse)
	cancel()
	_ = p.Shutdown(ended) // which does not wait for this consumer's GOAWAY, nor for its own
	for err = nil; err == nil; {
		_, err = peer.Read()
	}
	if err != io.EOF {
		t.Errorf("got %v, want %v", err, io.EOF)
	}
}

// bazaar is a service for every purpose.
type bazaar struct{ waiting []chan bool } // by caller

func newBazaar(callers int) *bazaar {
	b := new(bazaar)
	for range callers {
		b.waiting = append(b.waiting, make(chan bool))
	}
	return b
}

func (*bazaar) Price(item string) (int, error) { return len(item), nil }

func (*bazaar) Order(ctx context.Context, item string, n int) (string, error) {
	call := spi.CallFrom(ctx)
	who, _ := call.Metadata.Get("who")
	call.ReplyMetadata.Set("to", who)
	return fmt.Sprint(n, " ", item), nil
}

func (*bazaar) Catalog(text string) (string, error) { return text, nil }

func (b *bazaar) Wait(ctx context.Context, caller int) error {
	b.waiting[caller] <- true
	<-ctx.Done()
	return ctx.Err()
}

// round makes six calls of every kind.
func (b *bazaar) round(c *core.Consumer, caller, round int) error {
	ctx := context.Background()
	if got, err := invoke[int](ctx, c, "bazaar", "Price", "lamp"); got != 4 || err != nil {
		return fmt.Errorf("got %d, %w from an inline method, want 4", got, err)
	}
	who, reply := fmt.Sprint(caller, "/", round), ""
	order := &spi.Call{Method: c.Method("bazaar", "Order"), Args: spi.Values{"lamps", round}, Reply: &reply}
	if err := c.Invoke(spi.WithMetadata(ctx, "who", who), order); err != nil || reply != fmt.Sprint(round, " lamps") {
		return fmt.Errorf("got %q, %w, want the order", reply, err)
	}
	if to, _ := order.ReplyMetadata.Get("to"); to != who {
		return fmt.Errorf("got metadata for %q, want %q", to, who)
	}
	large := strings.Repeat(who, 10_000*(1+round%4))
	if got, err := invoke[string](ctx, c, "bazaar", "Catalog", large); got != large || err != nil {
		return fmt.Errorf("got %d bytes, %w, want all %d", len(got), err, len(large))
	}
	if _, err := invoke[string](ctx, c, "faulty", "Coded"); spi.CodeOf(err) != spi.NotFound {
		return fmt.Errorf("got %w, want NOT_FOUND", err)
	}
	if _, err := invoke[string](ctx, c, "faulty", "Panic"); spi.CodeOf(err) != spi.Internal {
		return fmt.Errorf("got %w, want INTERNAL", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	wait := start[any](ctx, c, "bazaar", "Wait", caller)
	<-b.waiting[caller]
	cancel()
	if _, err := wait.wait(); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("got %w, want it cancelled", err)
	}
	return nil
}
