package core

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// mailbox is an outbox, the kernel behind it, and all that was ever asked of it. It
// lives in a synctest bubble, and its methods return when everything has settled.
type mailbox struct {
	outbox
	t      testing.TB
	kernel *kernel
	posted []*letter       // in the order of sending; done and err of each are guarded by mu
	listed []*letter       // those accepted, in the order of the stream
	behind map[uint64]bool // requests whose CANCEL waits its turn among the data
	broken []error         // what fail was told
	asked  uint64          // the highest PING to answer
	lazy   bool            // something may have been queued without a flush
	proven int             // bytes of the stream whose content was compared
}

// letter is one data frame, and its own assigner.
type letter struct {
	box    *mailbox
	serial int   // its bytes are made from it
	head   int   // bytes that assign adds
	body   int   // bytes of body
	wait   bool  // for room
	refuse error // what assign returns

	ctx      context.Context
	stop     context.CancelFunc
	done     bool // send has returned err
	err      error
	id       uint64 // 0: not accepted
	position uint64
	canceled bool
}

const mailboxTimeout = 10 * time.Second

func newMailbox(t testing.TB, k *kernel, raw bool, limit int) *mailbox {
	m := &mailbox{t: t, kernel: k, behind: make(map[uint64]bool)}
	m.init(k, nil, limit, mailboxTimeout, func(err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.broken = append(m.broken, err)
	})
	if raw {
		m.raw = rawKernel{k}
	}
	return m
}

// failures are what fail was told so far.
func (m *mailbox) failures() []error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.broken
}

// noise is where the content of letters is cut from.
var noise = func() []byte {
	b := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(b)
	return b
}()

// letterBytes are n bytes that only one serial has. They must not be modified.
func letterBytes(serial, n int) []byte { return noise[serial*131&0xffff:][:n] }

func (l *letter) assign(f *outgoing, head []byte, position uint64) ([]byte, error) {
	if l.refuse != nil {
		return nil, l.refuse
	}
	l.box.listed = append(l.box.listed, l)
	l.id, l.position = uint64(len(l.box.listed)), position
	f.ID = l.id
	return append(head, letterBytes(-l.serial, l.head)...), nil
}

// size is what the letter takes in the stream.
func (l *letter) size() int { return wire.HeaderSize + l.head + l.body }

// post sends a letter in a goroutine of its own and returns when that has returned
// or waits for room.
func (m *mailbox) post(head, body int, f outgoing) *letter {
	return m.postLetter(&letter{head: head, body: body}, f)
}

func (m *mailbox) postLetter(l *letter, f outgoing) *letter {
	l.box, l.serial = m, len(m.posted)+1
	l.ctx, l.stop = context.WithCancel(context.Background())
	m.posted = append(m.posted, l)
	l.wait = f.wait
	f.Type, f.assigner = wire.Request, l
	f.payload = newBuffer(headroom + l.body)
	f.payload.b = append(f.payload.b[:headroom], letterBytes(l.serial, l.body)...)
	go func() {
		err := m.send(l.ctx, &f)
		m.mu.Lock()
		defer m.mu.Unlock()
		l.err, l.done = err, true
	}()
	synctest.Wait()
	if l.id != 0 {
		m.lazy = !f.flush
	}
	return l
}

// withdraw cancels a letter that was accepted. It may have been sent unless it
// waits for good.
func (m *mailbox) withdraw(l *letter) {
	m.t.Helper()
	l.canceled = true
	want := m.sent(l.position)
	if m.err == nil {
		m.behind[l.id] = want == spi.SentNo
		want = spi.SentMaybe
	}
	if got := m.cancel(l.id, l.position); got != want {
		m.t.Fatalf("cancel of request %d: got sent %q, want %q", l.id, got, want)
	}
	m.lazy = false
	synctest.Wait()
}

func (m *mailbox) say(t wire.Type, body int) {
	m.sendControl(wire.Header{Type: t, ID: 1 << 40}, make([]byte, body))
	m.lazy = true
}

func (m *mailbox) ping(sequence uint64) {
	m.answerPing(sequence)
	m.asked = max(m.asked, sequence)
	m.lazy = true
}

func (m *mailbox) flushAll() {
	m.kick()
	m.lazy = false
	synctest.Wait()
}

func (m *mailbox) grow(n int) {
	m.kernel.grow(n)
	synctest.Wait()
}

// end closes the outbox as a connection does, and checks that nothing is left.
func (m *mailbox) end(cause error) {
	m.t.Helper()
	_ = m.kernel.Close()
	m.close(cause)
	synctest.Wait()
	m.check()
	for _, l := range m.posted {
		l.stop()
		if !l.done {
			m.t.Errorf("letter %d: got still waiting for room after close, want an error", l.serial)
		}
	}
	if m.flushing || len(m.waiting) != 0 || m.current.buffer != nil || len(m.segments) != 0 || len(m.control) != 0 {
		m.t.Errorf("after close: got flushing %v, %d waiting, %d segments, %d bytes of control; want nothing", m.flushing, len(m.waiting), len(m.segments), len(m.control))
	}
}

// stream is what the kernel was given, cut into frames.
type stream struct {
	frames      []wire.Header // the last may be cut off
	begun       map[uint64]bool
	data, reach int // bytes of data handed over, and with those offered
}

