package core

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// script is a random program: bytes that are read as operations. Behind its end
// there are zeros.
type script []byte

func (s *script) next() int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b)
}

// scripts returns n programs, always the same ones.
func scripts(n, length int) []script {
	all := make([]script, n)
	for i := range all {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		all[i] = make(script, 1+random.IntN(length))
		for j := range all[i] {
			all[i][j] = byte(random.Uint32())
		}
	}
	return all
}

// sizes are bodies around every boundary of the outbox.
var sizes = [...]int{
	0, 1, 100, 1000, 4000, copyLimit - wire.HeaderSize - 1, copyLimit - wire.HeaderSize, copyLimit - wire.HeaderSize + 1,
	segmentSize/2 - wire.HeaderSize, chunkBody, chunkBody + 1, segmentSize, 2 * chunkBody, quantum - wire.HeaderSize, quantum - wire.HeaderSize + 1, quantum * 5 / 2,
}

// runOutbox runs one program on an outbox and checks everything after every step.
func runOutbox(t *testing.T, s script) {
	l := openLedger(t)
	defer l.settle()
	first := s.next()
	limits := [...]int{500, 10_000, segmentSize, 4 * quantum}
	m := newMailbox(t, newKernel(1000*(first>>4)), first&1 == 0, limits[first>>1&3])
	m.chunked = first&8 == 0
	defer m.end(errClosed)
	for step := 0; len(s) > 0 && step < 150; step++ {
		stepOutbox(m, &s)
		m.check()
	}
	if m.err != nil || s.next()&1 == 0 {
		return
	}
	m.grow(math.MaxInt32)
	m.flushAll()
	m.check()
	for _, l := range m.posted {
		if !l.done {
			t.Errorf("letter %d: got still waiting, want sent", l.serial)
		}
	}
}

func stepOutbox(m *mailbox, s *script) {
	size := func() int { return sizes[s.next()%len(sizes)] }
	switch op := s.next() % 32; op {
	case 0, 1, 2, 3:
		m.post(s.next()%40, s.next(), now)
	case 4, 5, 6:
		m.post(s.next()%40, size(), now)
	case 7: // names that do not fit in front
		m.post(s.next()*2, size(), now)
	case 8, 9: // an answer of the reader's
		m.post(s.next()%40, size(), outgoing{})
	case 10:
		m.postLetter(&letter{head: 3, body: size(), refuse: errRefused}, now)
	case 11:
		m.post(3, size(), outgoing{wait: true, flush: true, yield: true, deadline: time.Now().Add(time.Second)})
	case 12:
		m.say(wire.Ping, s.next())
	case 13:
		m.ask()
	case 14, 15:
		m.ping(m.asked + 1 + uint64(s.next()%3))
	case 16, 17, 18:
		withdrawOne(m, s.next())
	case 19, 20:
		stopOne(m, s.next())
	case 21, 22, 23, 24:
		m.grow(s.next())
	case 25, 26:
		m.grow(s.next() * 2000)
	case 27, 28:
		m.flushAll()
	case 29:
		time.Sleep(time.Duration(s.next()) * 20 * time.Millisecond)
		synctest.Wait()
	case 30:
		endOne(m, s.next())
	default:
		m.flushAll()
	}
}

// withdrawOne cancels a letter that was accepted, if any is left.
func withdrawOne(m *mailbox, i int) {
	if len(m.listed) == 0 {
		return
	}
	if l := m.listed[i%len(m.listed)]; !l.canceled {
		m.withdraw(l)
	}
}

// stopOne ends the context of a letter that waits for room.
func stopOne(m *mailbox, i int) {
	var waiting []*letter
	for _, l := range m.posted {
		if !l.done {
			waiting = append(waiting, l)
		}
	}
	if len(waiting) == 0 {
		return
	}
	l := waiting[i%len(waiting)]
	l.stop()
	synctest.Wait()
	if !l.done || l.err != l.ctx.Err() {
		m.t.Fatalf("letter %d: got done %v, error %v, want %v", l.serial, l.done, l.err, l.ctx.Err())
	}
}

// endOne begins the end of a connection, in one of the ways there are.
func endOne(m *mailbox, how int) {
	switch how % 16 {
	case 0:
		m.kernel.fail(errKernel)
	case 1:
		_ = m.kernel.Close()
	case 2:
		m.finish(errGoAway)
	case 3:
		m.farewell()
	}
	synctest.Wait()
}

func TestOutboxModel(t *testing.T) {
	for _, s := range scripts(80, 250) {
		synctest.Test(t, func(t *testing.T) { runOutbox(t, s) })
	}
}

func FuzzOutbox(f *testing.F) {
	for _, s := range scripts(10, 200) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		synctest.Test(t, func(t *testing.T) { runOutbox(t, program) })
	})
}
