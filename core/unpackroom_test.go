package core

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Turns go round the connections, whatever the sizes, and nobody overtakes who comes
// next and does not fit.
func TestUnpackRoomTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &unpackRoom{limit: 10}
		a, b := new(packing), new(packing)
		var turns sync.WaitGroup
		defer turns.Wait()
		var mu sync.Mutex
		var got []string
		wait := func(name string, of *packing, size int) {
			turns.Go(func() {
				if _, err := u.take(t.Context(), time.Time{}, of, size); err != nil {
					t.Errorf("%s: got %v, want room", name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				got = append(got, name)
			})
			synctest.Wait()
		}
		granted := func(want ...string) {
			t.Helper()
			synctest.Wait()
			slices.Sort(got) // those of one moment
			if !slices.Equal(got, want) {
				t.Errorf("got room for %v, want it for %v", got, want)
			}
			got = nil
		}
		wait("too large, alone", a, 100)
		granted("too large, alone")
		wait("a1", a, 6)
		wait("a2", a, 6)
		wait("a3", a, 1)
		wait("b1", b, 4)
		wait("b2", b, 5)
		granted()
		u.give(100, nil)
		granted("a1", "b1")
		wait("last", b, 0)
		granted()
		u.give(6, nil) // 4 are taken
		granted("a2")
		u.give(4, nil)
		granted()
		u.give(6, nil)
		granted("a3", "b2", "last")
		u.give(5, nil)
		u.give(1, nil)
		if u.used != 0 || len(u.waiting)+len(u.order) != 0 {
			t.Errorf("got %+v, want nothing left", u)
		}
	})
}

// In a crowd a buffer goes from one body to the next that needs just as much.
func TestUnpackRoomHandsBuffersOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 10
		u, of := &unpackRoom{limit: size}, new(packing)
		if b, err := u.take(t.Context(), time.Time{}, of, size); b != nil || err != nil {
			t.Errorf("got %v, %v where nobody waits, want no buffer", b, err)
		}
		took := make(chan *buffer)
		for _, tt := range []struct {
			name string
			size int // of the next body
			same bool
		}{{"of that size", size, true}, {"smaller", size / 4, false}} {
			own := newBuffer(size)
			own.b = append(own.b, "used"...)
			go func() {
				b, err := u.take(t.Context(), time.Time{}, of, tt.size)
				if err != nil {
					t.Errorf("%s: got %v, want room", tt.name, err)
				}
				took <- b
			}()
			synctest.Wait()
			u.give(int(u.used), own)
			if b := <-took; (b == own) != tt.same || len(b.b) != 0 || cap(b.b) < tt.size {
				t.Errorf("%s: got a buffer of %d with %d in it, the same: %v, want an empty one, the same: %v", tt.name, cap(b.b), len(b.b), b == own, tt.same)
			}
		}
	})
}

// Bodies come, wait, give up and go, in any order: never more than the limit but for
// one alone, and everybody gets room or gives up.
func TestUnpackRoomProgram(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			const limit = 100
			r := rand.New(rand.NewPCG(seed, 0))
			u := &unpackRoom{limit: limit}
			conns := make([]packing, 3)
			var bodies sync.WaitGroup
			var mu sync.Mutex
			used, inside := 0, 0
			count := func(size, n int) {
				mu.Lock()
				defer mu.Unlock()
				used, inside = used+size, inside+n
				if used > limit && inside > 1 {
					t.Errorf("seed %d: got %d bytes of %d bodies at once, want at most %d", seed, used, inside, limit)
				}
			}
			for range 200 {
				of, size := &conns[r.IntN(len(conns))], 1+r.IntN(limit*3/2)
				begin, patience, work := time.Duration(r.IntN(1000)), time.Duration(r.IntN(10_000)), time.Duration(r.IntN(50))
				bodies.Go(func() {
					time.Sleep(begin)
					ctx, cancel := context.WithTimeout(t.Context(), patience+1)
					defer cancel()
					if _, err := u.take(ctx, time.Time{}, of, size); err != nil {
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("seed %d: got %v, want room or the deadline", seed, err)
						}
						return
					}
					count(size, 1)
					time.Sleep(work)
					count(-size, -1)
					u.give(size, nil)
				})
			}
			bodies.Wait()
			if u.used != 0 || len(u.waiting)+len(u.order) != 0 {
				t.Errorf("seed %d: got %+v, want nothing left", seed, u)
			}
		})
	}
}
