package core_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

const (
	httpResponse = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
	tlsHello     = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and some random bytes"
)

// damaged returns a HELLO with one bit of its header wrong.
func damaged() []byte {
	b := coretest.AppendFrame(nil, coretest.Frame{Type: coretest.TypeHello, Body: []byte("body")})
	b[9] ^= 1
	return b
}

// TestProviderMeetsStrangers: whoever does not speak the protocol is disconnected,
// told why if it can understand it, and nobody else notices.
func TestProviderMeetsStrangers(t *testing.T) {
	hello := coretest.Hello{Serializers: []string{"json"}}
	for _, tt := range []struct {
		name   string
		speak  func(p *coretest.Peer) error
		after  time.Duration // until the end of the connection
		reason string        // that the provider logs
		cause  string
		goaway coretest.Frame // that comes in place of HELLO; Type 0: none
	}{
		{"silence", func(*coretest.Peer) error { return nil }, 3 * time.Second, spi.ReasonConnecting, "no HELLO within the handshake timeout", coretest.Frame{}},
		{"half a header", func(p *coretest.Peer) error { return p.WriteRaw(damaged()[:10]) }, 3 * time.Second, spi.ReasonConnecting, "no HELLO within the handshake timeout", coretest.Frame{}},
		{"half a HELLO", func(p *coretest.Peer) error {
			b := coretest.AppendFrame(nil, coretest.Frame{Type: coretest.TypeHello, Body: make([]byte, 100)})
			return p.WriteRaw(b[:60])
		}, 3 * time.Second, spi.ReasonConnecting, "no HELLO within the handshake timeout", coretest.Frame{}},
		{"another protocol", func(p *coretest.Peer) error { return p.WriteRaw([]byte("SSH-2.0-OpenSSH_9.9\r\n")) }, 0, spi.ReasonProtocolError, "not a bhrpc frame", coretest.Frame{}},
		{"half a method", func(p *coretest.Peer) error { return p.WriteRaw([]byte("GET")) }, 3 * time.Second, spi.ReasonConnecting, "no HELLO within the handshake timeout", coretest.Frame{}},
		{"TLS", func(p *coretest.Peer) error { return p.WriteRaw([]byte(tlsHello)[:20]) }, 0, spi.ReasonProtocolError, "TLS is not configured here",
			coretest.GoAway(coretest.GoAwayProtocol, "TLS is not configured here")},
		{"damaged header", func(p *coretest.Peer) error { return p.WriteRaw(damaged()) }, 0, spi.ReasonProtocolError, "damaged frame header", coretest.Frame{}},
		{"request first", func(p *coretest.Peer) error { return p.Write(coretest.Request(1<<20, "echo", "Say", nil)) }, 0, spi.ReasonProtocolError, "REQUEST before HELLO", coretest.Frame{}},
		{"malformed HELLO", func(p *coretest.Peer) error {
			return p.Write(coretest.Frame{Type: coretest.TypeHello, Body: []byte{1}})
		}, 0, spi.ReasonProtocolError, "HELLO: a field runs past the end", coretest.Frame{}},
		{"large HELLO", func(p *coretest.Peer) error {
			return p.WriteRaw(coretest.AppendFrame(nil, coretest.Frame{Type: coretest.TypeHello, Body: make([]byte, 16<<10+1)})[:coretest.HeaderSize])
		}, 0, spi.ReasonProtocolError, "frame larger than the limits", coretest.Frame{}},
		{"goaway", func(p *coretest.Peer) error { return p.Write(coretest.GoAway(coretest.GoAwayProtocol, "no, you")) }, 0, spi.ReasonProtocolError, "refused: no, you", coretest.Frame{}},
		{"later version", func(p *coretest.Peer) error {
			return p.SayHello(coretest.Hello{Serializers: []string{"json"}, MinVersion: 2, MaxVersion: 3})
		}, 0, spi.ReasonProtocolError, "protocol versions 2 to 3", coretest.GoAway(coretest.GoAwayIncompatible, "protocol versions 2 to 3 are not spoken here, only 1")},
		{"small limits", func(p *coretest.Peer) error { return p.SayHello(coretest.Hello{MaxMessage: 1000}) }, 0, spi.ReasonProtocolError, "limits of 1000 and 65536 bytes",
			coretest.GoAway(coretest.GoAwayProtocol, "limits of 1000 and 65536 bytes are below 65536 and 1024")},
		{"second HELLO", func(p *coretest.Peer) error {
			if _, err := p.BeConsumer(hello); err != nil {
				return err
			}
			return p.SayHello(hello)
		}, 0, spi.ReasonProtocolError, "a second HELLO", coretest.Frame{}},
		{"an answer", func(p *coretest.Peer) error {
			if _, err := p.BeConsumer(hello); err != nil {
				return err
			}
			return p.Write(coretest.Failure(1, spi.Internal, ""))
		}, 0, spi.ReasonProtocolError, "ERROR from a consumer", coretest.Frame{}},
		{"a method out of turn", func(p *coretest.Peer) error {
			if _, err := p.BeConsumer(hello); err != nil {
				return err
			}
			return p.Write(coretest.Frame{Type: coretest.TypeRequest, ID: 1, Metadata: []byte{1, 1, 7}})
		}, 0, spi.ReasonProtocolError, "method 7 was never defined", coretest.Frame{}},
		{"an id twice", func(p *coretest.Peer) error {
			if _, err := p.BeConsumer(hello); err != nil {
				return err
			}
			b := coretest.AppendFrame(nil, coretest.Request(1<<20, "Gate", "Pass", []byte(`"x"`)))
			return p.WriteRaw(append(b, b...))
		}, 0, spi.ReasonProtocolError, "request id 1048576 is in use", coretest.Frame{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.provider("p:1", nil, echo{}, newGate().service())
				c := w.consumer(nil, "p:1")
				if _, err := invoke[string](t.Context(), c, "echo", "Say", "before"); err != nil {
					t.Fatal(err)
				}
				nc, err := w.network.Dial(t.Context(), "p:1")
				w.must(err)
				peer := coretest.NewPeer(nc)
				defer peer.Close()
				begin := time.Now()
				if err := tt.speak(peer); err != nil && !errors.Is(err, syscall.EPIPE) { // it need not be read to its end
					t.Fatal(err)
				}
				if tt.goaway.Type != 0 {
					if f := w.readAs(peer, coretest.TypeGoAway); f.Code != tt.goaway.Code || string(f.Body) != string(tt.goaway.Body) {
						t.Errorf("got %s, want %s", f, tt.goaway)
					}
				}
				if f, err := peer.Read(); err == nil {
					t.Errorf("got %s, want the end", f)
				}
				if got := time.Since(begin); got != tt.after {
					t.Errorf("got the end after %v, want %v", got, tt.after)
				}
				synctest.Wait()
				if got := p.ConnCount(); got != 1 {
					t.Errorf("got %d conns at the provider, want the other one only", got)
				}
				if got, err := invoke[string](t.Context(), c, "echo", "Say", "fine"); got != "fine" || err != nil {
					t.Errorf("got %q, %v, want the other consumer to go on", got, err)
				}
				var warned []*logrus.Entry
				for _, e := range w.logs.AllEntries() {
					if e.Level <= logrus.WarnLevel {
						warned = append(warned, e)
					}
				}
				if len(warned) != 1 || warned[0].Message != "disconnected a consumer" || warned[0].Data["consumer"] != "consumer:2" ||
					warned[0].Data["reason"] != tt.reason || !strings.Contains(warned[0].Data["cause"].(string), tt.cause) {
					t.Errorf("got warnings %v, want one with reason %s and cause %q", warned, tt.reason, tt.cause)
				}
			})
		})
	}
}

