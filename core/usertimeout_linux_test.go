package core_test

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// TestUserTimeout: the kernel gives up after the heartbeat and the write timeout would
// have, so that these say what was wrong.
func TestUserTimeout(t *testing.T) {
	for _, test := range []struct {
		name  string
		every time.Duration // 0: no heartbeat
		write time.Duration
		want  time.Duration
	}{
		{"no heartbeat", 0, 0, 25 * time.Second},
		{"no heartbeat, long writes", 0, time.Minute, 61 * time.Second},
		{"by the heartbeat", 5 * time.Second, 0, 25100 * time.Millisecond},
		{"fast, by the write timeout of 1s", 100 * time.Millisecond, 0, 2 * time.Second},
		{"long writes", time.Second, time.Minute, 61 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			var strategy spi.Heartbeat
			if test.every > 0 {
				strategy = w.strikes(test.every)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			w.must(err)
			tap := tapped{l, make(chan *net.TCPConn, 1)}
			w.serve(w.newProvider(func(cfg *core.ProviderConfig) {
				cfg.Heartbeat, cfg.WriteTimeout = strategy, spi.Duration(test.write)
			}, echo{}), tap)
			dialled := make(chan *net.TCPConn, 1)
			c := w.consumer(func(cfg *core.ConsumerConfig) {
				cfg.Heartbeat, cfg.WriteTimeout = strategy, spi.Duration(test.write)
				cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
					nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
					if err == nil {
						dialled <- nc.(*net.TCPConn)
					}
					return nc, err
				}
			}, l.Addr().String())
			_, err = invoke[string](t.Context(), c, "echo", "Say", "x") // both are up
			w.must(err)
			for side, nc := range map[string]*net.TCPConn{"consumer": <-dialled, "provider": <-tap.accepted} {
				if got := w.userTimeout(nc); got != test.want {
					t.Errorf("got a user timeout of %v at the %s, want %v", got, side, test.want)
				}
			}
		})
	}
}

// TestUserTimeoutOfHTTP: a connection that turns out to speak HTTP has no heartbeat.
func TestUserTimeoutOfHTTP(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	tap := tapped{l, make(chan *net.TCPConn, 1)}
	w.serve(w.newProvider(func(cfg *core.ProviderConfig) { cfg.Heartbeat = w.strikes(100 * time.Millisecond) }, echo{}), tap)
	nc, err := net.Dial("tcp", l.Addr().String())
	w.must(err)
	defer nc.Close()
	_, err = io.WriteString(nc, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	w.must(err)
	_, err = nc.Read(make([]byte, 1))
	w.must(err)
	if got := w.userTimeout(<-tap.accepted); got != 25*time.Second {
		t.Errorf("got a user timeout of %v, want 25s", got)
	}
}

// userTimeout returns how long the kernel waits for an acknowledgement.
func (w *world) userTimeout(nc *net.TCPConn) time.Duration {
	w.Helper()
	rc, err := nc.SyscallConn()
	w.must(err)
	got := 0
	const tcpUserTimeout = 18 // of linux/tcp.h
	w.must(rc.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout) }))
	w.must(err)
	return time.Duration(got) * time.Millisecond
}
