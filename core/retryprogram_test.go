package core_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

var (
	seed     = flag.Uint64("seed", 0, "seed of the first program of cuts; 0: another one each time")
	programs = flag.Uint64("programs", 150, "how many programs of cuts are run")
)

// journal is what the providers have run, by call.
type journal struct {
	mu  sync.Mutex
	ran map[string]int
}

// shop is a service at one provider. Its calls are known by their id; see [order].
type shop struct {
	*journal
	took func(id string) time.Duration
	hit  func(id string) // called in the middle of every run; may cut
}

var errSoldOut = &spi.Error{Code: spi.FailedPrecondition, Message: "sold out"}

func (s *shop) run(ctx context.Context, text string) (string, error) {
	id, texture, size := parseOrder(text)
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
	return id + textures()[texture][:size], nil
}

// Read may run twice.
func (s *shop) Read(ctx context.Context, text string) (string, error) { return s.run(ctx, text) }

// Buy must not.
func (s *shop) Buy(ctx context.Context, text string) (string, error) { return s.run(ctx, text) }

// order is one call of a program.
type order struct {
	method, id string
	texture    int // of both bodies
	asks, gets int // bytes of them beside the id
	timeout    time.Duration
	took       time.Duration
	ends       int
	reply      string
	err        error
}

// text is what an order sends.
func (o *order) text() string {
	return fmt.Sprintf("%s %d %d %s", o.id, o.texture, o.gets, textures()[o.texture][:o.asks])
}

func parseOrder(text string) (id string, texture, size int) {
	if _, err := fmt.Sscan(text[:min(len(text), 40)], &id, &texture, &size); err != nil {
		panic(fmt.Sprintf("%.40q is no order: %v", text, err))
	}
	return id, texture, size
}

// mostOrdered is the most that a body of an order has beside its id, in bytes.
const mostOrdered = 300 << 10

// textures fill bodies: one that shrinks to nothing, one to two thirds, one not at
// all.
var textures = sync.OnceValue(func() [3]string {
	return [3]string{strings.Repeat("x", mostOrdered), strings.Repeat("xxxyyy", mostOrdered/6), noise(mostOrdered)}
})

// runs is a compressor that counts letters.
type runs struct{}

func (runs) Compress(dst, src []byte) ([]byte, error) {
	start := len(dst)
	for i := 0; i < len(src); {
		n := 1
		for i+n < len(src) && n < 255 && src[i+n] == src[i] {
			n++
		}
		if dst = append(dst, byte(n), src[i]); len(dst)-start > len(src) {
			return dst, errors.New("it grows")
		}
		i += n
	}
	return dst, nil
}

func (runs) Decompress(dst, src []byte, limit int) ([]byte, error) {
	start := len(dst)
	for ; len(src) >= 2; src = src[2:] {
		for range src[0] {
			dst = append(dst, src[1])
		}
		if len(dst)-start > limit {
			return dst, spi.ErrTooLarge
		}
	}
	return dst, nil
}

// make makes the call.
func (o *order) make(c *core.Consumer) {
	begin := time.Now()
	err := c.Invoke(context.Background(), &spi.Call{Method: c.Method("shop", o.method), Args: spi.Values{o.text()}, Reply: &o.reply, Timeout: o.timeout})
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
	case o.err == nil && o.reply != o.id+textures()[o.texture][:o.gets], o.err != nil && o.reply != "":
		fail("got a reply of %d bytes, %.20q", len(o.reply), o.reply)
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

// TestCutAtAnyMoment: whatever is cut, refused, stalled and overloaded at whatever
// moment, every call ends once and in time; an answered one has run; one that is not
// idempotent runs at most once, and one that was not sent or was refused never; and
// an idempotent one is answered if an endpoint is healthy all the time.
func TestCutAtAnyMoment(t *testing.T) {
	first := *seed
	if first == 0 {
		first = rand.Uint64()
	}
	for i := range *programs {
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
