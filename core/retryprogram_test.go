package core_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

var seed = flag.Uint64("seed", 0, "seed of the first program of cuts; 0: another one each time")

// journal is what the providers have run, by call.
type journal struct {
	mu  sync.Mutex
	ran map[string]int
}

// shop is a service at one provider. Its calls are known by their text.
type shop struct {
	*journal
	took func(id string) time.Duration
	hit  func(id string) // called in the middle of every run; may cut
}

var errSoldOut = &spi.Error{Code: spi.FailedPrecondition, Message: "sold out"}

func (s *shop) run(ctx context.Context, id string) (string, error) {
	s.mu.Lock()
	s.ran[id]++
	s.mu.Unlock()
	if s.hit != nil {
		s.hit(id)
	}
	if took := s.took(id); took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if id[len(id)-1] == '7' {
		return "", errSoldOut
	}
	return id, nil
}

// Read may run twice.
func (s *shop) Read(ctx context.Context, id string) (string, error) { return s.run(ctx, id) }

// Buy must not.
func (s *shop) Buy(ctx context.Context, id string) (string, error) { return s.run(ctx, id) }

// order is one call of a program.
type order struct {
	method, id string
	timeout    time.Duration
	took       time.Duration
	ends       int
	reply      string
	err        error
}

// make makes the call.
func (o *order) make(c *core.Consumer) {
	begin := time.Now()
	err := c.Invoke(context.Background(), &spi.Call{Method: c.Method("shop", o.method), Args: spi.Values{o.id}, Reply: &o.reply, Timeout: o.timeout})
	o.took, o.err = time.Since(begin), err
	o.ends++
}

// check holds a call against what is promised. ran is how often it was run anywhere,
// most how often it may be; lucky calls must be answered.
func (o *order) check(t *testing.T, ran, most int, lucky bool) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s(%s): %s; ran %d times, %v after %v", o.method, o.id, fmt.Sprintf(format, args...), ran, o.err, o.took)
	}
	if o.method == "Buy" {
		most = 1
	}
	var e *spi.Error
	decided := errors.As(o.err, &e) && e.Code == errSoldOut.Code && e.Remote
	switch {
	case o.ends != 1:
		fail("ended %d times, want once", o.ends)
	case ran > most:
		fail("want at most %d runs", most)
	case (o.err == nil || decided) && ran == 0:
		fail("answered, though nobody ran it")
	case o.err == nil && o.reply != o.id, o.err != nil && o.reply != "":
		fail("got reply %q", o.reply)
	case o.err != nil && e == nil:
		fail("want an *spi.Error")
	case e != nil && e.Sent == spi.SentNo && ran > 0:
		fail("ran, though it was not sent")
	case e != nil && e.Phase == spi.PhaseDispatch && e.Sent == "" && ran > 0:
		fail("ran, though it was refused")
	case lucky && o.err != nil && !decided:
		fail("lost, though an endpoint was healthy all the time")
	}
}

// program is one random schedule of calls and faults.
type program struct {
	*world
	*rand.Rand
	journal   journal
	addresses []string
	spared    int // this one is up all the time, and takes what comes; -1: none
	consumer  *core.Consumer
	orders    []*order
}

const programAttempts = 3

func newProgram(t *testing.T, random *rand.Rand) *program {
	p := &program{world: newWorld(t), Rand: random, addresses: []string{"a:1", "b:1", "c:1"}, journal: journal{ran: make(map[string]int)}}
	p.spared = p.IntN(4) - 1
	for i, address := range p.addresses {
		took := time.Duration(p.IntN(80)) * time.Millisecond
		s := &shop{journal: &p.journal, took: func(id string) time.Duration { return took * time.Duration(id[0]%4) }}
		p.provider(address, func(cfg *core.ProviderConfig) {
			if i != p.spared {
				cfg.MaxRequests = 1 + p.IntN(10)
			}
		}, s)
	}
	p.consumer = p.world.consumer(func(cfg *core.ConsumerConfig) {
		cfg.References = map[string]core.Reference{"shop": {Idempotent: []string{"Read"}}}
		if p.IntN(2) == 0 {
			cfg.References["shop"] = core.Reference{Idempotent: []string{"Read"}, Hedge: spi.Duration(1+p.IntN(100)) * spi.Duration(time.Millisecond)}
		}
		cfg.Retry.Attempts = programAttempts
		if p.spared >= 0 {
			cfg.Retry.Budget = core.RetryBudget{Ratio: 1, Burst: 1000}
		}
		cfg.Reconnect.Cap = spi.Duration(time.Second)
	}, p.addresses...)
	return p
}

// harm does something to one endpoint, but not to the spared one.
func (p *program) harm() {
	i := p.IntN(len(p.addresses))
	if i == p.spared {
		return
	}
	link := p.network.Link(p.addresses[i])
	switch p.IntN(8) {
	case 0, 1:
		link.Cut()
	case 2, 3:
		link.ToProvider.CutAfter(int64(p.IntN(200)))
	case 4, 5:
		link.ToConsumer.CutAfter(int64(p.IntN(200)))
	case 6:
		link.Refuse()
	default:
		if p.spared < 0 { // a silent endpoint is not found out without a heartbeat
			[]*coretest.Direction{link.ToProvider, link.ToConsumer}[p.IntN(2)].Stall()
		}
	}
}

