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
	own    uint64          // the last PING of this side's own
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
	large    bool // its body leaves in chunks
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

// size is what the letter takes in the stream, but for chunks.
func (l *letter) size() int {
	if l.large {
		return wire.HeaderSize + len(l.metadata())
	}
	return wire.HeaderSize + l.head + l.body
}

// metadata is that of its first frame.
func (l *letter) metadata() []byte {
	b := slices.Clone(letterBytes(-l.serial, l.head))
	if l.large {
		b = wire.AppendWhole(b, uint32(l.body))
	}
	return b
}

// inChunks is what a body takes in chunks.
func inChunks(body int) int { return body + (body+chunkBody-1)/chunkBody*wire.HeaderSize }

// post sends a letter in a goroutine of its own and returns when that has returned
// or waits for room.
func (m *mailbox) post(head, body int, f outgoing) *letter {
	return m.postLetter(&letter{head: head, body: body}, f)
}

func (m *mailbox) postLetter(l *letter, f outgoing) *letter {
	l.box, l.serial = m, len(m.posted)+1
	l.ctx, l.stop = context.WithCancel(context.Background())
	m.posted = append(m.posted, l)
	l.wait, l.large = f.wait, m.chunked && l.body > chunkBody
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
	defer m.checkDropped(l)
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

// checkDropped: of a request that was withdrawn no chunk waits.
func (m *mailbox) checkDropped(l *letter) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range slices.Concat(m.bulks.behind, m.bulks.ring) {
		if b.id == l.id {
			m.t.Fatalf("request %d, which was canceled: got %d bytes that wait, want none", l.id, b.left())
		}
	}
}

// spoken is the id of what say sends.
const spoken = 1 << 40

func (m *mailbox) say(t wire.Type, body int) {
	m.sendControl(wire.Header{Type: t, ID: spoken}, make([]byte, body))
	m.lazy = true
}

func (m *mailbox) ping(sequence uint64) {
	m.answerPing(sequence)
	m.asked = max(m.asked, sequence)
	m.lazy = true
}

// ask queues a PING of this side's own.
func (m *mailbox) ask() {
	m.own++
	m.askPing(m.own)
	synctest.Wait()
}

// pingWaits reports that one is not with the kernel yet.
func (m *mailbox) pingWaits() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pinging || m.asking
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
	if m.bulks.writing != nil || len(m.bulks.behind) != 0 || len(m.bulks.ring) != 0 {
		m.t.Errorf("after close: got %+v, want no large bodies", m.bulks)
	}
	if m.flushing || len(m.small.waiting)+len(m.large.waiting) != 0 || m.current.buffer != nil || len(m.segments) != 0 || len(m.control) != 0 {
		m.t.Errorf("after close: got flushing %v, %d waiting, %d segments, %d bytes of control; want nothing", m.flushing, len(m.small.waiting), len(m.segments), len(m.control))
	}
}

// stream is what the kernel was given, cut into frames.
type stream struct {
	frames      []wire.Header // the last may be cut off
	begun       map[uint64]bool
	data, reach int // bytes of data handed over, and with those offered, but for chunks

	parts   map[uint64]int // bytes of the body in chunks that have begun
	handed  int            // bytes of chunks handed over
	started int            // bytes of the last chunk that are not
	of      uint64         // whose chunk that is
}

