package coretest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
)

const address = "stock:7070"

// connect returns both ends of one connection over a Network of its own.
func connect(t *testing.T) (link *coretest.Link, consumer, provider net.Conn) {
	t.Helper()
	network := new(coretest.Network)
	t.Cleanup(func() { network.Close() })
	l, err := network.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err = network.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	provider, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return network.Link(address), consumer, provider
}

// reading collects what arrives at nc until its end.
type reading struct {
	got  []byte
	err  error
	done chan struct{}
}

func read(nc net.Conn) *reading {
	r := &reading{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		b := make([]byte, 16)
		for r.err == nil {
			var n int
			n, r.err = nc.Read(b)
			r.got = append(r.got, b[:n]...)
		}
	}()
	return r
}

func TestNetworkCarriesBytesBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, consumer, provider := connect(t)
		for _, way := range []struct{ from, to net.Conn }{{consumer, provider}, {provider, consumer}} {
			r := read(way.to)
			if n, err := way.from.Write([]byte("some bytes in one piece")); n != 23 || err != nil {
				t.Errorf("got %d, %v, want 23 bytes written", n, err)
			}
			if n, err := way.from.Write(nil); n != 0 || err != nil {
				t.Errorf("got %d, %v, want nothing written", n, err)
			}
			way.to.SetReadDeadline(time.Now())
			<-r.done
			way.to.SetReadDeadline(time.Time{})
			if string(r.got) != "some bytes in one piece" || !errors.Is(r.err, os.ErrDeadlineExceeded) {
				t.Errorf("got %q, %v, want all bytes and the deadline", r.got, r.err)
			}
		}
		if got, want := consumer.LocalAddr().String()+" "+consumer.RemoteAddr().String(), "consumer:1 "+address; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := provider.LocalAddr().String()+" "+provider.RemoteAddr().String(), address+" consumer:1"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := provider.RemoteAddr().Network(); got != "memory" {
			t.Errorf("got network %s, want memory", got)
		}

		r := read(provider)
		consumer.Close()
		<-r.done
		if r.err != io.EOF {
			t.Errorf("got %v, want EOF", r.err)
		}
		if _, err := provider.Write([]byte("late")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("got %v, want a broken pipe", err)
		}
		if _, err := consumer.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		if _, err := consumer.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		for name, err := range map[string]error{"close": consumer.Close(), "set": consumer.SetDeadline(time.Time{})} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s again: got %v, want net.ErrClosed", name, err)
			}
		}
		if got := link.Conns(); got != 1 {
			t.Errorf("got %d conns with one end open, want 1", got)
		}
		provider.Close()
		if got := link.Conns(); got != 0 {
			t.Errorf("got %d conns after both ends were closed, want 0", got)
		}
	})
}

func TestNetworkRefuses(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name    string
		prepare func(n *coretest.Network)
		ctx     context.Context
		want    error
	}{
		{"unknown address", func(n *coretest.Network) {}, context.Background(), syscall.ECONNREFUSED},
		{"told to refuse", func(n *coretest.Network) { listen(n); n.Link(address).Refuse() }, context.Background(), syscall.ECONNREFUSED},
		{"listener closed", func(n *coretest.Network) { listen(n).Close() }, context.Background(), syscall.ECONNREFUSED},
		{"healed", func(n *coretest.Network) { listen(n); n.Link(address).Refuse(); n.Link(address).Heal() }, context.Background(), nil},
		{"context ended", func(n *coretest.Network) { listen(n) }, ended, context.Canceled},
		{"network closed", func(n *coretest.Network) { listen(n); n.Close() }, context.Background(), net.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var network coretest.Network
			defer network.Close()
			tt.prepare(&network)
			_, err := network.Dial(tt.ctx, address)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got := network.Link(address).Dials(); got != 1 {
				t.Errorf("got %d dials counted, want 1", got)
			}
		})
	}
}

// listen is for an address that is free.
func listen(n *coretest.Network) net.Listener {
	l, err := n.Listen(address)
	if err != nil {
		panic(err)
	}
	return l
}

func TestListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network coretest.Network
		defer network.Close()
		first := listen(&network)
		if got := first.Addr().String(); got != address {
			t.Errorf("got address %s, want %s", got, address)
		}
		if _, err := network.Listen(address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("got %v, want the address in use", err)
		}
		if _, err := network.Listen(""); err == nil {
			t.Error("got no error, want one about the empty address")
		}
		accepted := make(chan error)
		go func() { _, err := first.Accept(); accepted <- err }()
		synctest.Wait()
		if _, err := network.Dial(t.Context(), address); err != nil {
			t.Fatal(err)
		}
		if err := <-accepted; err != nil {
			t.Errorf("got %v, want a connection", err)
		}

		waiting, err := network.Dial(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = first.Accept(); _, err := first.Accept(); accepted <- err }()
		synctest.Wait() // the first Accept has taken it
		left, err := network.Dial(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-accepted; err != nil {
			t.Errorf("got %v, want the second connection", err)
		}
		pending, err := network.Dial(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		if err := first.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		if _, err := pending.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("got %v from a connection that nobody accepted, want a reset", err)
		}
		if got := network.Link(address).Conns(); got != 3 {
			t.Errorf("got %d conns, want those 3 that were accepted", got)
		}
		listen(&network) // the address is free again
		network.Close()
		for _, nc := range []net.Conn{waiting, left} {
			if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v after the network was closed, want a reset", err)
			}
		}
		if _, err := network.Listen("other"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		network.Close()
	})
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, consumer, provider := connect(t)
		r := read(provider)
		link.ToProvider.Stall()
		wrote := make(chan error)
		go func() { _, err := consumer.Write([]byte("held")); wrote <- err }()
		go provider.Write([]byte("back"))
		back := make([]byte, 4)
		if _, err := io.ReadFull(consumer, back); err != nil || string(back) != "back" {
			t.Errorf("got %q, %v in the direction that is not stalled, want back", back, err)
		}
		synctest.Wait()
		if len(r.got) != 0 {
			t.Errorf("got %q while stalled, want nothing", r.got)
		}
		link.ToProvider.Resume()
		if err := <-wrote; err != nil {
			t.Errorf("got %v, want the write to go on", err)
		}
		synctest.Wait()
		if string(r.got) != "held" {
			t.Errorf("got %q after Resume, want held", r.got)
		}

		link.ToProvider.Stall()
		start := time.Now()
		consumer.SetWriteDeadline(start.Add(time.Minute))
		_, err := consumer.Write([]byte("never"))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("got %v after %v, want the deadline after 1m", err, time.Since(start))
		}
		consumer.SetWriteDeadline(time.Time{})
		go func() { _, err := consumer.Write([]byte("never")); wrote <- err }()
		synctest.Wait()
		consumer.SetWriteDeadline(time.Now().Add(time.Second)) // while it waits
		if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
		consumer.SetWriteDeadline(time.Time{})
		go func() { _, err := consumer.Write([]byte("never")); wrote <- err }()
		synctest.Wait()
		consumer.Close()
		if err := <-wrote; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		if _, err := consumer.Read(back); !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
		synctest.Wait()
		if r.err != nil {
			t.Errorf("got %v, want the end to be held back while stalled", r.err)
		}
		link.ToProvider.Resume()
		<-r.done
		if r.err != io.EOF || string(r.got) != "held" {
			t.Errorf("got %q, %v, want EOF after Resume and nothing of what failed", r.got, r.err)
		}
		provider.Close()
		if got := link.Conns(); got != 0 {
			t.Errorf("got %d conns, want 0", got)
		}
	})
}

// TestStallHidesBothEnds is a cable that was pulled: each side gives up by itself.
func TestStallHidesBothEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, consumer, provider := connect(t)
		link.ToConsumer.Stall()
		link.ToProvider.Drop()
		r := read(provider)
		consumer.Close()
		synctest.Wait()
		if r.err != nil {
			t.Errorf("got %v, want the provider to see nothing", r.err)
		}
		provider.Close()
		<-r.done
		if !errors.Is(r.err, net.ErrClosed) {
			t.Errorf("got %v, want net.ErrClosed", r.err)
		}
		if got := link.Conns(); got != 0 {
			t.Errorf("got %d conns, want 0", got)
		}
	})
}

func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, consumer, provider := connect(t)
		r := read(provider)
		consumer.Write([]byte("one "))
		link.ToProvider.Drop()
		if n, err := consumer.Write([]byte("two ")); n != 4 || err != nil {
			t.Errorf("got %d, %v, want a write that succeeds", n, err)
		}
		link.ToProvider.Resume()
		consumer.Write([]byte("three"))
		consumer.Close()
		<-r.done
		if string(r.got) != "one three" {
			t.Errorf("got %q, want %q", r.got, "one three")
		}
	})
}

