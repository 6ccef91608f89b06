package core_test

import (
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// silent opens a connection on which nothing is said.
func (w *world) silent(address string) net.Conn {
	w.Helper()
	nc, err := w.network.Dial(w.Context(), address)
	w.must(err)
	w.Cleanup(func() { nc.Close() })
	synctest.Wait() // until it is accepted
	return nc
}

// isOpen reports whether the other end of an idle connection is open.
func isOpen(nc net.Conn) bool {
	ended := make(chan bool, 1)
	go func() {
		_, err := nc.Read(make([]byte, 1))
		ended <- err != nil
	}()
	synctest.Wait()
	return len(ended) == 0
}

// TestSilentCrowd: connections that say nothing give way to new ones, the oldest first;
// those that have spoken stay, whatever they speak.
func TestSilentCrowd(t *testing.T) {
	for _, tt := range []struct {
		name              string
		conns, handshakes int
		want              []bool // of five silent connections, which are open at the end
	}{
		{name: "too many handshakes", conns: 100, handshakes: 3, want: []bool{false, false, false, true, true}},
		{name: "too many connections", conns: 5, handshakes: 100, want: []bool{false, false, false, true, true}},
		{name: "enough of both", conns: 8, handshakes: 6, want: []bool{true, true, true, true, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxConns, cfg.MaxHandshakes = tt.conns, tt.handshakes }, echo{})
				early, browser := w.dial("p:1"), w.browser("p:1")
				browser.ask(t.Context(), "POST", "/echo/Say", `["x"]`) // and its connection waits for more
				var crowd []net.Conn
				for range 5 {
					crowd = append(crowd, w.silent("p:1"))
				}
				late := w.dial("p:1")
				var open []bool
				for _, nc := range crowd {
					open = append(open, isOpen(nc))
				}
				if !reflect.DeepEqual(open, tt.want) {
					t.Errorf("got open %v, want %v", open, tt.want)
				}
				for i, peer := range []*coretest.Peer{early, late} {
					w.must(peer.Write(coretest.Request(1<<20, "echo", "Say", []byte(`"x"`))))
					if f := w.readAs(peer, coretest.TypeResponse); string(f.Body) != `"x"` {
						t.Errorf("conn %d: got %s, want it served", i, f)
					}
				}
				if answer, text := browser.ask(t.Context(), "POST", "/echo/Say", `["x"]`); answer.StatusCode != 200 {
					t.Errorf("got %d %s, want HTTP served", answer.StatusCode, text)
				}
				if got := w.network.Link("p:1").Dials(); got != 8 {
					t.Errorf("got %d dials, want the old connections used again", got)
				}
				for _, e := range w.logs.AllEntries() {
					if e.Level <= logrus.WarnLevel && (e.Data["reason"] != "overloaded" || !strings.Contains(fmt.Sprint(e.Data["cause"]), "provider.max_handshakes")) {
						t.Errorf("got %s %v, want the keys named", e.Message, e.Data)
					}
				}
			})
		})
	}
}

// TestFull: when all connections have spoken, a new one is refused as soon as it has
// introduced itself, the others go on, and there is room again when one ends.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxConns = 2 }, echo{})
		one, two := w.dial("p:1"), w.browser("p:1")
		if answer, text := two.ask(t.Context(), "POST", "/echo/Say", `["x"]`); answer.StatusCode != 200 {
			t.Errorf("got %d %s, want it served", answer.StatusCode, text)
		}
		for range 3 {
			c := w.consumer(nil, "p:1")
			_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
			w.must(c.Close()) // or it would try again
			w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonOverloaded, phase: spi.PhaseHandshake, sent: spi.SentNo, endpoint: "p:1",
				message: "refused: this provider has as many connections as the key provider.max_conns allows", hint: "raise the key there"})
		}
		if answer, text := w.browser("p:1").ask(t.Context(), "GET", "/healthz", ""); answer.StatusCode != 503 || !strings.Contains(text, "provider.max_conns") {
			t.Errorf("got %d %s, want it refused", answer.StatusCode, text)
		}
		synctest.Wait()
		if got := p.ConnCount(); got != 2 {
			t.Errorf("got %d conns, want 2", got)
		}
		for range 20 { // who says nothing is one of sixteen beyond
			w.silent("p:1")
		}
		if got := p.ConnCount(); got != 2+16 {
			t.Errorf("got %d conns, want 18", got)
		}
		named := 0
		for _, e := range w.logs.AllEntries() {
			if e.Level <= logrus.WarnLevel && strings.Contains(fmt.Sprint(e.Message, e.Data["cause"]), "provider.max_conns") && e.Data["consumer"] != nil {
				named++
			}
		}
		if named < 3+1 {
			t.Errorf("got the key named in %d lines of the provider's, want one for each that was refused", named)
		}
		w.must(one.Close())
		synctest.Wait()
		three := w.dial("p:1")
		w.must(three.Write(coretest.Request(1<<20, "echo", "Say", []byte(`"x"`))))
		w.readAs(three, coretest.TypeResponse)
		if answer, text := two.ask(t.Context(), "POST", "/echo/Say", `["x"]`); answer.StatusCode != 200 {
			t.Errorf("got %d %s, want it served", answer.StatusCode, text)
		}
	})
}

