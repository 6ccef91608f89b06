package core_test

import (
	"errors"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// TestNothingIsLoggedPerCall: not even at level debug, and not of errors either.
func TestNothingIsLoggedPerCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, faulty{}, newGate().service())
		c := w.consumer(nil, "p:1")
		calls := func() {
			for _, method := range []string{"Plain", "Coded", "Fine", "Fien", "Unencodable"} {
				_ = c.Invoke(t.Context(), &spi.Call{Method: c.Method("faulty", method)})
			}
			_ = c.Invoke(t.Context(), &spi.Call{Method: c.Method("Gate", "Pass"), Args: spi.Values{"x"}, Timeout: time.Millisecond})
			synctest.Wait()
		}
		calls()
		before := w.logged(logrus.TraceLevel)
		for range 20 {
			calls()
		}
		if got := w.logged(logrus.TraceLevel); len(got) != len(before) {
			t.Errorf("got %q after the calls, want nothing but %q", got, before)
		}
	})
}

// TestStateChangesAreLogged once each, whatever happens in between.
func TestStateChangesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.network.Link("p:1").Refuse()
		w.provider("p:1", nil, echo{})
		c := w.consumer(nil, "p:1")
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := w.logged(logrus.InfoLevel); !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
				t.Errorf("%s: got %q, want %q", when, got, want)
			}
			w.logs.Reset()
		}
		fields := func(message string) logrus.Fields {
			for _, e := range w.logs.AllEntries() {
				if e.Message == message {
					return e.Data
				}
			}
			return nil
		}
		synctest.Wait()
		if got := fields("cannot connect"); got["endpoint"] != "p:1" || got["attempts"] != 1 {
			t.Errorf("got fields %v, want the endpoint and the attempts", got)
		}
		expect("at the first refusal", "warning cannot connect")
		<-time.After(10 * time.Minute)
		expect("at many refusals")
		for w.network.Link("p:1").Dials() < 150 {
			<-time.After(time.Minute)
		}
		if got := fields("cannot connect"); got["attempts"] != 100 {
			t.Errorf("got fields %v, want 100 attempts", got)
		}
		expect("at the hundredth", "warning cannot connect")
		w.network.Link("p:1").Heal()
		if _, err := invoke[string](t.Context(), c, "echo", "Say", "x"); err != nil {
			<-time.After(30 * time.Second) // the call gave up before the next attempt
		}
		expect("when it is up", "info reconnected")
		<-time.After(time.Minute)
		w.network.Link("p:1").Cut()
		synctest.Wait()
		if got := fields("disconnected"); got["endpoint"] != "p:1" || got["reason"] != spi.ReasonReset || got["cause"] != "the connection was reset" {
			t.Errorf("got fields %v, want endpoint, reason and cause", got)
		}
		<-time.After(time.Minute)
		if got := fields("reconnected"); got["endpoint"] != "p:1" || got["down"].(time.Duration) > 200*time.Millisecond {
			t.Errorf("got fields %v, want the endpoint and for how long it was down", got)
		}
		expect("when it was lost", "warning disconnected", "info reconnected")
		w.network.Link("p:1").Refuse()
		w.network.Link("p:1").Cut()
		<-time.After(time.Minute)
		if got := fields("cannot connect"); got["attempts"] != 1 {
			t.Errorf("got fields %v, want the count to begin again", got)
		}
		expect("when it is gone", "warning disconnected", "warning cannot connect")
		w.must(c.Close())
		expect("at the end")
	})
}

// TestDrainingIsLogged as what it is, on an idle connection too.
func TestDrainingIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", nil, echo{})
		w.consumer(nil, "p:1")
		synctest.Wait()
		w.must(p.Shutdown(t.Context()))
		synctest.Wait()
		if got, want := w.logged(logrus.InfoLevel), []string{"info the provider is shutting down", "warning cannot connect"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestStrangersAreLogged, but a flood of them is no flood of lines.
func TestStrangersAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		flood := func() {
			for range 50 {
				nc, err := w.network.Dial(t.Context(), "p:1")
				w.must(err)
				peer := coretest.NewPeer(nc)
				_ = peer.WriteRaw([]byte("hello there")) // it need not be read to its end
				w.must(peer.AwaitEnd())
				w.must(peer.Close())
			}
			synctest.Wait()
		}
		flood()
		if got := len(w.logged(logrus.WarnLevel)); got != 10 {
			t.Errorf("got %d lines of 50 strangers at once, want 10", got)
		}
		w.logs.Reset()
		<-time.After(3 * time.Second)
		flood()
		if got := len(w.logged(logrus.WarnLevel)); got != 3 {
			t.Errorf("got %d lines of 50 strangers 3s later, want 3", got)
		}
	})
}

// breathless is a listener that has a descriptor for every second connection only.
type breathless struct {
	net.Listener
	out atomic.Bool
}

func (l *breathless) Accept() (net.Conn, error) {
	if l.out.CompareAndSwap(false, true) {
		return nil, tooManyFiles{errors.New("too many open files")}
	}
	l.out.Store(false)
	return l.Listener.Accept()
}

// TestLinesAboutAcceptingAreFew, however often there are no descriptors left.
func TestLinesAboutAcceptingAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.serve(w.newProvider(nil, echo{}), &breathless{Listener: w.listen("p:1")})
		begin := time.Now()
		for range 1000 {
			w.dial("p:1")
		}
		paused := time.Since(begin)
		said := 0
		for _, line := range w.logged(logrus.WarnLevel) {
			if line == "warning cannot accept" {
				said++
			}
		}
		if most := 11 + int(paused.Seconds()); paused < time.Second || said < 10 || said > most {
			t.Errorf("got %d lines in %v, want 10 to %d", said, paused, most)
		}
	})
}
