package core

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// newQuietConn returns an open consumerConn whose provider never says anything and
// takes as many bytes as the kernel lets it.
func newQuietConn(k *kernel, queue int) *consumerConn {
	c := &consumerConn{endpoint: &endpoint{}, draining: make(chan struct{}), numbers: make(map[*target]uint64)}
	c.peer = wire.HelloBody{MaxMessage: 1 << 20, MaxMetadata: 1 << 16, MaxMethods: 1 << 60}
	c.hello = &wire.HelloBody{MaxMethods: 4, Serializers: []wire.Name{{Number: 1, Name: "sealed"}}}
	c.out.init(k, nil, queue, mailboxTimeout, func(error) {})
	return c
}

// end frees what newQuietConn made.
func (c *consumerConn) end() {
	c.out.close(errClosed)
	c.calls.fail(errClosed, c.out.sent)
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

// The time that a call waits for room is part of its time, on both sides.
func TestConsumerCallThatWaitedForRoom(t *testing.T) {
	for _, test := range []struct {
		name   string
		waits  time.Duration
		told   time.Duration // what the provider hears; 0: nothing
		phase  spi.Phase
		sent   spi.Sent
		cancel bool // a CANCEL follows
	}{
		{"for a while", 3 * time.Second, 2 * time.Second, spi.PhaseWait, spi.SentMaybe, true},
		{"to the end of its time", 5 * time.Second, 0, spi.PhaseQueue, spi.SentNo, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := openLedger(t)
				defer l.settle()
				k := newKernel(0)
				c := newQuietConn(k, 1000)
				defer c.end()
				defer k.Close()
				go c.roundTrip(context.Background(), quietCall("First", 900, time.Hour)) // fills the queue
				synctest.Wait()
				start := time.Now()
				done := make(chan error)
				go func() { done <- c.roundTrip(context.Background(), quietCall("Say", 500, 5*time.Second)) }()
				time.Sleep(test.waits)
				k.grow(math.MaxInt32)
				err := <-done
				var e *spi.Error
				if !errors.As(err, &e) || e.Code != spi.DeadlineExceeded || e.Phase != test.phase || e.Sent != test.sent {
					t.Errorf("got %v, want %v in phase %s, sent %s", err, spi.DeadlineExceeded, test.phase, test.sent)
				}
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("got the end after %v, want 5s", took)
				}
				synctest.Wait()
				frames := heard(t, k)
				if want := map[bool]int{true: 3, false: 1}[test.cancel]; len(frames) != want {
					t.Fatalf("got %d frames, want %d", len(frames), want)
				}
				if test.cancel {
					meta, err := wire.ParseRequestMeta(frames[1].payload[:frames[1].Metadata])
					if got := time.Duration(meta.Timeout) * time.Microsecond; err != nil || got != test.told {
						t.Errorf("the provider was told of %v, %v; want %v", got, err, test.told)
					}
				}
			})
		})
	}
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

// A call that has chosen a connection just before its GOAWAY is not sent on it.
func TestConsumerSendsNothingAfterGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLedger(t)
		defer l.settle()
		k := newKernel(math.MaxInt32)
		c := newQuietConn(k, 1000)
		defer c.end()
		defer k.Close()
		c.inFlight.Store(1)
		c.stop()
		c.stop()
		err := c.roundTrip(context.Background(), quietCall("Say", 10, time.Second))
		var e *spi.Error
		if !errors.As(err, &e) || e.Reason != spi.ReasonGoAway || e.Sent != spi.SentNo || e.Phase != spi.PhaseQueue {
			t.Errorf("got %v, want %s, sent no, in phase queue", err, spi.ReasonGoAway)
		}
		synctest.Wait()
		if got := heard(t, k); len(got) != 1 || got[0].Type != wire.GoAway {
			t.Errorf("got %v, want one GOAWAY", got)
		}
	})
}
