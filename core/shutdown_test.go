package core_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// worker is a service that takes a moment for each call.
type worker struct{ runs atomic.Int32 }

func (w *worker) Work(n int) (int, error) {
	w.runs.Add(1)
	<-time.After(4 * time.Millisecond)
	return n, nil
}

// TestRollingRestart: providers are shut down and replaced, one after the other,
// while callers never stop; no call fails, and none runs twice. That holds where the
// addresses are fixed, and where a registry takes them off the list and back.
func TestRollingRestart(t *testing.T) {
	for _, name := range []string{"fixed addresses", "registry"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newWorld(t), new(worker)
				addresses := []string{"a:1", "b:1"}
				withRegistry := func(*core.ProviderConfig) {}
				if name == "registry" {
					d := newDirectory()
					d.live = true
					withRegistry = func(cfg *core.ProviderConfig) { cfg.Registry = d }
				}
				running := make(map[string]*core.Provider)
				for _, a := range addresses {
					running[a] = w.provider(a, withRegistry, s)
					synctest.Wait() // until it is announced
				}
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					var p core.ProviderConfig
					if withRegistry(&p); p.Registry != nil {
						cfg.Registry, cfg.Endpoints = p.Registry, nil
					}
				}, addresses...)
				stop := keepCalling(t, c, s)
				for round := range 4 {
					<-time.After(20 * time.Millisecond)
					a := addresses[round%2]
					if err := running[a].Shutdown(t.Context()); err != nil {
						t.Errorf("got %v from Shutdown, want nil", err)
					}
					running[a] = w.provider(a, withRegistry, s)
					for w.network.Link(a).Conns() == 0 { // until it is back in use
						<-time.After(time.Millisecond)
					}
				}
				<-time.After(20 * time.Millisecond)
				stop()
			})
		})
	}
}

// keepCalling makes calls until the function it returns is called, and fails the
// test unless each ran once.
func keepCalling(t *testing.T, c *core.Consumer, s *worker) (stop func()) {
	var all sync.WaitGroup
	var calls atomic.Int32
	enough := make(chan struct{})
	for range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-enough:
					return
				default:
				}
				calls.Add(1)
				if got, err := invoke[int](t.Context(), c, "worker", "Work", n); got != n || err != nil {
					t.Errorf("got %d, %v, want %d", got, err, n)
					return
				}
			}
		})
	}
	return func() {
		close(enough)
		all.Wait()
		if got, want := s.runs.Load(), calls.Load(); got != want || want < 100 {
			t.Errorf("got %d runs of %d calls, want one for each of many", got, want)
		}
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("a:1", nil, g.service(), echo{})
		w.provider("b:1", nil, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.LoadBalancer = inOrder{} }, "a:1", "b:1")
		synctest.Wait()
		held := start[string](t.Context(), c, "Gate", "Pass", "held")
		<-g.entered
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(t.Context()) }()
		synctest.Wait()
		next := start[string](t.Context(), c, "echo", "Say", "x")
		if _, err := next.wait(); err != nil || next.call.Peer != "b:1" {
			t.Errorf("got %v from %s, want new calls at b:1", err, next.call.Peer)
		}
		if len(down) != 0 {
			t.Error("got the end of Shutdown while a request is in flight")
		}
		close(g.leave)
		if got, err := held.wait(); got != "held" || err != nil {
			t.Errorf("got %q, %v, want the request in flight to finish", got, err)
		}
		if err := <-down; err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
		if got := p.ConnCount() + p.Requests(); got != 0 {
			t.Errorf("got %d conns or requests after Shutdown, want 0", got)
		}
	})
}

// TestShutdownServesWhatStillArrives: until the consumer says that it stopped.
func TestShutdownServesWhatStillArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", nil, echo{})
		peer := w.dial("p:1")
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(t.Context()) }()
		if f := w.readAs(peer, coretest.TypeGoAway); f.Code != coretest.GoAwayShutdown || f.Message != "the provider is shutting down" {
			t.Errorf("got %s, want the reason", f)
		}
		if _, err := w.network.Dial(t.Context(), "p:1"); err == nil {
			t.Error("got a new connection, want none")
		}
		for i := range uint64(3) {
			w.must(peer.Write(coretest.Request(i<<20, "echo", "Say", []byte(`"x"`))))
			w.readAs(peer, coretest.TypeResponse)
		}
		w.must(peer.Write(coretest.Request(9<<20, "echo", "Say", []byte(`"last"`))))
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "")))
		if f := w.readAs(peer, coretest.TypeResponse); string(f.Body) != `"last"` {
			t.Errorf("got %s, want the last answer", f)
		}
		if f, err := peer.Read(); err == nil {
			t.Errorf("got %s, want the end", f)
		}
		if err := <-down; err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
	})
}

