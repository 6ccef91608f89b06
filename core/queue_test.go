package core

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// batch returns n new requests.
func batch(n int) []*request {
	all := make([]*request, n)
	for i := range all {
		all[i] = new(request)
	}
	return all
}

// stop ends a queue as Provider.Shutdown does, and returns when its workers have
// ended.
func (q *workQueue) stop() {
	q.close()
	q.workers.Wait()
}

func TestWorkQueueRunsEachOnce(t *testing.T) {
	const pushers, batches = 4, 300
	var mu sync.Mutex
	ran := make(map[*request]int)
	q := workQueue{run: func(r *request) {
		mu.Lock()
		defer mu.Unlock()
		ran[r]++
	}}
	var pushing sync.WaitGroup
	var pushed atomic.Int64
	for p := range pushers {
		pushing.Go(func() {
			for i := range batches {
				b := batch((i*7 + p) % 20)
				pushed.Add(int64(len(b)))
				q.push(b)
				clear(b) // as the reader does
			}
		})
	}
	pushing.Wait()
	q.stop()
	if int64(len(ran)) != pushed.Load() || ran[nil] != 0 {
		t.Errorf("got %d requests run, want %d", len(ran), pushed.Load())
	}
	for _, n := range ran {
		if n != 1 {
			t.Fatalf("a request ran %d times", n)
		}
	}
}

// Handlers that block never hold up others, and do not stay as workers for ever.
func TestWorkQueueBlockedHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var running atomic.Int64
		q := workQueue{run: func(*request) {
			running.Add(1)
			<-release
			running.Add(-1)
		}}
		const n = 3 * keptWorkers
		for want := int64(1); want <= n; want += 100 {
			q.push(batch(100))
			synctest.Wait()
			if got := running.Load(); got != want+99 {
				t.Fatalf("got %d handlers running, want all %d", got, want+99)
			}
		}
		close(release)
		synctest.Wait()
		if running.Load() != 0 || len(q.idle) != keptWorkers {
			t.Errorf("after the burst: got %d running and %d parked, want 0 and %d", running.Load(), len(q.idle), keptWorkers)
		}
		if slices.ContainsFunc(q.queue[:cap(q.queue)], func(r *request) bool { return r != nil }) {
			t.Error("the queue remembers requests that were taken")
		}
		q.stop()
	})
}

// Many short requests need few wake-ups: with one processor, one worker runs them
// all while the next is being woken.
func TestWorkQueueWakesFew(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		q := workQueue{run: func(*request) { ran.Add(1) }}
		for range 10 {
			q.push(batch(1000))
			synctest.Wait()
		}
		if got := len(q.idle); ran.Load() != 10_000 || got > 4 {
			t.Errorf("got %d requests run by %d workers, want 10000 by at most 4", ran.Load(), got)
		}
		q.stop()
	})
}

func TestWorkQueueHandlerThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		q := workQueue{run: func(*request) {
			if ran.Add(1)%3 == 0 {
				runtime.Goexit()
			}
		}}
		for range 20 {
			q.push(batch(50))
			synctest.Wait()
		}
		if got := ran.Load(); got != 1000 {
			t.Errorf("got %d requests run, want 1000", got)
		}
		q.stop()
	})
}

func TestWorkQueueClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started, ended atomic.Int64
		release := make(chan struct{})
		q := workQueue{run: func(*request) {
			started.Add(1)
			<-release
			ended.Add(1)
		}}
		q.push(batch(5))
		synctest.Wait()
		q.close()
		q.close()
		q.push(batch(2)) // a connection that ends late
		synctest.Wait()
		if started.Load() != 7 || ended.Load() != 0 {
			t.Errorf("got %d started and %d ended, want 7 and 0", started.Load(), ended.Load())
		}
		close(release)
		q.workers.Wait()
		if ended.Load() != 7 || len(q.idle) != 0 {
			t.Errorf("got %d ended and %d parked, want 7 and 0", ended.Load(), len(q.idle))
		}
	})
}

// Workers that were parked at close do not get work that comes later; others do.
func TestWorkQueuePushAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		q := workQueue{run: func(*request) { ran.Add(1) }}
		q.push(batch(50))
		synctest.Wait()
		q.close()
		q.close()
		q.push(batch(50))
		q.workers.Wait()
		if got := ran.Load(); got != 100 {
			t.Errorf("got %d requests run, want 100", got)
		}
	})
}

// A queue that never empties does not grow.
func TestWorkQueueSteady(t *testing.T) {
	q := workQueue{waking: true} // a worker that never comes; the test takes its place
	remembers := func(r *request) bool { return r != nil }
	q.push(batch(10))
	for range 10_000 {
		q.push(batch(3))
		if slices.ContainsFunc(q.queue[:q.head], remembers) || slices.ContainsFunc(q.queue[len(q.queue):cap(q.queue)], remembers) {
			t.Fatal("the queue remembers requests twice, or that were taken")
		}
		for range 3 {
			if q.queue[q.head] == nil {
				t.Fatal("a request is lost")
			}
			q.queue[q.head] = nil
			q.head++
		}
	}
	if waiting := len(q.queue) - q.head; waiting != 10 || cap(q.queue) > 100 {
		t.Errorf("got %d requests in room for %d, want 10 in room for at most 100", waiting, cap(q.queue))
	}
}
