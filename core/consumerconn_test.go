package core

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// newQuietConn returns an open consumerConn whose provider never says anything and
// takes as many bytes as the kernel lets it.
func newQuietConn(k *kernel, queue int) *consumerConn {
	c := &consumerConn{endpoint: &endpoint{}, draining: make(chan struct{}), numbers: make(map[*target]uint64)}
	c.peer = wire.HelloBody{MaxMessage: 1 << 20, MaxMetadata: 1 << 16, MaxMethods: 1 << 60}
	c.hello = wire.HelloBody{MaxMethods: 4, Serializers: []wire.Name{{Number: 1, Name: "sealed"}}}
	c.out.init(k, nil, queue, mailboxTimeout, func(error) {})
	return c
}

// end frees what newQuietConn made.
func (c *consumerConn) end() {
	c.out.close(errClosed)
	c.calls.fail(errClosed)
}

// quietCall is a call with a body of so many bytes.
func quietCall(name string, body int, left time.Duration) *callState {
	s := &callState{target: &target{key: "Echo", name: name}, timed: true, left: left, deadline: time.Now().Add(left)}
	s.out.payload = newBuffer(headroom + body)
	s.out.payload.b = s.out.payload.b[:headroom+body]
	s.out.deadline = s.deadline
	return s
}

// heard are the frames that the kernel took.
func heard(t *testing.T, k *kernel) (frames []told) {
	t.Helper()
	for b := k.state().bytes; len(b) > 0; b = b[wire.FrameSize(b):] {
		h, err := wire.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, told{Header: h, payload: b[wire.HeaderSize:wire.FrameSize(b)]})
	}
	return frames
}

// A consumer whose write queue is full says GOAWAY all the same, after its last
// request.
func TestConsumerSaysGoAwayBehindAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKernel(0)
		c := newQuietConn(k, 1000)
		defer c.end()
		defer k.Close()
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
		got := heard(t, k)
		if len(got) != 3 || got[2].Type != wire.GoAway {
			t.Errorf("got %v, want two requests and a GOAWAY", got)
		}
	})
}

// A connection numbers no more methods than either side allows: a Consumer that
// calls ever new ones does not remember them all.
func TestConsumerNumbersFewMethods(t *testing.T) {
	for _, test := range []struct {
		name      string
		own, peer uint64
	}{{"own limit", 4, 1 << 60}, {"the provider's limit", 1 << 16, 4}} {
		t.Run(test.name, func(t *testing.T) {
			c := newQuietConn(newKernel(0), 1000)
			c.hello.MaxMethods, c.peer.MaxMethods = test.own, test.peer
			for i := range 20 {
				w, err := c.calls.take()
				if err != nil {
					t.Fatal(err)
				}
				s := quietCall(fmt.Sprint("Method", i), 0, time.Second)
				s.conn, s.waiter = c, w
				for again := range 2 {
					head, err := s.assign(&outgoing{}, nil, 0)
					if err != nil {
						t.Fatal(err)
					}
					meta, err := wire.ParseRequestMeta(head)
					want := uint64(i) + 1
					if want > 4 {
						want = 0
					}
					if err != nil || meta.Number != want || meta.Define != (again == 0 || want == 0) {
						t.Errorf("method %d: got number %d, definition %v, %v; want number %d", i, meta.Number, meta.Define, err, want)
					}
				}
				s.out.payload.release()
			}
			if len(c.numbers) != 4 {
				t.Errorf("got %d methods remembered, want 4", len(c.numbers))
			}
		})
	}
}
