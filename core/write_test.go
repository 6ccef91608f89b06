package core

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// forms runs a test with both forms of an outbox, in a bubble and with a ledger.
func forms(t *testing.T, limit, room int, test func(t *testing.T, m *mailbox)) {
	for _, form := range []struct {
		name string
		raw  bool
	}{{"raw", true}, {"plain", false}} {
		t.Run(form.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := openLedger(t)
				defer l.settle()
				m := newMailbox(t, newKernel(room), form.raw, limit)
				defer m.end(errClosed)
				test(t, m)
			})
		})
	}
}

var now = outgoing{wait: true, flush: true}

func TestOutboxCountsWhatTheKernelTook(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		first := m.post(10, 1000, now)
		second := m.post(10, 1000, now)
		m.check()
		m.grow(first.size() + 1)
		m.check()
		if got := m.sent(second.position); got != spi.SentMaybe {
			t.Errorf("second, of which one byte was taken: got sent %q, want maybe", got)
		}
		m.grow(math.MaxInt32)
		m.check()
	})
}

// A PONG waits until a frame is whole, even where a frame begins with names that do
// not fit in front of its payload.
func TestOutboxNeverTearsAFrame(t *testing.T) {
	forms(t, 1<<20, 100, func(t *testing.T, m *mailbox) {
		m.post(200, 2*copyLimit, now)
		m.ping(1)
		m.grow(124)
		m.check()
		m.grow(math.MaxInt32)
		m.flushAll()
		m.check()
		if n := len(m.read(m.kernel.state()).frames); n != 2 {
			t.Errorf("got %d frames, want 2", n)
		}
	})
}

func TestOutboxControlBeforeData(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.post(0, 2*copyLimit, now) // under way
		m.post(0, 100, now)
		m.say(wire.Ping, 3)
		m.ping(4)
		m.ping(7)
		m.grow(math.MaxInt32)
		m.check()
		var got []wire.Type
		for _, f := range m.read(m.kernel.state()).frames {
			got = append(got, f.Type)
		}
		want := []wire.Type{wire.Request, wire.Ping, wire.Pong, wire.Request}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// finish leaves the last answer as much time as any other.
func TestOutboxFinish(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.post(0, 900_000, now)
		m.finish(errGoAway)
		for range 5 {
			if got := m.failures(); len(got) != 0 {
				t.Fatalf("got %v with %d bytes still to write", got, m.small.queued)
			}
			time.Sleep(mailboxTimeout / 2)
			m.grow(200_000)
			m.check()
		}
		if got := m.failures(); len(got) != 1 || got[0] != errGoAway {
			t.Errorf("got %v when everything was written, want %v", got, errGoAway)
		}
	})
}

func TestOutboxFinishWithNothingLeft(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.finish(errGoAway)
		if got := m.failures(); len(got) != 1 || got[0] != errGoAway {
			t.Errorf("got %v, want %v", got, errGoAway)
		}
	})
}

// farewell bounds a write that has been waiting for long, too.
func TestOutboxFarewell(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.post(0, 1000, now)
		m.say(wire.GoAway, 10)
		start := time.Now()
		m.farewell()
		if took := time.Since(start); took != farewellTimeout {
			t.Errorf("got %v, want %v", took, farewellTimeout)
		}
		synctest.Wait()
		if got := m.failures(); len(got) != 1 || got[0] != errWriteStalled {
			t.Errorf("got %v, want %v", got, errWriteStalled)
		}
	})
}

func TestOutboxWriteTimeout(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.post(0, 1000, now)
		time.Sleep(mailboxTimeout - 1)
		m.check()
		if got := m.failures(); len(got) != 0 {
			t.Fatalf("got %v before the timeout", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := m.failures(); len(got) != 1 || got[0] != errWriteStalled {
			t.Errorf("got %v, want %v", got, errWriteStalled)
		}
		if l := m.post(0, 10, now); l.err != errWriteStalled {
			t.Errorf("send after that: got %v, want %v", l.err, errWriteStalled)
		}
	})
}

// What overtakes data waits for one segment of small frames at most.
func TestOutboxSegmentsAreBounded(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.post(0, 10, now) // under way
		for range 2 * segmentSize / 1000 {
			m.post(0, 1000, now)
		}
		m.grow(wire.HeaderSize + 10 + 1) // and the next segment is begun
		m.ping(1)
		m.grow(math.MaxInt32)
		m.flushAll()
		m.check()
		data := 0
		for _, f := range m.read(m.kernel.state()).frames {
			if f.Type == wire.Pong {
				break
			}
			data += wire.HeaderSize + int(f.Body)
		}
		if most := wire.HeaderSize + 10 + segmentSize; data > most {
			t.Errorf("got %d bytes of data before the PONG, want at most %d", data, most)
		}
	})
}

// Where the kernel takes nothing, one attempt is enough to know.
func TestOutboxAsksTheKernelOnce(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.post(0, 10, now)
		m.post(0, 10, now)
		if got := m.kernel.tries; got > 1 {
			t.Errorf("got %d writes that do not block, want at most 1", got)
		}
	})
}