// read checks every byte of every letter on the way.
func (m *mailbox) read(h handed) stream {
	m.t.Helper()
	s := stream{begun: make(map[uint64]bool)}
	for at := 0; at < h.took+h.pending; {
		b := h.bytes[at:]
		if len(b) < wire.HeaderSize {
			m.t.Fatalf("a header is cut off after %d frames, and nothing completes it: %x", len(s.frames), b)
		}
		f, err := wire.ParseHeader(b)
		if err != nil {
			m.t.Fatalf("the stream is torn after %d frames: %v: %x", len(s.frames), err, b[:wire.HeaderSize])
		}
		s.frames = append(s.frames, f)
		size := int(wire.FrameSize(b))
		if f.Type == wire.Request {
			s.begun[f.ID] = true
			m.checkLetter(f, b[wire.HeaderSize:min(size, len(b))], m.proven-at-wire.HeaderSize)
		}
		if f.Type == wire.Request || f.Type == wire.Cancel && m.behind[f.ID] {
			s.data += min(size, max(h.took-at, 0))
			s.reach += min(size, h.took+h.pending-at)
		}
		at += size
	}
	m.proven = h.took
	return s
}

// checkLetter compares a payload, from byte from on, with what was posted.
func (m *mailbox) checkLetter(h wire.Header, payload []byte, from int) {
	m.t.Helper()
	if h.ID == 0 || h.ID > uint64(len(m.listed)) {
		m.t.Fatalf("got frame %d, of %d accepted", h.ID, len(m.listed))
	}
	l := m.listed[h.ID-1]
	if int(h.Metadata) != l.head || int(h.Body) != l.body {
		m.t.Fatalf("frame %d: got %d+%d bytes, want %d+%d", h.ID, h.Metadata, h.Body, l.head, l.body)
	}
	if from = max(from, 0); from >= len(payload) {
		return
	}
	want := append(slices.Clone(letterBytes(-l.serial, l.head)), letterBytes(l.serial, l.body)...)
	if got, want := payload[from:], want[from:len(payload)]; !bytes.Equal(got, want) {
		m.t.Fatalf("frame %d, from byte %d of %d: got %.40x, want %.40x", h.ID, from, l.head+l.body, got, want)
	}
}

// check compares all that can be seen with what was asked. Everything has settled.
func (m *mailbox) check() {
	m.t.Helper()
	h := m.kernel.state()
	s := m.read(h)
	m.checkOrder(s)
	for _, l := range m.listed {
		want := spi.SentNo
		if s.begun[l.id] {
			want = spi.SentMaybe
		}
		if got := m.sent(l.position); got != want {
			m.t.Fatalf("request %d at %d: got sent %q, want %q; the kernel took %d bytes and is offered %d", l.id, l.position, got, want, h.took, h.pending)
		}
	}
	accepted := 0
	for _, l := range m.listed {
		accepted += l.size()
		if m.behind[l.id] {
			accepted += wire.HeaderSize
		}
	}
	if m.accepted != uint64(accepted) || m.reach != uint64(s.reach) || m.queued != accepted-s.data {
		m.t.Fatalf("got accepted %d, reach %d, queued %d; want %d, %d, %d", m.accepted, m.reach, m.queued, accepted, s.reach, accepted-s.data)
	}
	m.mu.Lock() // also orders what was read here before what happens next
	defer m.mu.Unlock()
	m.checkWaiting()
	if h.open && !m.lazy && m.err == nil && (m.queued > 0 || len(m.control) > 0 || m.pinged || m.flushing) {
		m.t.Fatalf("got %d bytes of data, %d of control, pong %v, flushing %v, though the kernel takes more; want nothing left", m.queued, len(m.control), m.pinged, m.flushing)
	}
}

func (m *mailbox) checkOrder(s stream) {
	m.t.Helper()
	next, pong := uint64(1), int64(-1)
	ended := make(map[uint64]bool)
	for i, f := range s.frames {
		switch f.Type {
		case wire.Request:
			if f.ID != next {
				m.t.Fatalf("frame %d of the stream: got request %d, want %d", i, f.ID, next)
			}
			next++
		case wire.Cancel:
			if f.ID >= next || ended[f.ID] {
				m.t.Fatalf("frame %d of the stream: got CANCEL %d before request %d, or again", i, f.ID, next)
			}
			ended[f.ID] = true
		case wire.Pong:
			if int64(f.ID) <= pong || f.ID > m.asked {
				m.t.Fatalf("got PONG %d after PONG %d and PING %d", f.ID, pong, m.asked)
			}
			pong = int64(f.ID)
		}
	}
}

// checkWaiting: those who wait are in order, and the first has reason to. mu is
// held.
func (m *mailbox) checkWaiting() {
	m.t.Helper()
	waiting := 0
	for _, l := range m.posted {
		switch {
		case !l.done:
			waiting++
		case waiting > 0 && l.err == nil && l.wait:
			m.t.Fatalf("letter %d was accepted before one that waited longer", l.serial)
		}
		if l.done && (l.err == nil) != (l.id != 0) {
			m.t.Fatalf("letter %d: got error %v with id %d", l.serial, l.err, l.id)
		}
	}
	if waiting != len(m.waiting) {
		m.t.Fatalf("%d senders have not returned, %d wait for room", waiting, len(m.waiting))
	}
	if m.err == nil && waiting > 0 && m.fits(m.waiting[0].need) {
		m.t.Fatalf("the first of %d senders waits for %d bytes, though only %d of %d are queued", waiting, m.waiting[0].need, m.queued, m.limit)
	}
}

var errRefused = errors.New("refused by the assigner")
