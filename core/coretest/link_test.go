package coretest_test

import (
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

// TestForget: of a connection that is forgotten nothing arrives any more, its end
// included, not even after Heal; a new one works.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link, consumer, provider := connect(t)
		r := read(provider)
		consumer.Write([]byte("one"))
		link.Forget()
		if n, err := consumer.Write([]byte("two")); n != 3 || err != nil {
			t.Errorf("got %d, %v, want a write that succeeds", n, err)
		}
		consumer.Close()
		link.Heal()
		synctest.Wait()
		select {
		case <-r.done:
			t.Error("got the end, want none")
		default:
		}
		if got := link.Conns(); got != 1 {
			t.Errorf("got %d connections, want the half", got)
		}
		provider.Close()
		<-r.done
		if string(r.got) != "one" {
			t.Errorf("got %q, want %q", r.got, "one")
		}
		if got := link.Conns(); got != 0 {
			t.Errorf("got %d connections, want none", got)
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
