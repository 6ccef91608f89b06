package core_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

const crowdSize = 10_000

// crowd is many calls at once through one connection, all in handlers at the same
// time.
type crowd struct {
	*world
	provider *core.Provider
	consumer *core.Consumer
}

// meet makes the calls, of which the first giveUp are cancelled while all are in
// handlers.
func (c *crowd) meet(g *gate, giveUp int) {
	g.leave = make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var callers sync.WaitGroup
	var wrong atomic.Int32
	for i := range crowdSize {
		callers.Go(func() {
			text, with := fmt.Sprint("call ", i), context.Background()
			if i < giveUp {
				with = ctx
			}
			got, err := invoke[string](with, c.consumer, "Gate", "Pass", text)
			if i < giveUp && !errors.Is(err, context.Canceled) || i >= giveUp && (got != text || err != nil) {
				if wrong.Add(1) <= 3 {
					c.Errorf("got %q, %v, want %q, or cancelled: %t", got, err, text, i < giveUp)
				}
			}
		})
	}
	synctest.Wait()
	c.expectLeft(crowdSize)
	cancel()
	synctest.Wait()
	c.expectLeft(crowdSize - giveUp)
	close(g.leave)
	callers.Wait()
	synctest.Wait()
	c.expectLeft(0)
	if got := wrong.Load(); got > 0 {
		c.Errorf("got %d calls that ended wrongly, want none", got)
	}
	for len(g.entered) > 0 {
		<-g.entered
	}
}

func (c *crowd) expectLeft(want int) {
	c.Helper()
	if got := c.provider.Requests(); got != want {
		c.Errorf("got %d requests at the provider, want %d", got, want)
	}
	if got := c.consumer.SlotsInUse(); got != want {
		c.Errorf("got %d slots in use, want %d", got, want)
	}
}

// TestCrowd: every answer comes to its caller; when half of the callers give up,
// the others do not notice, and nothing stays behind.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		c := &crowd{world: w, provider: w.provider("p:1", nil, g.service()), consumer: w.consumer(nil, "p:1")}
		if _, err := invoke[string](t.Context(), c.consumer, "Gate", "Nobody"); spi.CodeOf(err) != spi.Unimplemented {
			t.Fatal(err)
		}
		synctest.Wait()
		goroutines := runtime.NumGoroutine()
		c.meet(g, 0)
		heap := c.settled() // not before: the runtime never gives back what so many goroutines need
		c.meet(g, crowdSize/2)
		if got := c.settled(); got > heap+512<<10 {
			t.Errorf("got %d KiB on the heap, want at most 512 KiB more than the %d KiB of before", got>>10, heap>>10)
		}
		if got := runtime.NumGoroutine(); got > goroutines+core.KeptWorkers {
			t.Errorf("got %d goroutines, want at most the %d of before and %d that wait for work", got, goroutines, core.KeptWorkers)
		}
		if got := w.network.Link("p:1").Dials(); got != 1 {
			t.Errorf("got %d connections, want 1", got)
		}
	})
}

// settled returns what lives on the heap when the stopped timers are gone too: the
// runtime forgets them, with the contexts that they hold, when their time has come.
func (c *crowd) settled() uint64 {
	time.Sleep(time.Minute)
	return heapInUse()
}

// heapInUse returns what lives on the heap, in bytes.
func heapInUse() uint64 {
	runtime.GC() // twice: what a sync.Pool holds survives one
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestCrowdAtItsDeadline: a thousand deadlines in the same instant, on both sides.
func TestCrowdAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		c := &crowd{world: w, provider: w.provider("p:1", nil, g.service()), consumer: w.consumer(nil, "p:1")}
		var callers sync.WaitGroup
		begin := time.Now()
		for range 1000 {
			callers.Go(func() {
				// The handler gives up at the same time, and its answer may come first.
				if _, err := invoke[string](t.Context(), c.consumer, "Gate", "Pass", "text"); spi.CodeOf(err) != spi.DeadlineExceeded {
					t.Errorf("got %v, want DEADLINE_EXCEEDED", err)
				}
			})
		}
		callers.Wait()
		if got := time.Since(begin); got != 5*time.Second {
			t.Errorf("got the errors after %v, want 5s", got)
		}
		synctest.Wait()
		c.expectLeft(0)
	})
}
