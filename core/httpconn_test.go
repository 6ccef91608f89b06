package core_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// A consumer that does not take an answer is disconnected, whatever it asked.
func TestHTTPAnswerIsNotTaken(t *testing.T) {
	for _, path := range []string{"/healthz", "/readyz", "/", "/nothing"} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.provider("p:1", nil, echo{})
				nc, err := w.network.Dial(t.Context(), "p:1")
				w.must(err)
				defer nc.Close()
				_, err = fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path)
				w.must(err)
				time.Sleep(10 * time.Second) // the write timeout where there is no heartbeat
				synctest.Wait()
				if got := p.ConnCount(); got != 0 {
					t.Errorf("got %d connections after the write timeout, want 0", got)
				}
			})
		})
	}
}

// A connection that speaks HTTP is described as any other.
func TestConnsOfHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", nil, g.service())
		b := w.browser("p:1")
		defer b.CloseIdleConnections()
		over := make(chan struct{})
		go func() {
			defer close(over)
			b.ask(t.Context(), "POST", "/Gate/Pass", `["x"]`)
		}()
		<-g.entered
		time.Sleep(time.Second)
		busy := w.one(p.Conns())
		want := core.ConnInfo{Side: "provider", Peer: "consumer:1", State: core.ConnUp, Serializer: "json (HTTP)", InFlight: 1,
			BytesIn: busy.BytesIn, Age: spi.Duration(time.Second), LastIn: spi.Duration(time.Second)}
		if busy != want || busy.BytesIn < 100 || busy.BytesIn > 200 {
			t.Errorf("under way: got %+v\nwant %+v, with 100 to 200 bytes in", busy, want)
		}
		close(g.leave)
		<-over
		synctest.Wait()
		if i := w.one(p.Conns()); i.State != core.ConnUp || i.InFlight != 0 || i.BytesOut < 50 {
			t.Errorf("after the answer: got %+v, want nothing in flight, and what was written", i)
		}
	})
}