func (p *program) run() {
	var calling sync.WaitGroup
	if p.spared >= 0 || p.IntN(2) == 0 {
		synctest.Wait() // everything is connected; otherwise it is about to be
	}
	for range 60 {
		switch n := p.IntN(10); {
		case n < 5:
			o := &order{method: []string{"Read", "Buy"}[p.IntN(2)], timeout: 10 * time.Second}
			if p.IntN(5) == 0 {
				o.timeout = time.Duration(1+p.IntN(200)) * time.Millisecond
			}
			o.id = fmt.Sprint(p.IntN(10), "-", len(p.orders))
			p.orders = append(p.orders, o)
			calling.Go(func() { o.make(p.consumer) })
		case n < 8:
			p.harm()
		case n < 9:
			p.network.Link(p.addresses[p.IntN(len(p.addresses))]).Heal()
		default:
			<-time.After(time.Duration(p.IntN(60)) * time.Millisecond)
		}
		if p.IntN(2) == 0 {
			synctest.Wait()
		}
	}
	calling.Wait()
}

func (p *program) check() {
	if got := p.consumer.InFlight(); got != 0 {
		p.Errorf("got %d calls in flight, want 0", got)
	}
	if got := p.consumer.SlotsInUse(); got != 0 {
		p.Errorf("got %d slots in use, want 0", got)
	}
	p.must(p.consumer.Close())
	for _, a := range p.addresses {
		p.network.Link(a).Heal()
	}
	<-time.After(time.Minute) // whatever still runs somewhere has run
	p.journal.mu.Lock()
	defer p.journal.mu.Unlock()
	for _, o := range p.orders {
		if o.took > o.timeout {
			p.Errorf("%s(%s): took %v of %v: %v", o.method, o.id, o.took, o.timeout, o.err)
		}
		o.check(p.TB.(*testing.T), p.journal.ran[o.id], programAttempts, p.spared >= 0 && o.method == "Read" && o.timeout >= time.Second)
	}
}

// TestCutAtAnyMoment: whatever is cut, refused, stalled and overloaded at whatever
// moment, every call ends once and in time; an answered one has run; one that is not
// idempotent runs at most once, and one that was not sent or was refused never; and
// an idempotent one is answered if an endpoint is healthy all the time.
func TestCutAtAnyMoment(t *testing.T) {
	first := *seed
	if first == 0 {
		first = rand.Uint64()
	}
	for i := range uint64(400) {
		synctest.Test(t, func(t *testing.T) {
			settle := core.TraceBuffers(t)
			t.Cleanup(settle) // after everything is stopped
			p := newProgram(t, rand.New(rand.NewPCG(first+i, 0)))
			p.run()
			p.check()
		})
		if t.Failed() {
			t.Fatalf("program %d; again with: go test ./core -run TestCutAtAnyMoment -seed %d", i, first+i)
		}
	}
}

// cutter is a listener that knows its connections and resets them.
type cutter struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

// Accept implements [net.Listener].
func (c *cutter) Accept() (net.Conn, error) {
	nc, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, nc.(*net.TCPConn))
	return nc, nil
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.conns {
		_ = nc.SetLinger(0) // a reset, and what was not sent is lost
		_ = nc.Close()
	}
	c.conns = nil
}

// TestCutOverTCP is TestCutAtAnyMoment over real sockets, which are reset while
// handlers run.
func TestCutOverTCP(t *testing.T) {
	const callers, rounds, spared = 8, 60, 2
	w, j := newWorld(t), &journal{ran: make(map[string]int)}
	var addresses []string
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		w.must(err)
		c := &cutter{Listener: l}
		s := &shop{journal: j, took: func(string) time.Duration { return 0 }}
		if i != spared {
			s.hit = func(string) {
				if rand.IntN(10) == 0 {
					c.cut()
				}
			}
		}
		w.serve(w.newProvider(nil, s), c)
		addresses = append(addresses, l.Addr().String())
	}
	c := w.consumer(func(cfg *core.ConsumerConfig) {
		cfg.Dial, cfg.Timeout = nil, spi.Duration(time.Minute)
		cfg.References = map[string]core.Reference{"shop": {Idempotent: []string{"Read"}}}
		cfg.Retry.Budget = core.RetryBudget{Ratio: 1, Burst: 1000}
		cfg.Reconnect.First, cfg.Reconnect.Base, cfg.Reconnect.Cap = 0, spi.Duration(time.Millisecond), spi.Duration(5*time.Millisecond)
	}, addresses...)
	var all sync.WaitGroup
	orders := make([][]*order, callers)
	for caller := range callers {
		all.Go(func() {
			for round := range rounds {
				o := &order{method: []string{"Read", "Buy"}[rand.IntN(2)], id: fmt.Sprint(caller, "-", round), timeout: time.Minute}
				o.make(c)
				orders[caller] = append(orders[caller], o)
			}
		})
	}
	all.Wait()
	w.must(c.Close())
	lost := 0
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, of := range orders {
		for _, o := range of {
			o.check(t, j.ran[o.id], core.DefaultRetry().Attempts, o.method == "Read")
			if errors.Is(o.err, spi.ErrConnLost) {
				lost++
			}
		}
	}
	if lost == 0 {
		t.Error("got no lost call, want some: nothing was cut")
	}
}