func TestOutboxAnswersPings(t *testing.T) {
	for _, test := range []struct {
		name  string
		pings []uint64
		want  uint64
	}{
		{"zero", []uint64{0}, 0},
		{"the last answers for all", []uint64{5, 6, 7}, 7},
		{"in no order", []uint64{5, 7, 6}, 7},
		{"zero after others", []uint64{3, 0}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			forms(t, 1<<20, math.MaxInt32, func(t *testing.T, m *mailbox) {
				for _, sequence := range test.pings {
					m.answerPing(sequence)
				}
				m.flushAll()
				b := m.kernel.state().bytes
				if len(b) != wire.HeaderSize {
					t.Fatalf("got %d bytes, want one PONG", len(b))
				}
				if h, err := wire.ParseHeader(b); err != nil || h.Type != wire.Pong || h.ID != test.want {
					t.Errorf("got %v %d, %v, want PONG %d", h.Type, h.ID, err, test.want)
				}
				m.asked = math.MaxInt64
			})
		})
	}
}

// TestOutboxAsks: a PING goes before data; while it waits, the next one takes its
// place, and it is known that the kernel has not taken it.
func TestOutboxAsks(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.post(0, 2*copyLimit, now) // under way
		m.post(0, 100, now)
		m.ask()
		m.ask()
		m.ask()
		m.ping(9)
		if !m.pingWaits() {
			t.Error("the kernel takes nothing, want it known that the PING waits")
		}
		m.grow(m.listed[0].size() + wire.HeaderSize + wire.HeaderSize/2)
		if !m.pingWaits() {
			t.Error("half of the PING is taken, want it known that it waits")
		}
		m.grow(math.MaxInt32)
		m.check()
		if m.pingWaits() {
			t.Error("the PING is taken, want nothing that waits")
		}
		if got, want := m.order(), []string{"REQUEST 1", "PONG 9", "PING 3", "REQUEST 2"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		m.ask()
		if got, want := m.order(), []string{"REQUEST 1", "PONG 9", "PING 3", "REQUEST 2", "PING 4"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		m.end(errClosed)
		m.ask()
		if m.pingWaits() {
			t.Error("got a PING that waits after the end, want none")
		}
	})
}

// TestOutboxGreetsFirst: a PING whose time has come before HELLO was written does not
// overtake it. The peer would take it for another protocol.
func TestOutboxGreetsFirst(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.say(wire.Hello, 0)
		m.ask()
		m.grow(math.MaxInt32)
		m.check()
		if got := m.read(m.kernel.state()).frames; len(got) != 2 || got[0].Type != wire.Hello || got[1].Type != wire.Ping {
			t.Errorf("got %v, want HELLO, PING", m.order())
		}
	})
}

// order returns the frames that the kernel was given, by type and id.
func (m *mailbox) order() []string {
	m.t.Helper()
	var got []string
	for _, f := range m.read(m.kernel.state()).frames {
		got = append(got, fmt.Sprint(f.Type, " ", f.ID))
	}
	return got
}

func TestOutboxChunksByTurns(t *testing.T) {
	forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
		m.chunked = true
		m.post(3, 3*chunkBody, now)     // its first frame is under way
		m.post(300, 2*chunkBody+1, now) // with names that do not fit in front
		m.grow(1)
		small := m.post(3, 5, now)
		m.grow(m.listed[0].size() + m.listed[1].size() + small.size() - 1)
		m.check()
		m.post(3, 40_000, now)
		m.post(3, 40_000, now)
		m.ping(9)
		m.grow(math.MaxInt32)
		m.check()
		want := []string{"REQUEST 1", "CHUNK 1", "PONG 9", "REQUEST 2", "REQUEST 3", "CHUNK 1", "REQUEST 4", "CHUNK 2", "REQUEST 5", "CHUNK 1", "CHUNK 2", "CHUNK 2"}
		if got := m.order(); !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}

// A request that is given up goes no further than the chunk being written.
func TestOutboxCancelEndsChunks(t *testing.T) {
	for _, test := range []struct {
		name string
		room int
		want []string
	}{
		{"first frame not sent", 0, []string{"REQUEST 1", "REQUEST 2", "CANCEL 2"}},
		{"in a chunk", 1000, []string{"REQUEST 1", "REQUEST 2", "CHUNK 2", "CANCEL 2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			forms(t, 1<<20, 0, func(t *testing.T, m *mailbox) {
				m.chunked = true
				m.post(0, 10, now)
				l := m.post(3, 5*chunkBody, now)
				m.grow(test.room)
				m.withdraw(l)
				m.check()
				m.grow(math.MaxInt32)
				m.check()
				if got := m.order(); !slices.Equal(got, test.want) {
					t.Errorf("got %v, want %v", got, test.want)
				}
				if m.large.queued != 0 {
					t.Errorf("got %d bytes still counted, want 0", m.large.queued)
				}
			})
		})
	}
}

// Large bodies that wait for room keep no small frame waiting.
func TestOutboxLargeBodiesHaveTheirOwnRoom(t *testing.T) {
	forms(t, segmentSize, 0, func(t *testing.T, m *mailbox) {
		m.chunked = true
		m.post(3, 10*chunkBody, now) // alone it may
		large := m.post(3, 2*chunkBody, now)
		small := m.post(3, 100, now)
		if large.done || !small.done || small.err != nil {
			t.Errorf("got large %v, small %v %v; want the large one to wait, the small one accepted", large.done, small.done, small.err)
		}
		if !m.full() || m.fullFor(&outgoing{}) || !m.fullFor(&outgoing{large: true}) {
			t.Error("want full for large bodies, and for those only")
		}
		m.check()
		m.grow(math.MaxInt32)
		m.check()
	})
}

// Towards a peer that takes no chunks large bodies leave whole.
func TestOutboxWithoutChunks(t *testing.T) {
	forms(t, 1<<20, math.MaxInt32, func(t *testing.T, m *mailbox) {
		m.post(3, 3*chunkBody, now)
		m.check()
		if got, want := m.order(), []string{"REQUEST 1"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
