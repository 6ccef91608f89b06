package core

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// link is one end of a connection whose reads can be stalled.
type link struct {
	net.Conn
	mu   sync.Mutex
	open chan struct{} // closed while reads go on
}

func newLink(nc net.Conn) *link {
	l := &link{Conn: nc, open: make(chan struct{})}
	close(l.open)
	return l
}

// Read implements [net.Conn].
func (l *link) Read(b []byte) (int, error) {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	<-open
	return l.Conn.Read(b)
}

// Close implements [net.Conn].
func (l *link) Close() error {
	l.stall(false)
	return l.Conn.Close()
}

func (l *link) stall(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		if on {
			l.open = make(chan struct{})
		}
	default:
		if !on {
			close(l.open)
		}
	}
}

// attempted is one call of a program, and how it ended.
type attempted struct {
	method, text string
	timeout      time.Duration
	stop         context.CancelFunc

	mu    sync.Mutex
	ends  int
	took  time.Duration
	err   error
	reply []byte
}

func (c *attempted) waits() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ends == 0
}

// world is a Consumer and a Provider with everything that a program does to them.
type world struct {
	t        *testing.T
	provider *Provider
	consumer *Consumer
	handlers *echo
	served   *runs
	calls    []*attempted
	calling  sync.WaitGroup

	left []*providerConn // those that said GOAWAY

	mu    sync.Mutex
	links []*link // both ends of every connection
}

// Crash does not come back.
func (e *echo) Crash(_ context.Context, b []byte) ([]byte, error) {
	e.note("Crash", b)
	if len(b)%2 == 0 {
		runtime.Goexit()
	}
	panic(string(b))
}

func newWorld(t *testing.T, queue spi.Size) *world {
	w := &world{t: t, served: &runs{of: make(map[string]int)}}
	w.handlers = &echo{block: make(chan struct{}), ran: w.served.note}
	w.provider = newEchoProvider(t, w.handlers, func(cfg *ProviderConfig, s *Service) {
		cfg.Limits.WriteQueue, cfg.MaxRequests, cfg.Checksum = queue, 40, queue < 1<<20
		if err := s.Inline("Much"); err != nil {
			t.Fatal(err)
		}
	})
	w.consumer = newEchoConsumer(t, func(cfg *ConsumerConfig) {
		cfg.Endpoints = []spi.Endpoint{{Address: "a:1"}, {Address: "b:1"}}
		cfg.Limits.WriteQueue, cfg.Checksum = queue, queue < 1<<20
		cfg.Dial = w.dial
	}, nil)
	return w
}

func (w *world) dial(context.Context, string) (net.Conn, error) {
	near, far := net.Pipe()
	a, b := newLink(near), newLink(far)
	w.mu.Lock()
	w.links = append(w.links, a, b)
	w.mu.Unlock()
	w.provider.adopt(b)
	return a, nil
}

// call begins a call, and returns when it has ended or waits.
func (w *world) call(method string, size int, timeout time.Duration) {
	c := &attempted{method: method, timeout: timeout, text: fmt.Sprintf("%d:%s", len(w.calls), strings.Repeat("x", size))}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	if len(w.calls)%2 == 0 { // half of them bring a deadline of their own
		ctx, c.stop = context.WithTimeout(ctx, timeout)
	}
	w.calls = append(w.calls, c)
	w.calling.Go(func() {
		start := time.Now()
		var reply []byte
		err := w.consumer.Invoke(ctx, &spi.Call{Method: w.consumer.Method("Echo", method), Args: spi.Values{[]byte(c.text)}, Reply: &reply, Timeout: timeout})
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ends, c.took, c.err, c.reply = c.ends+1, time.Since(start), err, reply
	})
	synctest.Wait()
}

// let lets n handlers go on.
func (w *world) let(n int) {
	for range n {
		select {
		case w.handlers.block <- struct{}{}:
		default:
		}
	}
}

// some returns one of the last few links, the newest for 0.
func (w *world) some(i int) *link {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.links[len(w.links)-1-i%min(4, len(w.links))]
}

// step does one operation of a program and reports whether that was not the last.
func (w *world) step(s *script) bool {
	switch op := s.next() % 40; op {
	case 0, 1, 2, 3:
		w.call("Say", s.next(), time.Minute)
	case 4, 5, 6, 7, 8:
		w.call("Wait", s.next(), time.Minute)
	case 9, 10:
		w.call("Wait", s.next()*400, time.Duration(s.next()+1)*10*time.Millisecond)
	case 11, 12:
		w.call("Much", s.next()%100, time.Minute)
	case 13, 14:
		w.call("Say", s.next()*400, 10*time.Second)
	case 15:
		w.call("Crash", s.next(), time.Minute)
	case 16:
		w.call("None", s.next(), time.Minute)
	case 17, 18, 19, 20, 21:
		if len(w.calls) > 0 {
			w.calls[s.next()%len(w.calls)].stop()
		}
	case 22, 23, 24, 25, 26:
		w.let(s.next() % 3)
	case 27:
		w.let(100)
	case 28, 29:
		_ = w.some(s.next()).Close()
	case 30, 31, 32, 33:
		stall := s.next()
		w.some(stall / 2).stall(stall%2 == 0)
	case 34, 35:
		w.leaveOne(s.next())
	case 36, 37:
		time.Sleep(time.Duration(s.next()) * 5 * time.Millisecond)
	case 38:
		time.Sleep(time.Duration(s.next()) * 100 * time.Millisecond)
	default:
		return s.next()%4 != 0
	}
	synctest.Wait()
	return true
}