// TestShutdownRunsOutOfTime: what is left is cut off, and said.
func TestShutdownRunsOutOfTime(t *testing.T) {
	for _, tt := range []struct {
		name     string
		method   string // of Gate; "": no request is in flight, only a peer that stays
		requests int
		after    time.Duration
		want     string // "": nil
	}{
		{"a peer that stays", "", 1, time.Minute, ""},
		{"a handler that looks at its context", "Pass", 1, time.Minute, "1 request cut off at the end of the drain time"},
		{"several", "Pass", 3, time.Minute, "3 requests cut off at the end of the drain time"},
		{"a handler that ignores the end", "Ignore", 1, time.Minute + time.Second, "1 handler ignored the end of the drain time and still run"},
		{"several that ignore the end", "Ignore", 2, time.Minute + time.Second, "2 handlers ignored the end of the drain time and still run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, g := newWorld(t), newGate()
				p := w.provider("p:1", nil, g.service())
				peer := w.dial("p:1")
				for i := range tt.requests {
					if tt.method != "" {
						w.must(peer.Write(coretest.Request(uint64(i)<<20, "Gate", tt.method, []byte(`"x"`))))
						<-g.entered
					}
				}
				ended := make(chan error, 1)
				go func() { ended <- peer.AwaitEnd() }()
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				text := ""
				if err := p.Shutdown(ctx); err != nil {
					text = err.Error()
				}
				if text != tt.want || time.Since(begin) != tt.after {
					t.Errorf("got %q after %v, want %q after %v", text, time.Since(begin), tt.want, tt.after)
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
				close(g.leave)
				synctest.Wait()
				if err := p.Shutdown(t.Context()); err != nil {
					t.Errorf("got %v from Shutdown when all handlers are gone, want nil", err)
				}
			})
		})
	}
}

func TestShutdownTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", nil, g.service())
		c := w.consumer(nil, "p:1")
		held := start[string](t.Context(), c, "Gate", "Pass", "held")
		<-g.entered
		down := make(chan error, 3)
		for range 3 {
			go func() { down <- p.Shutdown(t.Context()) }()
		}
		synctest.Wait()
		if len(down) != 0 {
			t.Error("got the end of a Shutdown while a request is in flight, want all of them to wait")
		}
		begin := time.Now()
		close(g.leave)
		for range 3 {
			if err := <-down; err != nil {
				t.Errorf("got %v, want nil", err)
			}
		}
		if got := time.Since(begin); got != 0 {
			t.Errorf("got the end %v after the last request, want it at once", got)
		}
		if _, err := held.wait(); err != nil {
			t.Error(err)
		}
		l := w.listen("p:2")
		if err := p.Serve(l); !errors.Is(err, core.ErrProviderClosed) {
			t.Errorf("got %v from Serve after Shutdown, want core.ErrProviderClosed", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want the listener closed", err)
		}
	})
}

// TestShutdownTwiceInTheGrace: all of them hear when the last handler is gone.
func TestShutdownTwiceInTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", nil, g.service())
		held := start[string](t.Context(), w.consumer(nil, "p:1"), "Gate", "Ignore", "held")
		<-g.entered
		over, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		down := make(chan error, 3)
		for range 3 {
			go func() { down <- p.Shutdown(over) }()
		}
		synctest.Wait()
		close(g.leave)
		for range 3 {
			if err := <-down; err == nil || err.Error() != "1 request cut off at the end of the drain time" {
				t.Errorf("got %v, want one request cut off", err)
			}
		}
		if got := time.Since(begin); got != 0 {
			t.Errorf("got the end after %v, want it with the last handler", got)
		}
		if _, err := held.wait(); !errors.Is(err, spi.ErrConnLost) {
			t.Errorf("got %v, want it to match spi.ErrConnLost", err)
		}
	})
}

func TestShutdownOfWhatNeverServed(t *testing.T) {
	p := newWorld(t).newProvider(nil, echo{})
	if err := p.Shutdown(t.Context()); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

// TestShutdownDuringSilence: a connection on which nothing was said is closed.
func TestShutdownDuringSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", nil, echo{})
		nc, err := w.network.Dial(t.Context(), "p:1")
		w.must(err)
		peer := coretest.NewPeer(nc)
		defer peer.Close()
		synctest.Wait()
		begin := time.Now()
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(t.Context()) }()
		if f, err := peer.Read(); err == nil {
			t.Errorf("got %s, want the end", f)
		}
		if err := <-down; err != nil || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("got %v after %v, want nil after 100ms", err, time.Since(begin))
		}
		if got := w.logged(logrus.WarnLevel); got != nil {
			t.Errorf("got %q, want nothing to complain about", got)
		}
	})
}

// TestShutdownDuringHandshake: a connection that was never opened holds nobody up
// beyond its own timeout.
func TestShutdownDuringHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", nil, echo{})
		nc, err := w.network.Dial(t.Context(), "p:1")
		w.must(err)
		peer := coretest.NewPeer(nc)
		defer peer.Close()
		w.must(peer.WriteRaw(damaged()[:1]))
		synctest.Wait()
		begin := time.Now()
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(t.Context()) }()
		w.readAs(peer, coretest.TypeGoAway)
		if err := <-down; err != nil || time.Since(begin) > 3*time.Second {
			t.Errorf("got %v after %v, want nil within the handshake timeout", err, time.Since(begin))
		}
	})
}