// TestFullOfBodies: a request that is refused, and whose body never comes, keeps its
// connection for a moment only.
func TestFullOfBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxConns = 1 }, echo{})
		one := w.dial("p:1")
		begin := func() {
			nc := w.silent("p:1")
			_, err := nc.Write([]byte("POST /echo/Say HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"))
			if err == nil {
				go io.Copy(io.Discard, nc)
			}
			synctest.Wait()
		}
		for range 100 {
			begin()
			if got := p.ConnCount(); got > 1+16 {
				t.Fatalf("got %d connections, want at most 17", got)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := p.ConnCount(); got != 1 {
			t.Errorf("got %d connections a second later, want 1", got)
		}
		for range 5 {
			begin()
		}
		w.must(one.Close()) // its place is free, though those that were refused are there still
		synctest.Wait()
		w.dial("p:1")
	})
}

// TestFullOfTwins: a place is given up once, by the name of another connection.
func TestFullOfTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxConns = 1 }, echo{})
		name := [16]byte{9}
		say := func(h coretest.Hello) error {
			nc, err := w.network.Dial(t.Context(), "p:1")
			w.must(err)
			w.Cleanup(func() { nc.Close() })
			h.Serializers = []string{"json"}
			_, err = coretest.NewPeer(nc).BeConsumer(h)
			synctest.Wait() // until its name is known
			return err
		}
		w.must(say(coretest.Hello{Token: name}))
		if err := say(coretest.Hello{Token: name, Supersedes: name}); err == nil {
			t.Error("got a twin that takes its own place let in, want it refused")
		}
		w.must(say(coretest.Hello{Token: [16]byte{8}, Supersedes: name}))
		if err := say(coretest.Hello{Token: [16]byte{7}, Supersedes: name}); err == nil {
			t.Error("got a place given up twice, want it once")
		}
		synctest.Wait()
		if list := p.Conns(); len(list) != 1 {
			t.Errorf("got %+v, want one connection", list)
		}
	})
}

// TestFullOfTheDead: a consumer that connects again takes the place of its own
// connection, which the provider believes alive, though there is no other place.
func TestFullOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, o := newWorld(t), tell()
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxConns, cfg.Heartbeat = 1, w.strikes(10*time.Minute) }, echo{})
		c := w.consumer(beating(w.strikes(interval), o), "p:1")
		synctest.Wait()
		w.network.Link("p:1").Forget()
		w.until("it is found dead", 10*interval, func() bool { return o.count("disconnected") == 1 })
		w.until("it is back", 2*interval, func() bool { return o.count("reconnected") == 1 })
		if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
			t.Errorf("got %q, %v, want x", got, err)
		}
		if list := p.Conns(); len(list) != 1 || list[0].ID != 2 {
			t.Errorf("got %+v, want the second connection alone", list)
		}
		if got := last[core.Reconnected](t, o).Attempt; got != 1 {
			t.Errorf("got it back at attempt %d, want the first", got)
		}
	})
}

// TestPatience: nobody has to give way before its time.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.MaxHandshakes = 1 }, echo{})
		first := w.silent("p:1")
		<-time.After(40 * time.Millisecond)
		w.silent("p:1")
		<-time.After(59 * time.Millisecond)
		if !isOpen(first) {
			t.Error("got the first connection closed after 99ms, want it open")
		}
		<-time.After(time.Millisecond)
		if isOpen(first) {
			t.Error("got the first connection open after 100ms, want it closed")
		}
	})
}
