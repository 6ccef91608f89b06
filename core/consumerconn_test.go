package core

import (
	"context"
	"math"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// A consumer whose write queue is full says GOAWAY all the same, after its last
// request.
func TestConsumerSaysGoAwayBehindAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(0)
		c := &consumerConn{endpoint: &endpoint{}, draining: make(chan struct{})}
		c.out.init(k, nil, 1000, mailboxTimeout, func(error) {})
		c.inFlight.Store(1)
		for range 2 { // the second fills what the first, which is under way, leaves
			payload := newBuffer(headroom + 440)
			payload.b = payload.b[:headroom+440]
			f := outgoing{Header: wire.Header{Type: wire.Request}, payload: payload, flush: true}
			if err := c.out.send(context.Background(), &f); err != nil {
				t.Fatal(err)
			}
		}
		c.stop()
		k.grow(math.MaxInt32)
		synctest.Wait()
		b, got := k.state().bytes, []wire.Type{}
		for len(b) > 0 {
			h, err := wire.ParseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, h.Type)
			b = b[wire.FrameSize(b):]
		}
		if len(got) != 3 || got[2] != wire.GoAway {
			t.Errorf("got %v, want two requests and a GOAWAY", got)
		}
		_ = k.Close()
		c.out.close(errClosed)
	})
}
