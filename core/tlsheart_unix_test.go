//go:build unix

package core_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// tapped is a listener that shows what it accepts.
type tapped struct {
	net.Listener
	accepted chan *net.TCPConn
}

func (l tapped) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- nc.(*net.TCPConn)
	}
	return nc, err
}

// keepsAlive reports whether TCP's own heartbeat is on.
func (w *world) keepsAlive(nc *net.TCPConn) bool {
	w.Helper()
	rc, err := nc.SyscallConn()
	w.must(err)
	on := 0
	w.must(rc.Control(func(fd uintptr) { on, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) }))
	w.must(err)
	return on != 0
}

// TestDeathOverTCP: with TLS as without, the heartbeat takes the place of TCP's, and
// a provider resets a consumer that does not answer.
func TestDeathOverTCP(t *testing.T) {
	for _, test := range []struct {
		name    string
		secured bool
	}{{"plain", false}, {"TLS", true}} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.authority(t.TempDir())
			ended := make(chan core.Disconnected, 1)
			p := w.newProvider(func(cfg *core.ProviderConfig) {
				cfg.Heartbeat = w.strikes(100 * time.Millisecond)
				cfg.Observers = []*core.Observer{{Disconnected: func(d core.Disconnected) { ended <- d }}}
				if test.secured {
					cfg.TLS.Cert, cfg.TLS.Key = a.issue("server", 2, time.Hour)
				}
			}, echo{})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			w.must(err)
			tap := tapped{l, make(chan *net.TCPConn, 1)}
			w.serve(p, tap)
			nc, err := net.Dial("tcp", l.Addr().String())
			w.must(err)
			defer nc.Close()
			near := <-tap.accepted
			if test.secured {
				pool := x509.NewCertPool()
				pool.AddCert(a.cert)
				nc = tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"})
			}
			peer := coretest.NewPeer(nc)
			_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json"}})
			w.must(err)
			if _, err = peer.Await(coretest.TypePing); err != nil {
				t.Fatal(err)
			}
			if w.keepsAlive(near) {
				t.Error("TCP's own heartbeat is on beside this one")
			}
			for err == nil {
				_, err = peer.Read()
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a reset: what the kernel holds is for nobody", err)
			}
			if d := <-ended; d.Reason != spi.ReasonHeartbeatTimeout || d.Strikes != 3 {
				t.Errorf("got %s after %d strikes, want heartbeat_timeout after 3", d.Reason, d.Strikes)
			}
		})
	}
}
