package link_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/internal/link"
)

// world is a link with a provider behind it, which the test plays.
type world struct {
	*link.Link
	t        *testing.T
	listener net.Listener
}

func newWorld(t *testing.T) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l, err := link.Listen(listener.Addr().String())
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(l.Close(), l.Close(), listener.Close())) })
	return &world{l, t, listener}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// end is one end of a connection through the link.
type end struct {
	*net.TCPConn
	t *testing.T
}

func (w *world) dial() end {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.Addr())
	must(w.t, err)
	w.t.Cleanup(func() { _ = nc.Close() })
	return end{nc.(*net.TCPConn), w.t}
}

func (w *world) accept() end {
	w.t.Helper()
	nc, err := w.listener.Accept()
	must(w.t, err)
	w.t.Cleanup(func() { _ = nc.Close() })
	return end{nc.(*net.TCPConn), w.t}
}

// connect returns the two ends of a connection that has carried something.
func (w *world) connect() (consumer, provider end) {
	w.t.Helper()
	consumer, provider = w.dial(), w.accept()
	consumer.send("hello")
	provider.receive("hello")
	return consumer, provider
}

func (e end) send(text string) {
	e.t.Helper()
	_, err := e.Write([]byte(text))
	must(e.t, err)
}

func (e end) receive(want string) {
	e.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(e, got); err != nil || string(got) != want {
		e.t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// hearsNothing fails the test if anything comes, the end of the connection included.
func (e end) hearsNothing() {
	e.t.Helper()
	must(e.t, e.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if n, err := e.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		e.t.Fatalf("got %d bytes, %v, want nothing", n, err)
	}
	must(e.t, e.SetReadDeadline(time.Time{}))
}

// ends fails the test unless the connection ends without another byte; with a reset
// if that is wanted.
func (e end) ends(reset bool) {
	e.t.Helper()
	if n, err := e.Read(make([]byte, 1)); n != 0 || err == nil || reset == (err == io.EOF) {
		e.t.Fatalf("got %d bytes, %v, want the end, reset=%t", n, err, reset)
	}
}

func TestPasses(t *testing.T) {
	w := newWorld(t)
	before := time.Now()
	consumer, provider := w.connect()
	provider.send("and back")
	consumer.receive("and back")
	must(t, consumer.CloseWrite())
	provider.ends(false)
	provider.send("the rest")
	must(t, provider.Close())
	consumer.receive("the rest")
	consumer.ends(false) // and what was handed on has been noted
	if got := w.Dials(); len(got) != 1 || got[0].Before(before) {
		t.Errorf("got dials %v, want one after %v", got, before)
	}
	if got := w.ToConsumer.LastByte(); !got.After(before) {
		t.Errorf("got %v as the time of the last byte, want one after %v", got, before)
	}
}

func TestFreeze(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.connect()
	w.Freeze()
	consumer.send("x")
	provider.send("y")
	other := w.dial()
	other.send("z")
	provider.hearsNothing()
	consumer.hearsNothing()
	w.Heal()
	provider.receive("x")
	consumer.receive("y")
	w.accept().receive("z")
}

func TestFreezeHidesTheEnd(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.connect()
	w.Freeze()
	must(t, consumer.SetLinger(0))
	must(t, consumer.Close())
	provider.hearsNothing()
	w.Heal()
	provider.ends(true)
}

// A peer that reads nothing does not keep a command from being obeyed.
func TestFreezeWhileWriting(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.connect()
	sent := make(chan int64, 1)
	go func() { // it ends with the connection
		n, _ := io.Copy(consumer, endless{})
		sent <- n
	}()
	provider.receive(string(make([]byte, 1<<20)))
	w.Freeze()
	w.Heal()
	provider.receive(string(make([]byte, 1<<20)))
	w.Cut()
	<-sent
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestDrop(t *testing.T) {
	for _, tt := range []struct {
		name string
		way  func(*world) *link.Way
		swap bool // the way that goes on is to the consumer
	}{
		{"to the consumer", func(w *world) *link.Way { return &w.ToConsumer }, false},
		{"to the provider", func(w *world) *link.Way { return &w.ToProvider }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			from, to := w.connect()
			if tt.swap {
				from, to = to, from
			}
			tt.way(w).Drop()
			from.hearsNothing()
			last := tt.way(w).LastByte()
			to.send("lost")
			from.send("passes")
			to.receive("passes")
			from.hearsNothing()
			if got := tt.way(w).LastByte(); got != last {
				t.Errorf("got a last byte at %v, want it at %v, before the drop", got, last)
			}
			must(t, to.CloseWrite()) // nor is that heard
			from.hearsNothing()
			w.Heal()
			from.ends(false)
		})
	}
}

func TestHalfOpen(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.connect()
	w.HalfOpen()
	consumer.send("x")
	must(t, consumer.SetLinger(0))
	must(t, consumer.Close())
	provider.hearsNothing()
	w.connect() // new connections pass
	w.Heal()
	provider.ends(true)
}

func TestSlow(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.connect()
	w.ToProvider.Slow(200) // 10 bytes in a slice
	begin := time.Now()
	consumer.send(string(make([]byte, 30)))
	provider.receive(string(make([]byte, 30)))
	if took := time.Since(begin); took < 100*time.Millisecond {
		t.Errorf("got 30 bytes in %v, want them at 200 in a second", took)
	}
	consumer.send(string(make([]byte, 1000)))
	w.Heal() // does not wait until they have dripped through
	provider.receive(string(make([]byte, 1000)))
}

func TestRefuse(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.connect()
	w.Refuse()
	nc, err := net.Dial("tcp", w.Addr())
	if err == nil { // the reset may come after it
		end{nc.(*net.TCPConn), t}.ends(true)
		_ = nc.Close()
	}
	consumer.send("x")
	provider.receive("x")
	w.Heal()
	w.connect()
}

func TestCut(t *testing.T) {
	for _, state := range []string{"open", "frozen", "half-open"} {
		t.Run(state, func(t *testing.T) {
			w := newWorld(t)
			consumer, provider := w.connect()
			switch state {
			case "frozen":
				w.Freeze()
			case "half-open":
				w.HalfOpen()
			}
			consumer.hearsNothing()
			w.Cut()
			consumer.ends(true)
			provider.ends(true)
			w.Heal()
			w.connect()
		})
	}
}

// frame returns a frame of a type, with so many bytes behind its header.
func frame(kind byte, body int) string {
	b := make([]byte, 24+body)
	b[0], b[1], b[2] = 0xB4, 0x52, kind
	b[22], b[23] = byte(body>>8), byte(body)
	return string(b)
}

func TestCorruptDamagesTheNextHeader(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.dial(), w.accept()
	first, second := frame(2, 1000), frame(3, 0)
	consumer.send(first[:500])
	provider.receive(first[:500])
	w.ToProvider.Corrupt()
	consumer.send(first[500:] + second + second)
	provider.receive(first[500:])
	got := make([]byte, 48)
	_, err := io.ReadFull(provider, got)
	must(t, err)
	damaged := 0
	for i := range 48 {
		if got[i] != (second + second)[i] {
			damaged++
		}
	}
	if damaged != 1 || slices.Equal(got[:24], []byte(second)) {
		t.Errorf("got %x, want one bit of the first frame flipped", got)
	}
	if w.ToProvider.Corrupted().IsZero() || !w.ToConsumer.Corrupted().IsZero() {
		t.Error("got no time of the damage, or one of the other way")
	}
}

func TestCorruptWithoutFrames(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.connect()
	w.ToProvider.Corrupt()
	consumer.send("x")
	provider.receive(string([]byte{'x' ^ 0x10}))
	consumer.send("x")
	provider.receive("x")
}

func TestAwaitPing(t *testing.T) {
	w := newWorld(t)
	consumer, provider := w.dial(), w.accept()
	seen := make(chan error, 1)
	consumer.send(frame(6, 0))
	provider.receive(frame(6, 0))
	must(t, provider.CloseWrite())
	consumer.ends(false)
	first := time.Now()
	go func() { seen <- w.ToProvider.AwaitPing(t.Context()) }()
	for done := false; !done; { // the call may not have begun when a PING passes
		consumer.send(frame(2, 10) + frame(6, 0))
		provider.receive(frame(2, 10) + frame(6, 0))
		select {
		case err := <-seen:
			must(t, err)
			done = true
		default:
		}
	}
	if last := w.ToProvider.LastPing(); !last.After(first) || last.After(w.ToProvider.LastFrame()) {
		t.Errorf("got the last PING at %v, want it after %v and not after the last frame at %v", last, first, w.ToProvider.LastFrame())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.ToConsumer.AwaitPing(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the error of the context", err)
	}
}

// Close returns when nothing is left, whatever the link was told before.
func TestClose(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(*world)
	}{
		{"whole", func(*world) {}},
		{"frozen", func(w *world) { w.Freeze() }},
		{"half-open", func(w *world) { w.HalfOpen() }},
		{"slow", func(w *world) { w.ToProvider.Slow(1) }}, // a byte in a second
		{"dropping", func(w *world) { w.ToProvider.Drop() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			consumer, provider := w.connect()
			tt.fault(w)
			if tt.name != "whole" {
				consumer.send("passes late, or never")
				provider.hearsNothing()
			}
			must(t, w.Close())
			consumer.ends(true)
			provider.ends(true)
			if _, err := net.Dial("tcp", w.Addr()); err == nil {
				t.Error("got a connection after Close, want none")
			}
		})
	}
}
