package core_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// BenchmarkDeadline measures, over the loopback interface, when a caller with a
// deadline of 50 ms is back from a provider that has stopped reading, with the
// socket and the write queue full.
func BenchmarkDeadline(b *testing.B) {
	const deadline = 50 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	w := newWorld(b)
	c := w.consumer(func(cfg *core.ConsumerConfig) {
		cfg.Dial, cfg.WriteTimeout = nil, spi.Duration(time.Hour)
	}, l.Addr().String())
	w.accept(l)
	large := strings.Repeat("x", 1<<20)
	call := func(ctx context.Context, text string) *spi.Error {
		_, err := invoke[string](ctx, c, "echo", "Say", text)
		var e *spi.Error
		if !errors.As(err, &e) || e.Code != spi.DeadlineExceeded {
			b.Fatalf("got %v, want DEADLINE_EXCEEDED", err)
		}
		return e
	}
	for full := false; !full; {
		ctx, cancel := context.WithTimeout(b.Context(), deadline)
		full = call(ctx, large).Phase == spi.PhaseQueue
		cancel()
	}
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		ctx, cancel := context.WithTimeout(b.Context(), deadline)
		call(ctx, "x")
		cancel()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "ms-median")
	b.ReportMetric(took[len(took)-1].Seconds()*1e3, "ms-max")
}

// BenchmarkCrowd makes ten thousand calls at once over one connection of the
// loopback interface, cancels half of them while all are in handlers, and reports
// what is left of them.
func BenchmarkCrowd(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	w, g := newWorld(b), newGate()
	p := w.newProvider(nil, g.service())
	w.serve(p, l)
	c := w.consumer(func(cfg *core.ConsumerConfig) {
		cfg.Dial, cfg.Timeout = nil, spi.Duration(time.Minute)
	}, l.Addr().String())
	crowd := func() {
		g.leave = make(chan struct{})
		giveUp, cancel := context.WithCancel(b.Context())
		defer cancel()
		var quitters, stayers sync.WaitGroup
		for i := range crowdSize {
			text := fmt.Sprint("call ", i)
			if i%2 == 0 {
				quitters.Go(func() {
					if _, err := invoke[string](giveUp, c, "Gate", "Pass", text); !errors.Is(err, context.Canceled) {
						b.Errorf("got %v, want it cancelled", err)
					}
				})
				continue
			}
			stayers.Go(func() {
				if got, err := invoke[string](b.Context(), c, "Gate", "Pass", text); got != text || err != nil {
					b.Errorf("got %q, %v, want %q", got, err, text)
				}
			})
		}
		for range crowdSize {
			<-g.entered
		}
		cancel()
		quitters.Wait()
		close(g.leave)
		stayers.Wait()
		for p.Requests() > 0 { // what nobody waits for may still be on its way out
			runtime.Gosched()
		}
	}
	crowd() // what is kept for use again
	goroutines, heap := runtime.NumGoroutine(), heapInUse()
	for b.Loop() {
		crowd()
	}
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines-left")
	b.ReportMetric((float64(heapInUse())-float64(heap))/1024, "KiB-left")
	b.ReportMetric(float64(c.SlotsInUse()), "slots-left")
}
