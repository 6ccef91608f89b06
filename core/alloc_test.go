//go:build !race

package core

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// The pools drop what they please under the race detector, so there these tests
// would count nothing that matters.

func checkAllocs(t *testing.T, most float64, f func()) {
	t.Helper()
	for range 100 { // fill the pools
		f()
	}
	if got := testing.AllocsPerRun(1000, f); got > most {
		t.Errorf("got %v allocations, want at most %v", got, most)
	}
}

func TestHeaderAllocs(t *testing.T) {
	b := make([]byte, 0, 100)
	checkAllocs(t, 0, func() {
		b = wire.AppendHeader(b[:0], wire.Header{Type: wire.Request, ID: 7, Metadata: 3, Body: 5})
		if _, err := wire.ParseHeader(b); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRequestMetaAllocs(t *testing.T) {
	b := make([]byte, 0, 100)
	checkAllocs(t, 0, func() {
		b = wire.AppendTimeout(wire.AppendMethod(b[:0], 5), 123456)
		if _, err := wire.ParseRequestMeta(b); err != nil {
			t.Fatal(err)
		}
	})
}

// swallow takes every byte at once.
type swallow struct{}

func (swallow) write(b []byte) (int, error) { return len(b), nil }

func TestOutboxAllocs(t *testing.T) {
	for _, test := range []struct {
		name string
		size int
	}{{"small", 100}, {"large", copyLimit + 1}} {
		t.Run(test.name, func(t *testing.T) {
			var o outbox
			o.init(newKernel(0), nil, 1<<20, time.Second, func(error) {})
			o.raw = swallow{}
			var f outgoing
			checkAllocs(t, 0, func() {
				f = outgoing{Header: wire.Header{Type: wire.Request, ID: 1}, payload: newBuffer(headroom + test.size), wait: true, flush: true}
				f.payload.b = f.payload.b[:headroom+test.size]
				if err := o.send(context.Background(), &f); err != nil {
					t.Fatal(err)
				}
				o.answerPing(1)
				o.kick()
				o.cancel(1, 0)
			})
		})
	}
}

func TestWaitersAllocs(t *testing.T) {
	var table waiters
	checkAllocs(t, 0, func() {
		w, id := enter(t, &table, 1)
		if table.decide(id) != w {
			t.Fatal("lost")
		}
		table.put(w)
	})
}

func TestWorkQueueAllocs(t *testing.T) {
	done := make(chan struct{}, 1)
	q := workQueue{run: func(*request) { done <- struct{}{} }}
	defer q.stop()
	b := []*request{{}}
	checkAllocs(t, 0, func() {
		q.push(b)
		<-done
	})
}

// bytesArgs is one argument of bytes, as generated code holds it.
type bytesArgs struct{ b []byte }

func (a *bytesArgs) Len() int   { return 1 }
func (a *bytesArgs) At(int) any { return &a.b }

// generated is a service as a generator would write it: no reflection.
func generated() *Service {
	pool := sync.Pool{New: func() any { return new(bytesArgs) }}
	return &Service{Name: "Echo", Methods: []*Method{{
		Name: "Say", Signature: "Say([]uint8) []uint8",
		NewArgs:  func() spi.Args { return pool.Get().(*bytesArgs) },
		FreeArgs: func(a spi.Args) { pool.Put(a.(*bytesArgs)) },
		Call:     func(_ context.Context, args spi.Args) (any, error) { return &args.(*bytesArgs).b, nil },
	}}}
}

// openPair returns a caller of Echo.Say over the loopback.
func openPair(t testing.TB) (call func() error) {
	t.Helper()
	cfg := DefaultProviderConfig()
	cfg.Serializers = map[string]spi.Serializer{"sealed": sealed{}}
	p, err := NewProvider(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Register(generated()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = p.Serve(l) })
	c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
		cfg.Endpoints, cfg.Dial = []spi.Endpoint{{Address: l.Addr().String()}}, nil
	}, nil)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		shutdown(t, p)
		serving.Wait()
	})
	say := c.Method("Echo", "Say")
	type state struct {
		call  spi.Call
		args  bytesArgs
		reply []byte
	}
	pool := sync.Pool{New: func() any { return &state{args: bytesArgs{make([]byte, 100)}, reply: make([]byte, 0, 100)} }}
	return func() error {
		s := pool.Get().(*state)
		defer pool.Put(s)
		s.call = spi.Call{Method: say, Args: &s.args, Reply: &s.reply}
		return c.Invoke(context.Background(), &s.call)
	}
}

// A whole call, both sides together, costs its handlerContext and nothing else.
func TestCallAllocs(t *testing.T) {
	call := openPair(t)
	checkAllocs(t, 1, func() {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	call := openPair(b)
	b.ReportAllocs()
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(); err != nil {
				b.Error(err)
			}
		}
	})
}