// TestConsumerMeetsStrangers: calls that wait for a connection learn what is wrong,
// exactly when it is known, and an endpoint that works is used in its place.
func TestConsumerMeetsStrangers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		speak func(p *coretest.Peer) error // after the consumer's HELLO
		after time.Duration
		want  failure
	}{
		{"silence", func(*coretest.Peer) error { return nil }, 3 * time.Second,
			failure{reason: spi.ReasonConnecting, message: "no HELLO within the handshake timeout", hint: "is that a bhrpc provider?"}},
		{"HTTP", func(p *coretest.Peer) error { return p.WriteRaw([]byte(httpResponse)) }, 0,
			failure{reason: spi.ReasonProtocolError, message: "protocol error: not a bhrpc frame", hint: "is that a bhrpc provider?"}},
		{"damaged header", func(p *coretest.Peer) error { return p.WriteRaw(damaged()) }, 0,
			failure{reason: spi.ReasonProtocolError, message: "protocol error: damaged frame header", hint: "is that a bhrpc provider?"}},
		{"closes", func(p *coretest.Peer) error { return p.Close() }, 0, failure{reason: spi.ReasonEOF, message: "the peer closed the connection", hint: "is that a bhrpc provider?"}},
		{"closes in a frame", func(p *coretest.Peer) error { return errors.Join(p.WriteRaw(damaged()[:10]), p.Close()) }, 0,
			failure{reason: spi.ReasonEOF, message: "the peer closed the connection in the middle of a frame", hint: "is that a bhrpc provider?"}},
		{"refuses", func(p *coretest.Peer) error {
			return p.Write(coretest.GoAway(coretest.GoAwayIncompatible, "protocol versions 1 to 1 are not spoken here, only 2"))
		}, 0,
			failure{reason: spi.ReasonProtocolError, message: "refused: protocol versions 1 to 1 are not spoken here, only 2", hint: "is that a bhrpc provider?"}},
		{"shuts down", func(p *coretest.Peer) error { return p.Write(coretest.GoAway(coretest.GoAwayShutdown, "")) }, 0, failure{reason: spi.ReasonGoAway, message: "the peer is shutting down"}},
		{"later version", func(p *coretest.Peer) error {
			if err := p.SayHello(coretest.Hello{Serializers: []string{"json"}, MinVersion: 2, MaxVersion: 3}); err != nil {
				return err
			}
			f, err := p.Await(coretest.TypeGoAway)
			if err == nil && (f.Code != coretest.GoAwayIncompatible || f.Message != "protocol versions 2 to 3 are not spoken here, only 1") {
				err = errors.New("got " + f.String() + ", want the reason")
			}
			return err
		}, 0, failure{reason: spi.ReasonProtocolError, message: "protocol error: protocol versions 2 to 3 are not spoken here, only 1", hint: "is that a bhrpc provider?"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := w.listen("bad:1")
				c := w.consumer(nil, "bad:1")
				nc, err := l.Accept()
				w.must(err)
				peer := coretest.NewPeer(nc)
				defer peer.Close()
				_, err = peer.ReadHello()
				w.must(err)
				begin := time.Now()
				alone := start[string](t.Context(), c, "echo", "Say", "x")
				synctest.Wait()
				if err := tt.speak(peer); err != nil && !errors.Is(err, syscall.EPIPE) {
					t.Fatal(err)
				}
				_, err = alone.wait()
				tt.want.code, tt.want.phase, tt.want.sent, tt.want.endpoint = spi.Unavailable, spi.PhaseHandshake, spi.SentNo, "bad:1"
				w.expect(err, tt.want)
				if got := time.Since(begin); got != tt.after {
					t.Errorf("got the error after %v, want %v", got, tt.after)
				}
				if !errors.Is(err, spi.ErrConnLost) {
					t.Errorf("got %v, want it to match spi.ErrConnLost", err)
				}
				if err := peer.AwaitEnd(); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Errorf("got %v, want the consumer to close", err)
				}
			})
		})
	}
}