// read checks every byte of every letter on the way.
func (m *mailbox) read(h handed) stream {
	m.t.Helper()
	s := stream{begun: make(map[uint64]bool), parts: make(map[uint64]int)}
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
		if f.Type == wire.Chunk {
			m.checkChunk(s, f, b[wire.HeaderSize:min(size, len(b))], m.proven-at-wire.HeaderSize)
			s.parts[f.ID] += int(f.Body)
			done := min(size, max(h.took-at, 0))
			s.handed += done
			s.started, s.of = size-done, f.ID
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
	want := l.metadata()
	body := l.body
	if l.large {
		body = 0
	}
	if int(h.Metadata) != len(want) || int(h.Body) != body || (h.Flags&wire.FlagMore != 0) != l.large {
		m.t.Fatalf("frame %d: got %d+%d bytes, flags %#x, want %d+%d, large %v", h.ID, h.Metadata, h.Body, h.Flags, len(want), body, l.large)
	}
	m.compare(h, payload, append(want, letterBytes(l.serial, body)...), from)
}

// checkChunk does that for the next part of a body.
func (m *mailbox) checkChunk(s stream, h wire.Header, payload []byte, from int) {
	m.t.Helper()
	if !s.begun[h.ID] {
		m.t.Fatalf("got a chunk of request %d before its first frame", h.ID)
	}
	l, at := m.listed[h.ID-1], s.parts[h.ID]
	if h.Body == 0 || int(h.Body) > chunkBody || at+int(h.Body) > l.body || (h.Flags&wire.FlagMore != 0) != (at+int(h.Body) < l.body) {
		m.t.Fatalf("chunk of request %d: got %d bytes at %d of %d, flags %#x", h.ID, h.Body, at, l.body, h.Flags)
	}
	m.compare(h, payload, letterBytes(l.serial, l.body)[at:], from)
}

// compare looks at what was not compared before.
func (m *mailbox) compare(h wire.Header, payload, want []byte, from int) {
	m.t.Helper()
	if from = max(from, 0); from >= len(payload) {
		return
	}
	if got, want := payload[from:], want[from:len(payload)]; !bytes.Equal(got, want) {
		m.t.Fatalf("%s %d, from byte %d: got %.40x, want %.40x", h.Type, h.ID, from, got, want)
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
	accepted, chunks := 0, 0
	if s.started > 0 && m.listed[s.of-1].canceled {
		chunks = s.started
	}
	for _, l := range m.listed {
		accepted += l.size()
		if l.large && !l.canceled {
			chunks += inChunks(l.body) - inChunks(s.parts[l.id])
			if l.id == s.of {
				chunks += s.started
			}
		}
		if m.behind[l.id] {
			accepted += wire.HeaderSize
		}
	}
	if m.accepted != uint64(accepted) || m.reach != uint64(s.reach) || m.small.queued != accepted-s.data {
		m.t.Fatalf("got accepted %d, reach %d, queued %d; want %d, %d, %d", m.accepted, m.reach, m.small.queued, accepted, s.reach, accepted-s.data)
	}
	if m.large.queued != chunks {
		m.t.Fatalf("got %d bytes of chunks queued, want %d", m.large.queued, chunks)
	}
	m.mu.Lock() // also orders what was read here before what happens next
	defer m.mu.Unlock()
	m.checkWaiting()
	if h.open && !m.lazy && m.err == nil && (m.small.queued+m.large.queued > 0 || len(m.control) > 0 || m.pinged || m.pinging || m.asking || m.flushing) {
		m.t.Fatalf("got %d bytes of data, %d of control, pong %v, flushing %v, though the kernel takes more; want nothing left", m.small.queued, len(m.control), m.pinged, m.flushing)
	}
}

func (m *mailbox) checkOrder(s stream) {
	m.t.Helper()
	next, pong, ping := uint64(1), int64(-1), uint64(0)
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
		case wire.Chunk:
			if ended[f.ID] {
				m.t.Fatalf("frame %d of the stream: got a chunk of request %d after its CANCEL", i, f.ID)
			}
		case wire.Pong:
			if int64(f.ID) <= pong || f.ID > m.asked {
				m.t.Fatalf("got PONG %d after PONG %d and PING %d", f.ID, pong, m.asked)
			}
			pong = int64(f.ID)
		case wire.Ping:
			if f.ID == spoken {
				continue
			}
			if f.ID <= ping || f.ID > m.own {
				m.t.Fatalf("got PING %d after PING %d, of %d", f.ID, ping, m.own)
			}
			ping = f.ID
		}
	}
}

// checkWaiting: those who wait are in order, and the first has reason to. mu is
// held.
func (m *mailbox) checkWaiting() {
	m.t.Helper()
	for _, lane := range []*lane{&m.small, &m.large} {
		waiting := 0
		for _, l := range m.posted {
			if l.done && (l.err == nil) != (l.id != 0) {
				m.t.Fatalf("letter %d: got error %v with id %d", l.serial, l.err, l.id)
			}
			switch {
			case l.large != (lane == &m.large):
			case !l.done:
				waiting++
			case waiting > 0 && l.err == nil && l.wait:
				m.t.Fatalf("letter %d was accepted before one that waited longer", l.serial)
			}
		}
		if waiting != len(lane.waiting) {
			m.t.Fatalf("%d senders have not returned, %d wait for room", waiting, len(lane.waiting))
		}
		if m.err == nil && waiting > 0 && lane.fits(lane.waiting[0].need) {
			m.t.Fatalf("the first of %d senders waits for %d bytes, though only %d of %d are queued", waiting, lane.waiting[0].need, lane.queued, lane.limit)
		}
	}
}

var errRefused = errors.New("refused by the assigner")