// TestAnnouncements: every service is announced where it is served, and withdrawn
// before anybody is turned away.
func TestAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		p := w.newProvider(func(cfg *core.ProviderConfig) { cfg.Registry, cfg.Weight = d, 7 }, echo{})
		w.serve(p, w.listen("p:1"))
		peer := w.dial("p:1")
		synctest.Wait()
		if want := []string{"+ echo at p:1, weight 7"}; !reflect.DeepEqual(d.events, want) {
			t.Errorf("got %q, want %q", d.events, want)
		}
		asked, leave := make(chan bool), make(chan bool)
		d.leaving = func() { asked <- true; <-leave }
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(t.Context()) }()
		<-asked
		w.must(peer.Write(coretest.Request(1<<20, "echo", "Say", []byte(`"x"`))))
		w.readAs(peer, coretest.TypeResponse) // and no GOAWAY before it
		late := w.dial("p:1")
		d.note("still serving")
		leave <- true
		for _, peer := range []*coretest.Peer{peer, late} {
			w.readAs(peer, coretest.TypeGoAway)
			w.must(peer.Close())
		}
		if err := <-down; err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if want := []string{"+ echo at p:1, weight 7", "still serving", "- echo"}; !reflect.DeepEqual(d.events, want) {
			t.Errorf("got %q, want %q", d.events, want)
		}
		if got, want := w.logged(logrus.InfoLevel), []string{"info registered"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestAdvertise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		s, err := core.NewService("Text", values{})
		w.must(err)
		s.Version, s.Group = "2.0", "blue"
		p := w.newProvider(func(cfg *core.ProviderConfig) { cfg.Registry, cfg.Advertise = d, "public:80" }, s)
		w.serve(p, w.listen("p:1"))
		synctest.Wait()
		if want := []string{"+ Text#2.0#blue at public:80, weight 1"}; !reflect.DeepEqual(d.events, want) {
			t.Errorf("got %q, want %q", d.events, want)
		}
	})
}

// TestProviderWithoutItsRegistry serves those who know the address, and says so.
func TestProviderWithoutItsRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), newDirectory()
		d.broken = errors.New("wrong password")
		w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.Registry = d }, echo{})
		if _, err := invoke[string](t.Context(), w.consumer(nil, "p:1"), "echo", "Say", "x"); err != nil {
			t.Error(err)
		}
		synctest.Wait() // it says so beside its first call
		if got, want := w.logged(logrus.WarnLevel), []string{"error cannot be registered"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// failingListener returns errors before connections.
type failingListener struct {
	net.Listener
	errs chan error
}

func (l *failingListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

// tooManyFiles is what a process without descriptors gets.
type tooManyFiles struct{ error }

func (tooManyFiles) Temporary() bool { return true }

func TestServeGoesOnAfterTemporaryErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := &failingListener{w.listen("p:1"), make(chan error, 10)}
		for range 9 {
			l.errs <- tooManyFiles{errors.New("too many open files")}
		}
		w.serve(w.newProvider(nil, echo{}), l)
		begin := time.Now()
		if _, err := invoke[string](t.Context(), w.consumer(nil, "p:1"), "echo", "Say", "x"); err != nil {
			t.Error(err)
		}
		want := 5*time.Millisecond*(1<<8-1) + time.Second // eight times, doubled each time, and once the most
		if got := time.Since(begin); got != want {
			t.Errorf("got the first connection after %v, want %v", got, want)
		}
	})
}

func TestServeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := &failingListener{w.listen("p:1"), make(chan error, 1)}
		errBroken := errors.New("broken")
		l.errs <- errBroken
		p := w.newProvider(nil, echo{})
		if err := p.Serve(l); !errors.Is(err, errBroken) || fmt.Sprint(err) != "accept on p:1: broken" {
			t.Errorf("got %v, want accept on p:1: broken", err)
		}
		if _, err := l.Listener.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want the listener closed", err)
		}
		w.serve(p, w.listen("p:2")) // others go on
		if _, err := invoke[string](t.Context(), w.consumer(nil, "p:2"), "echo", "Say", "x"); err != nil {
			t.Error(err)
		}
	})
}

// TestTwoListeners: one Provider at two addresses, and Shutdown ends both.
func TestTwoListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.newProvider(nil, &tally{})
		w.serve(p, w.listen("p:1"))
		w.serve(p, w.listen("p:2"))
		for i, a := range []string{"p:1", "p:2"} {
			if got, err := invoke[int](t.Context(), w.consumer(nil, a), "tally", "Add", 1); got != i+1 || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, i+1)
			}
		}
		w.must(p.Shutdown(t.Context()))
		for _, a := range []string{"p:1", "p:2"} {
			_, err := invoke[int](t.Context(), w.consumer(nil, a), "tally", "Add", 1)
			w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: a, message: "connection refused", hint: "is the provider started?"})
		}
	})
}
