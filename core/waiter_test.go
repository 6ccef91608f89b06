package core

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// maybe is sent for calls whose position makes no difference.
func maybe(uint64) spi.Sent { return spi.SentMaybe }

// enter takes a waiter and gives it the ticket of call number sequence.
func enter(t testing.TB, table *waiters, sequence uint64) (w *waiter, id uint64) {
	t.Helper()
	w, err := table.take()
	if err != nil {
		t.Fatal(err)
	}
	id = sequence<<slotBits | uint64(w.slot)
	w.id.Store(id)
	return w, id
}

// answerTo is the answer to a call, with a body that names it.
func answerTo(id uint64) frame {
	return frame{Header: wire.Header{Type: wire.Response, ID: id, Body: 2}, payload: []byte{byte(id), byte(id >> slotBits)}}
}

func TestWaitersAnswer(t *testing.T) {
	var table waiters
	w, id := enter(t, &table, 1)
	for _, wrong := range []uint64{0, 1, id + 1, id + 1<<slotBits, slotMask, 1<<slotBits | slotMask} {
		if table.answered(answerTo(wrong)) {
			t.Errorf("an answer to %#x: got taken, want late", wrong)
		}
	}
	if !table.answered(answerTo(id)) {
		t.Fatalf("an answer to %#x: got late, want taken", id)
	}
	<-w.done
	if got := w.answer.body(); got[0] != byte(id) || w.answer.owned == nil {
		t.Errorf("got %x (owned %v), want a body of its own", got, w.answer.owned != nil)
	}
	if table.answered(answerTo(id)) {
		t.Error("a second answer: got taken, want late")
	}
	if table.answered(answerTo(0)) {
		t.Error("an answer to 0, which is the ticket of a slot without a call: got taken, want late")
	}
	w.answer.owned.release()
	table.put(w)
	next, _ := enter(t, &table, 2)
	if next != w {
		t.Errorf("got another waiter for slot %d, want the one that was given back", next.slot)
	}
	if table.answered(answerTo(id)) {
		t.Error("an answer to the slot's last call: got taken, want late")
	}
	if next.answer.owned != nil || next.err != nil || len(next.done) != 0 {
		t.Errorf("got a waiter that remembers %+v, %v, want a clean one", next.answer, next.err)
	}
}

// A large answer brings its own buffer, which goes to the waiter or back.
func TestWaitersOwnBuffers(t *testing.T) {
	l := openLedger(t)
	defer l.settle()
	var table waiters
	w, id := enter(t, &table, 1)
	for _, taken := range []bool{true, false} {
		f := answerTo(id)
		f.owned = newBuffer(2)
		f.owned.b = append(f.owned.b, f.payload...)
		f.payload = f.owned.b
		if got := table.answered(f); got != taken {
			t.Fatalf("got taken %v, want %v", got, taken)
		}
		if taken {
			<-w.done
			if w.answer.owned != f.owned {
				t.Error("the answer was copied, though its buffer was its own")
			}
			w.answer.owned.release()
		}
	}
}

func TestWaitersFail(t *testing.T) {
	var table waiters
	cause := errors.New("gone")
	var all []*waiter
	for i := range 3 * (1 << chunkBits) {
		w, _ := enter(t, &table, uint64(i+1))
		all = append(all, w)
	}
	decided := all[5]
	if table.decide(decided.id.Load()) != decided {
		t.Fatal("decide did not find a waiting call")
	}
	unsent, err := table.take() // has no ticket yet
	if err != nil {
		t.Fatal(err)
	}
	table.fail(cause, maybe)
	table.fail(errors.New("again"), maybe)
	for i, w := range all {
		want := 1
		if w == decided {
			want = 0
		}
		if len(w.done) != want || want == 1 && w.err != cause {
			t.Errorf("call %d: got told %d times, error %v; want %d, %v", i, len(w.done), w.err, want, cause)
		}
	}
	if len(unsent.done) != 0 {
		t.Error("a waiter without a ticket was told of a failure")
	}
}

func TestWaitersNoSlot(t *testing.T) {
	table := waiters{next: slotMask} // all others were used
	last, err := table.take()
	if err != nil || last.slot != slotMask {
		t.Fatalf("got slot %v, %v, want %d", last, err, slotMask)
	}
	if _, err := table.take(); !errors.Is(err, errNoSlot) {
		t.Errorf("got %v, want %v", err, errNoSlot)
	}
	table.put(last)
	if again, err := table.take(); err != nil || again.slot != slotMask {
		t.Errorf("after one was given back: got %v, %v, want slot %d", again, err, slotMask)
	}
}