// TestStrangerBesideProvider: nobody waits for a stranger where an endpoint works;
// a call that waits already goes on there when the handshake timeout is over.
func TestStrangerBesideProvider(t *testing.T) {
	for _, tt := range []struct {
		name string
		late bool // the provider shakes hands only when the call waits for the stranger
		want time.Duration
	}{{"up first", false, 0}, {"up later", true, 2 * time.Second}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.listen("bad:1") // takes connections, and never says a word
				l, p := w.listen("good:1"), w.newProvider(nil, echo{})
				if !tt.late {
					w.serve(p, l)
				}
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					cfg.LoadBalancer = inOrder{}
					cfg.HandshakeTimeout = spi.Duration(2 * time.Second)
				}, "bad:1", "good:1")
				synctest.Wait()
				begin := time.Now()
				call := start[string](t.Context(), c, "echo", "Say", "x")
				synctest.Wait()
				if tt.late {
					w.serve(p, l)
				}
				if got, err := call.wait(); got != "x" || err != nil || call.call.Peer != "good:1" {
					t.Errorf("got %q, %v from %s, want x from good:1", got, err, call.call.Peer)
				}
				if got := time.Since(begin); got != tt.want {
					t.Errorf("got the answer after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// TestDialTimeout: an address that swallows what is sent there.
func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
			}
		}, "void:1")
		begin := time.Now()
		_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "void:1", message: "no answer within 3s", hint: "is the provider started?"})
		if got := time.Since(begin); got != 3*time.Second {
			t.Errorf("got the error after %v, want the dial timeout of 3s", got)
		}
	})
}

// Who has no descriptors left is not asked about the provider.
func TestDialWithoutDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Dial = func(context.Context, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
			}
		}, "p:1")
		_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseDial, sent: spi.SentNo, endpoint: "p:1",
			message: "too many open files", hint: "this process has as many descriptors as it may"})
	})
}
