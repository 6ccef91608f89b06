package coretest_test

import (
	"bytes"
	"context"
	"errors"
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