// leaveOne lets the Provider say GOAWAY on one connection.
func (w *world) leaveOne(i int) {
	w.provider.mu.Lock()
	var conns []*providerConn
	for c := range w.provider.conns {
		conns = append(conns, c)
	}
	w.provider.mu.Unlock()
	if len(conns) > 0 {
		slices.SortFunc(conns, func(a, b *providerConn) int { return slices.Compare(a.hello.Token[:], b.hello.Token[:]) })
		c := conns[i%len(conns)]
		c.leave()
		w.left = append(w.left, c)
	}
}

// settle lets everything go on until every call has ended. Connections that said
// GOAWAY end with their last call.
func (w *world) settle() {
	for range 100 {
		w.let(100)
		synctest.Wait()
		if !slices.ContainsFunc(w.calls, (*attempted).waits) {
			break
		}
		time.Sleep(time.Second)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	w.provider.mu.Lock()
	defer w.provider.mu.Unlock()
	for _, c := range w.left {
		if w.provider.conns[c] {
			w.t.Errorf("a connection that said GOAWAY is still there; %d requests are not answered", len(c.requests))
		}
	}
}

// end stops both sides, one of them first, and checks every call.
func (w *world) end(how int) {
	if how&1 == 0 {
		w.mu.Lock()
		for _, l := range w.links {
			l.stall(false)
		}
		w.mu.Unlock()
		w.settle()
	}
	if how&2 == 0 {
		shutdown(w.t, w.provider)
	}
	if err := w.consumer.Close(); err != nil {
		w.t.Error(err)
	}
	w.calling.Wait() // a call that never ends is a deadlock of the bubble
	if how&2 != 0 {
		shutdown(w.t, w.provider)
	}
	synctest.Wait()
	for address, e := range w.consumer.endpoints {
		if n := e.load.InFlight(); n != 0 {
			w.t.Errorf("%s: got %d calls in flight, want 0", address, n)
		}
	}
	served := w.served.reset()
	for _, c := range w.calls {
		c.stop()
		w.check(c, served[c.method+" "+c.text])
	}
}

// check holds one call against what callers are promised.
func (w *world) check(c *attempted, served int) {
	w.t.Helper()
	if c.ends != 1 {
		w.t.Errorf("%s(%.20s): ended %d times, want once", c.method, c.text, c.ends)
	}
	if c.took > c.timeout {
		w.t.Errorf("%s(%.20s): took %v of %v: %v", c.method, c.text, c.took, c.timeout, c.err)
	}
	if served > 1 {
		w.t.Errorf("%s(%.20s): served %d times", c.method, c.text, served)
	}
	if c.err == nil {
		want := c.text
		if c.method == "Much" {
			want = strings.Repeat(want, 1000)
		}
		if served != 1 || string(c.reply) != want {
			w.t.Errorf("%s(%.20s): served %d times, got a reply of %d bytes, want its %d", c.method, c.text, served, len(c.reply), len(want))
		}
		return
	}
	e, ok := c.err.(*spi.Error)
	switch {
	case !ok || !e.Code.Valid() || e.Method != c.method || !e.Remote == (e.Sent == ""):
		w.t.Errorf("%s(%.20s): got %#v, want a complete error", c.method, c.text, c.err)
	case e.Sent == spi.SentNo && served != 0:
		w.t.Errorf("%s(%.20s): served, though not sent: %v", c.method, c.text, e)
	}
}

func runProgram(t *testing.T, s script) {
	l := openLedger(t)
	defer l.settle()
	w := newWorld(t, [...]spi.Size{64 << 10, 4 << 20}[s.next()%2])
	how := s.next()
	synctest.Wait()
	for range 100 {
		if len(s) == 0 || !w.step(&s) {
			break
		}
	}
	w.end(how)
}

// Programs of calls, cancels, late answers, stalls, closes on either side and
// GOAWAYs: every call ends once and in time, is served at most once, and not at all
// if it was not sent; and nothing is left.
func TestConnPrograms(t *testing.T) {
	for i, s := range scripts(300, 250) {
		synctest.Test(t, func(t *testing.T) { runProgram(t, s) })
		if t.Failed() {
			t.Fatalf("program %d: %x", i, []byte(s))
		}
	}
}

func FuzzConn(f *testing.F) {
	for _, s := range scripts(10, 200) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		synctest.Test(t, func(t *testing.T) { runProgram(t, program) })
	})
}