// A burst is not remembered: beyond keptSlots no waiter is kept, and slots that
// have one come first.
func TestWaitersForgetABurst(t *testing.T) {
	var table waiters
	var all []*waiter
	for i := range 3 * keptSlots {
		w, _ := enter(t, &table, uint64(i+1))
		all = append(all, w)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, w := range all {
		w.id.Store(0)
		table.put(w)
	}
	kept := 0
	for slot := range uint32(3 * keptSlots) {
		if table.entry(slot).Load() != nil {
			kept++
		}
	}
	if kept != keptSlots || table.inUse() != 0 {
		t.Errorf("got %d waiters kept and %d in use, want %d and 0", kept, table.inUse(), keptSlots)
	}
	for range keptSlots {
		if w, _ := enter(t, &table, 1); w.slot >= keptSlots {
			t.Fatalf("got slot %d while one below %d was free", w.slot, keptSlots)
		}
	}
}

// Random calls against a plain map of who waits.
func TestWaitersModel(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var table waiters
	waiting := make(map[uint64]*waiter)
	slots := make(map[uint32]bool)
	var old []uint64
	some := func() uint64 {
		for id := range waiting {
			return id
		}
		return 0
	}
	leave := func(id uint64) {
		delete(slots, waiting[id].slot)
		table.put(waiting[id])
		delete(waiting, id)
		old = append(old, id)
	}
	for sequence := uint64(1); sequence < 20_000; sequence++ {
		switch random.IntN(4) {
		case 0, 1:
			w, id := enter(t, &table, sequence)
			if slots[w.slot] {
				t.Fatalf("slot %d was given twice", w.slot)
			}
			slots[w.slot] = true
			waiting[id] = w
		case 2:
			id := some()
			w := table.decide(id)
			if w != waiting[id] {
				t.Fatalf("call %#x: got %v, want %v", id, w, waiting[id])
			}
			if w != nil {
				leave(id)
			}
		case 3:
			if len(old) > 0 && table.decide(old[random.IntN(len(old))]) != nil {
				t.Fatal("a call that is over was decided again")
			}
		}
		if table.inUse() != len(waiting) {
			t.Fatalf("got %d in use, want %d", table.inUse(), len(waiting))
		}
	}
}

// Of an answer, a cancel and the end of the connection exactly one decides, and the
// caller hears of it exactly once unless it decided itself.
func TestWaitersRace(t *testing.T) {
	var table waiters
	var canceled, answered, failed, late atomic.Int64
	const callers, calls = 4, 3000
	ids := make(chan uint64, callers)
	cause := errors.New("gone")
	var readers, all sync.WaitGroup
	for range 2 { // answers race with each other too
		readers.Go(func() {
			for id := range ids {
				if !table.answered(answerTo(id)) {
					late.Add(1)
				}
			}
		})
	}
	readers.Go(func() {
		for range 200 {
			table.fail(cause, maybe)
		}
	})
	var sequence atomic.Uint64
	for caller := range callers {
		all.Go(func() {
			for i := range calls {
				w, id := enter(t, &table, sequence.Add(1))
				ids <- id
				if (i+caller)%3 == 0 && w.id.CompareAndSwap(id, 0) {
					canceled.Add(1)
				} else if <-w.done; w.err != nil {
					failed.Add(1)
				} else {
					answered.Add(1)
					if w.answer.ID != id || w.answer.payload[0] != byte(id) {
						t.Errorf("got the answer to %#x, want %#x", w.answer.ID, id)
					}
					w.answer.owned.release()
				}
				if len(w.done) != 0 {
					t.Error("a call was decided twice")
				}
				table.put(w)
			}
		})
	}
	all.Wait()
	close(ids)
	readers.Wait()
	if got := canceled.Load() + answered.Load() + failed.Load(); got != callers*calls || table.inUse() != 0 {
		t.Errorf("got %d canceled, %d answered, %d failed, %d in use; want %d together, none in use", canceled.Load(), answered.Load(), failed.Load(), table.inUse(), callers*calls)
	}
}
