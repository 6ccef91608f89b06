package core

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// Many senders at once, over a socket and over a pipe: every frame arrives whole,
// once, and in the order of its sender.
func TestOutboxUnderLoad(t *testing.T) {
	for _, test := range []struct {
		name string
		pair func(t *testing.T) (a, b net.Conn)
	}{{"tcp", tcpPair}, {"pipe", func(*testing.T) (a, b net.Conn) { return net.Pipe() }}} {
		t.Run(test.name, func(t *testing.T) {
			l := openLedger(t)
			defer l.settle()
			a, b := test.pair(t)
			var o outbox
			o.init(a, newRawConn(a), 100_000, mailboxTimeout, func(err error) { t.Errorf("the connection failed: %v", err) })
			const senders, frames = 8, 200
			var sending, reading sync.WaitGroup
			reading.Go(func() { readLoad(t, b, senders, frames) })
			for s := range senders {
				sending.Go(func() { sendLoad(t, &o, s, frames) })
			}
			sending.Wait()
			o.kick()
			reading.Wait()
			_, _ = a.Close(), b.Close()
			o.close(errClosed)
			if o.small.queued+o.large.queued != 0 || o.reach != o.accepted {
				t.Errorf("got %d bytes queued and %d of %d handed over, want none and all", o.small.queued+o.large.queued, o.reach, o.accepted)
			}
		})
	}
}

// sendLoad sends frames with the sender and a running number as their id.
func sendLoad(t *testing.T, o *outbox, sender, frames int) {
	random := rand.New(rand.NewPCG(uint64(sender), 8))
	for n := range frames {
		size := random.IntN(200)
		if n%10 == 0 {
			size = random.IntN(3 * copyLimit)
		}
		f := outgoing{Header: wire.Header{Type: wire.Request, ID: uint64(sender)<<32 | uint64(n)}, payload: newBuffer(headroom + size), wait: true, flush: n%3 != 0, yield: n%2 == 0}
		f.payload.b = append(f.payload.b[:headroom], letterBytes(n, size)...)
		if err := o.send(context.Background(), &f); err != nil {
			t.Errorf("send: %v", err)
			return
		}
		o.answerPing(uint64(n))
		if !f.flush {
			o.kick()
		}
	}
}

func readLoad(t *testing.T, nc net.Conn, senders, frames int) {
	r := newFrameReader(nc, newRawConn(nc), DefaultLimits())
	defer r.close()
	next := make([]int, senders)
	for left := senders * frames; left > 0; {
		f, err := r.next()
		if err != nil {
			t.Errorf("read with %d frames left: %v", left, err)
			return
		}
		if f.Type == wire.Request {
			sender, n := int(f.ID>>32), int(uint32(f.ID))
			if n != next[sender] || string(f.payload) != string(letterBytes(n, len(f.payload))) {
				t.Errorf("sender %d: got frame %d with %.20x, want frame %d", sender, n, f.payload, next[sender])
			}
			next[sender]++
			left--
		}
		f.owned.release()
	}
}

// Many callers at once over a socket, some of whom give up: everybody gets their
// own answer.
func TestCallsUnderLoad(t *testing.T) {
	e := &echo{block: make(chan struct{})}
	p := newEchoProvider(t, e, func(_ *ProviderConfig, s *Service) {
		if err := s.Inline("Much"); err != nil {
			t.Fatal(err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving, calling sync.WaitGroup
	serving.Go(func() { _ = p.Serve(l) })
	c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
		cfg.Endpoints, cfg.Dial = []spi.Endpoint{{Address: l.Addr().String()}}, nil
	}, nil)
	var answered, gaveUp atomic.Int64
	const callers, calls = 8, 200
	for caller := range callers {
		calling.Go(func() {
			for n := range calls {
				if err := callUnderLoad(c, e, caller, n); errors.Is(err, context.Canceled) {
					gaveUp.Add(1)
				} else if err != nil {
					t.Errorf("caller %d, call %d: %v", caller, n, err)
				} else {
					answered.Add(1)
				}
			}
		})
	}
	calling.Wait()
	if answered.Load()+gaveUp.Load() != callers*calls || answered.Load() < callers*calls/2 {
		t.Errorf("got %d answers and %d that gave up, want %d together", answered.Load(), gaveUp.Load(), callers*calls)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	shutdown(t, p)
	serving.Wait()
}

func callUnderLoad(c *Consumer, e *echo, caller, n int) error {
	text := fmt.Sprintf("%d-%d-%s", caller, n, strings.Repeat("x", n%100*n%300))
	method, want := "Say", text
	ctx, cancel := context.WithCancel(context.Background())
	var others sync.WaitGroup
	defer others.Wait()
	defer cancel()
	switch n % 8 {
	case 1:
		method, want = "Much", strings.Repeat(text, 1000)
	case 2: // gives up, in the moment of the answer perhaps
		method = "Wait"
		others.Go(func() {
			select {
			case e.block <- struct{}{}:
			case <-ctx.Done():
			}
		})
		others.Go(cancel)
	}
	var reply []byte
	err := c.Invoke(ctx, &spi.Call{Method: c.Method("Echo", method), Args: spi.Values{[]byte(text)}, Reply: &reply})
	if err == nil && string(reply) != want {
		return fmt.Errorf("got %.40q, want %.40q", reply, want)
	}
	return err
}