func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, consumer, provider := connect(t)
		type result struct {
			n   int
			err error
		}
		wrote := make(chan result)
		go func() { n, err := consumer.Write([]byte("half of it")); wrote <- result{n, err} }()
		half := make([]byte, 5)
		if _, err := io.ReadFull(provider, half); err != nil {
			t.Fatal(err)
		}
		r := read(consumer)
		link.Cut()
		if got := <-wrote; got.n != 5 || !errors.Is(got.err, syscall.ECONNRESET) {
			t.Errorf("got %d, %v, want 5 bytes written and a reset", got.n, got.err)
		}
		if <-r.done; !errors.Is(r.err, syscall.ECONNRESET) {
			t.Errorf("got %v, want a reset", r.err)
		}
		for _, nc := range []net.Conn{consumer, provider} {
			if _, err := nc.Read(half); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v from Read, want a reset", err)
			}
			if _, err := nc.Write(half); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v from Write, want a reset", err)
			}
			if err := nc.Close(); err != nil {
				t.Errorf("got %v from Close, want nil", err)
			}
		}
		if got := link.Conns(); got != 0 {
			t.Errorf("got %d conns, want 0", got)
		}
	})
}

func TestCutAfter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  int64
		drop   bool
		heal   bool
		writes []string
		got    string // by the provider
		failed int    // index of the write that failed, and
		wrote  int    // what it had written
	}{
		{"in the middle", 6, false, false, []string{"1234", "5678"}, "123456", 1, 2},
		{"at the end of a write", 8, false, false, []string{"1234", "5678", "9"}, "12345678", 2, 0},
		{"at once", 0, false, false, []string{"1234"}, "", 0, 0},
		{"dropped bytes count", 6, true, false, []string{"1234", "5678"}, "", 1, 2},
		{"taken back", -1, false, false, []string{"1234", "5678"}, "12345678", -1, 0},
		{"healed", 6, false, true, []string{"1234", "5678"}, "12345678", -1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				link, consumer, provider := connect(t)
				r := read(provider)
				link.ToProvider.CutAfter(tt.after)
				if tt.drop {
					link.ToProvider.Drop()
				}
				if tt.heal {
					link.Heal()
				}
				failed, wrote := -1, 0
				for i, text := range tt.writes {
					n, err := consumer.Write([]byte(text))
					if err != nil {
						if failed, wrote = i, n; !errors.Is(err, syscall.ECONNRESET) {
							t.Errorf("got %v, want a reset", err)
						}
						break
					}
				}
				if failed != tt.failed || wrote != tt.wrote {
					t.Errorf("got write %d failed after %d bytes, want write %d after %d", failed, wrote, tt.failed, tt.wrote)
				}
				consumer.Close()
				<-r.done
				if string(r.got) != tt.got {
					t.Errorf("got %q, want %q", r.got, tt.got)
				}
			})
		})
	}
}

func TestCutAfterHappensOnce(t *testing.T) {
	for _, after := range []int64{0, 3, 5} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var network coretest.Network
				defer network.Close()
				l := listen(&network)
				network.Link(address).ToConsumer.CutAfter(after)
				for i := range 2 {
					consumer, err := network.Dial(t.Context(), address)
					if err != nil {
						t.Fatal(err)
					}
					provider, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					r := read(consumer)
					_, _ = provider.Write([]byte("12345"))
					provider.Close()
					<-r.done
					if cut := errors.Is(r.err, syscall.ECONNRESET); cut != (i == 0) {
						t.Errorf("connection %d: got %v, want only the first one cut", i, r.err)
					}
					consumer.Close()
				}
			})
		})
	}
}

func TestCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, consumer, provider := connect(t)
		r := read(provider)
		sent := []byte("abcdef")
		var offsets []int64
		link.ToProvider.Corrupt(func(offset int64, b []byte) {
			offsets = append(offsets, offset)
			if i := 8 - offset; i >= 0 && i < int64(len(b)) {
				b[i] ^= 0x20
			}
		})
		consumer.Write(sent)
		consumer.Write(sent)
		link.ToProvider.Corrupt(nil)
		consumer.Write(sent)
		consumer.Close()
		<-r.done
		if got, want := string(r.got), "abcdefabCdefabcdef"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if string(sent) != "abcdef" {
			t.Errorf("got %q in the sender's hands, want it unchanged", sent)
		}
		if len(offsets) != 2 || offsets[0] != 0 || offsets[1] != 6 {
			t.Errorf("got offsets %v, want 0 and 6", offsets)
		}
	})
}

// TestManyWriters: concurrent Writes arrive whole, one after the other.
func TestManyWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, consumer, provider := connect(t)
		r := read(provider)
		done := make(chan error)
		for i := range 8 {
			go func() {
				_, err := consumer.Write(bytes.Repeat([]byte{byte('a' + i)}, 40))
				done <- err
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		consumer.Close()
		<-r.done
		for i := 0; i+40 <= len(r.got); i += 40 {
			if piece := r.got[i : i+40]; !bytes.Equal(piece, bytes.Repeat(piece[:1], 40)) {
				t.Fatalf("got %q, want 40 bytes of one writer", piece)
			}
		}
		if len(r.got) != 320 {
			t.Errorf("got %d bytes, want 320", len(r.got))
		}
	})
}
