package core_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// authority signs certificates.
type authority struct {
	*world
	file string // of its own certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (w *world) authority(dir string) *authority {
	a := &authority{world: w, file: filepath.Join(dir, "ca.pem")}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: dir}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	w.must(err)
	a.cert, err = x509.ParseCertificate(der)
	w.must(err)
	w.must(os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return a
}

// issue writes a certificate for localhost, p and 127.0.0.1, and its key.
func (a *authority) issue(name string, serial int64, valid time.Duration) (cert, key string) {
	a.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, URIs: []*url.URL{{Scheme: "spiffe", Host: "test", Path: "/" + name}}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
		DNSNames: []string{"localhost", "p"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	a.must(err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	a.must(err)
	dir := filepath.Dir(a.file)
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	a.must(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	for _, file := range []string{cert, key} { // not all kernels tell two writes within milliseconds apart
		a.must(os.Chtimes(file, time.Time{}, time.Unix(1e9+serial, 0)))
	}
	return cert, key
}

// overTCP serves on a port of the loopback interface until the test ends.
func (w *world) overTCP(edit func(*core.ProviderConfig), impls ...any) (p *core.Provider, address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	p = w.newProvider(edit, impls...)
	w.serve(p, l)
	return p, l.Addr().String()
}

// TestTLS: both protocols within TLS, consumers with a certificate and without, and
// a shutdown under it.
func TestTLS(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mutual  bool
		version string
	}{{"one side", false, "1.2"}, {"both sides", true, "1.3"}} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.authority(t.TempDir())
			cert, key := a.issue("server", 2, time.Hour)
			files := core.ProviderTLS{Cert: cert, Key: key, MinVersion: tt.version}
			own := core.ConsumerTLS{Enabled: true, CA: a.file}
			pool := x509.NewCertPool()
			pool.AddCert(a.cert)
			client := &tls.Config{RootCAs: pool}
			if tt.mutual {
				files.ClientCA = a.file
				own.Cert, own.Key = a.issue("client", 3, time.Hour)
				pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
				w.must(err)
				client.Certificates = []tls.Certificate{pair}
			}
			p, address := w.overTCP(func(cfg *core.ProviderConfig) { cfg.TLS = files }, echo{}, faulty{})
			c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial, cfg.TLS = nil, own }, address)
			if got, err := invoke[string](t.Context(), c, "echo", "Say", "secret"); got != "secret" || err != nil {
				t.Errorf("got %q, %v, want secret", got, err)
			}
			if got, err := invoke[string](t.Context(), c, "faulty", "Large", 1<<20); len(got) != 1<<20 || err != nil {
				t.Errorf("got %d bytes, %v, want a MiB", len(got), err)
			}
			transport := &http.Transport{TLSClientConfig: client}
			defer transport.CloseIdleConnections()
			answer, err := (&http.Client{Transport: transport}).Get("https://" + address + "/")
			w.must(err)
			text, err := io.ReadAll(answer.Body)
			w.must(err)
			w.must(answer.Body.Close())
			if want := "try: curl -s https://" + address + "/echo/Say"; !strings.Contains(string(text), want) {
				t.Errorf("got %s, want %s in it", text, want)
			}
			w.must(p.Shutdown(t.Context()))
			if got := w.logged(logrus.WarnLevel); len(got) > 1 || len(got) == 1 && got[0] != "warning cannot connect" {
				t.Errorf("got %q, want nothing but the consumer that tries again", got)
			}
		})
	}
}

// TestTLSRefusals: what is wrong is said at once, on the side that can change it.
func TestTLSRefusals(t *testing.T) {
	for _, tt := range []struct {
		name     string
		provider func(a, other *authority) core.ProviderTLS
		consumer func(a, other *authority) core.ConsumerTLS
		want     failure
		logged   string // reason of the provider
	}{
		{name: "an expired certificate",
			provider: func(a, _ *authority) core.ProviderTLS {
				cert, key := a.issue("old", 2, -time.Minute)
				return core.ProviderTLS{Cert: cert, Key: key}
			},
			want: failure{code: spi.Unauthenticated, reason: spi.ReasonCertificate, message: "certificate has expired", hint: "check consumer.tls.ca and server_name"}, logged: spi.ReasonCertificate},
		{name: "an unknown authority",
			consumer: func(_, other *authority) core.ConsumerTLS { return core.ConsumerTLS{Enabled: true, CA: other.file} },
			want:     failure{code: spi.Unauthenticated, reason: spi.ReasonCertificate, message: "certificate signed by unknown authority", hint: "check consumer.tls.ca and server_name"}, logged: spi.ReasonCertificate},
		{name: "another name",
			consumer: func(a, _ *authority) core.ConsumerTLS {
				return core.ConsumerTLS{Enabled: true, CA: a.file, ServerName: "shop.example"}
			},
			want: failure{code: spi.Unauthenticated, reason: spi.ReasonCertificate, message: "not shop.example", hint: "check consumer.tls.ca and server_name"}, logged: spi.ReasonCertificate},
		{name: "no certificate of the consumer",
			provider: func(a, _ *authority) core.ProviderTLS {
				cert, key := a.issue("server", 2, time.Hour)
				return core.ProviderTLS{Cert: cert, Key: key, ClientCA: a.file}
			},
			want: failure{code: spi.Unauthenticated, reason: spi.ReasonCertificate, message: "certificate required", hint: "the provider accepts other certificates; check consumer.tls.cert"}, logged: spi.ReasonCertificate},
		{name: "a consumer of an unknown authority",
			provider: func(a, _ *authority) core.ProviderTLS {
				cert, key := a.issue("server", 2, time.Hour)
				return core.ProviderTLS{Cert: cert, Key: key, ClientCA: a.file}
			},
			consumer: func(a, other *authority) core.ConsumerTLS {
				cert, key := other.issue("stranger", 2, time.Hour)
				return core.ConsumerTLS{Enabled: true, CA: a.file, Cert: cert, Key: key}
			},
			want: failure{code: spi.Unauthenticated, reason: spi.ReasonCertificate, message: "certificate", hint: "the provider accepts other certificates; check consumer.tls.cert"}, logged: spi.ReasonCertificate},
		{name: "a plain consumer",
			consumer: func(_, _ *authority) core.ConsumerTLS { return core.ConsumerTLS{} },
			want:     failure{code: spi.Unavailable, reason: spi.ReasonProtocolError, message: "this provider requires TLS; set consumer.tls.enabled", hint: "is that a bhrpc provider?"},
			logged:   spi.ReasonProtocolError},
		{name: "a plain provider",
			provider: func(_, _ *authority) core.ProviderTLS { return core.ProviderTLS{} },
			want:     failure{code: spi.Unavailable, reason: spi.ReasonTLS, message: "the peer does not speak TLS", hint: "does the provider have provider.tls? If not, turn consumer.tls off"}, logged: spi.ReasonProtocolError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, other := w.authority(t.TempDir()), w.authority(t.TempDir())
			cert, key := a.issue("good", 2, time.Hour)
			server, client := core.ProviderTLS{Cert: cert, Key: key}, core.ConsumerTLS{Enabled: true, CA: a.file}
			if tt.provider != nil {
				server = tt.provider(a, other)
			}
			if tt.consumer != nil {
				client = tt.consumer(a, other)
			}
			p, address := w.overTCP(func(cfg *core.ProviderConfig) { cfg.TLS = server }, echo{})
			c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial, cfg.TLS = nil, client }, address)
			_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
			tt.want.phase, tt.want.sent, tt.want.endpoint = spi.PhaseHandshake, spi.SentNo, address
			w.expect(err, tt.want)
			if !errors.Is(err, spi.ErrConnLost) {
				t.Errorf("got %v, want it to match spi.ErrConnLost", err)
			}
			w.must(c.Close())
			w.must(p.Shutdown(t.Context()))
			logged := ""
			for _, e := range w.logs.AllEntries() {
				if e.Message == "disconnected a consumer" && logged == "" { // the first; there may have been another attempt
					logged = fmt.Sprint(e.Data["reason"])
				}
			}
			if logged != tt.logged {
				t.Errorf("got reason %q in the provider's log, want %q", logged, tt.logged)
			}
		})
	}
}

// TestTLSForPlainHTTP says what to do in its own words.
func TestTLSForPlainHTTP(t *testing.T) {
	w := newWorld(t)
	a := w.authority(t.TempDir())
	cert, key := a.issue("server", 2, time.Hour)
	_, address := w.overTCP(func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, echo{})
	answer, err := http.Post("http://"+address+"/echo/Say", "", strings.NewReader(`["x"]`))
	w.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	w.must(err)
	if answer.StatusCode != 400 || string(text) != "this provider requires TLS; use https://\n" {
		t.Errorf("got %d %s", answer.StatusCode, text)
	}
}

// TestTLSStalls: a peer that stops within the handshake is given up when the
// handshake timeout ends, on either side.
func TestTLSStalls(t *testing.T) {
	t.Run("a consumer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a := w.authority(t.TempDir())
			cert, key := a.issue("server", 2, time.Hour)
			p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, echo{})
			nc, err := w.network.Dial(t.Context(), "p:1")
			w.must(err)
			defer nc.Close()
			begin := time.Now()
			_, err = nc.Write([]byte(tlsHello)[:9])
			w.must(err)
			_, _ = io.Copy(io.Discard, nc)
			synctest.Wait()
			if got := time.Since(begin); got != 3*time.Second || p.ConnCount() != 0 {
				t.Errorf("got the end after %v and %d conns left, want 3s and none", got, p.ConnCount())
			}
		})
	})
	t.Run("a consumer that does not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a := w.authority(t.TempDir())
			cert, key := a.issue("server", 2, time.Hour)
			p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, echo{})
			nc, err := w.network.Dial(t.Context(), "p:1")
			w.must(err)
			defer nc.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { _ = tls.Client(deaf{nc, ctx}, &tls.Config{ServerName: "localhost"}).Handshake() }()
			begin := time.Now()
			synctest.Wait()
			for p.ConnCount() > 0 && time.Since(begin) < 10*time.Second {
				<-time.After(time.Millisecond)
			}
			if got := time.Since(begin); got > 4*time.Second {
				t.Errorf("got the end after %v, want it with the handshake timeout", got)
			}
		})
	})
	t.Run("a provider", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			a, l := w.authority(t.TempDir()), w.listen("p:1")
			c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.TLS = core.ConsumerTLS{Enabled: true, CA: a.file} }, "p:1")
			begin := time.Now()
			_, err := l.Accept()
			w.must(err)
			_, err = invoke[string](t.Context(), c, "echo", "Say", "x")
			w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonConnecting, phase: spi.PhaseHandshake, sent: spi.SentNo, endpoint: "p:1",
				message: "no TLS handshake within the handshake timeout", hint: "is that a bhrpc provider?"})
			if got := time.Since(begin); got != 3*time.Second {
				t.Errorf("got the error after %v, want 3s", got)
			}
		})
	})
}

// deaf is a connection that reads nothing until ctx ends.
type deaf struct {
	net.Conn
	ctx context.Context
}

// Read implements [net.Conn].
func (d deaf) Read([]byte) (int, error) {
	<-d.ctx.Done()
	return 0, io.EOF
}

// TestTLSReload: files that change are used by the next handshake, those that are
// broken are not, and nobody notices.
func TestTLSReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.authority(t.TempDir())
		cert, key := a.issue("server", 2, time.Hour)
		w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, echo{})
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		serial := func() int64 {
			t.Helper()
			nc, err := w.network.Dial(t.Context(), "p:1")
			w.must(err)
			defer nc.Close()
			secured := tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"})
			w.must(secured.Handshake())
			return secured.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
		}
		expect := func(when string, want int64) {
			t.Helper()
			if got := serial(); got != want {
				t.Errorf("got serial %d %s, want %d", got, when, want)
			}
		}
		expect("at first", 2)
		a.issue("server", 3, time.Hour)
		expect("within a second", 2)
		<-time.After(time.Second)
		expect("after it", 3)
		w.must(os.WriteFile(cert, []byte("broken"), 0o600))
		for range 3 {
			<-time.After(time.Second)
			expect("while the file is broken", 3)
		}
		w.must(os.Remove(cert))
		<-time.After(time.Second)
		expect("while the file is gone", 3)
		a.issue("server", 4, time.Hour)
		<-time.After(time.Second)
		expect("when it is repaired", 4)
		want := []string{"info certificates reloaded", "warning cannot use the changed certificates; the old ones stay in force",
			"warning cannot use the changed certificates; the old ones stay in force", "info certificates reloaded"}
		if got := w.logged(logrus.InfoLevel); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestTLSShutdown asks consumers to leave, and a connection in its handshake too.
func TestTLSShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		a := w.authority(t.TempDir())
		cert, key := a.issue("server", 2, time.Hour)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, g.service())
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.TLS = core.ConsumerTLS{Enabled: true, CA: a.file} }, "p:1")
		held := start[string](t.Context(), c, "Gate", "Pass", "held")
		<-g.entered
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		nc, err := w.network.Dial(t.Context(), "p:1")
		w.must(err)
		secured := tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"})
		w.must(secured.Handshake())
		peer := coretest.NewPeer(secured)
		defer peer.Close()
		_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json"}})
		w.must(err)
		begin := time.Now()
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(context.Background()) }()
		w.readAs(peer, coretest.TypeGoAway)
		w.must(peer.Write(coretest.GoAway(coretest.GoAwayShutdown, "")))
		synctest.Wait()
		close(g.leave)
		if got, err := held.wait(); got != "held" || err != nil {
			t.Errorf("got %q, %v, want the call in flight to finish", got, err)
		}
		if err := <-down; err != nil || time.Since(begin) != 0 {
			t.Errorf("got %v after %v, want nil at once", err, time.Since(begin))
		}
	})
}

// TestTLSFilesMissing: a provider or consumer that cannot read them does not start.
func TestTLSFilesMissing(t *testing.T) {
	w := newWorld(t)
	provider := core.DefaultProviderConfig()
	provider.Serializers = map[string]spi.Serializer{"json": jsonSerializer{}}
	provider.TLS.Cert, provider.TLS.Key = "nowhere.pem", "nowhere.key"
	if _, err := core.NewProvider(provider); err == nil || !strings.HasPrefix(err.Error(), "load tls.cert and tls.key: open nowhere.pem: ") {
		t.Errorf("got %v, want the key and the file", err)
	}
	a := w.authority(t.TempDir())
	w.must(os.WriteFile(a.file, nil, 0o600))
	consumer := core.DefaultConsumerConfig()
	consumer.SerializerName, consumer.Serializer, consumer.LoadBalancer = "json", jsonSerializer{}, anyUsable{}
	consumer.Endpoints = []spi.Endpoint{{Address: "p:1"}}
	consumer.TLS = core.ConsumerTLS{Enabled: true, CA: a.file}
	if _, err := core.NewConsumer(consumer); err == nil || !strings.HasSuffix(err.Error(), "holds no certificate in PEM") {
		t.Errorf("got %v, want the file", err)
	}
}

// TestTLSShutdownDuringHandshake: who comes in the last moment is told within TLS.
func TestTLSShutdownDuringHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.authority(t.TempDir())
		cert, key := a.issue("server", 2, time.Hour)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, echo{})
		nc := w.silent("p:1")
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(context.Background()) }()
		synctest.Wait()
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		peer := coretest.NewPeer(tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"}))
		defer peer.Close()
		w.must(peer.SayHello(coretest.Hello{Serializers: []string{"json"}}))
		w.readAs(peer, coretest.TypeGoAway)
		w.must(peer.Close())
		if err := <-down; err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
	})
}

// TestTLSShutdownInSilence: who says nothing within TLS holds up no shutdown.
func TestTLSShutdownInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.authority(t.TempDir())
		cert, key := a.issue("server", 2, time.Hour)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, echo{})
		nc := w.silent("p:1")
		begin := time.Now()
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(context.Background()) }()
		synctest.Wait()
		pool := x509.NewCertPool()
		pool.AddCert(a.cert)
		w.must(tls.Client(nc, &tls.Config{RootCAs: pool, ServerName: "localhost"}).Handshake())
		if err := <-down; err != nil || time.Since(begin) > 200*time.Millisecond {
			t.Errorf("got %v after %v, want nil within 200ms", err, time.Since(begin))
		}
	})
}

// TestTLSIdle: a connection that waits for the next call holds no buffer.
func TestTLSIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settle := core.TraceBuffers(t)
		w := newWorld(t)
		a := w.authority(t.TempDir())
		cert, key := a.issue("server", 2, time.Hour)
		w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.TLS = core.ProviderTLS{Cert: cert, Key: key} }, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.TLS = core.ConsumerTLS{Enabled: true, CA: a.file} }, "p:1")
		for _, n := range []int{3, 2000, 300_000} {
			if got, err := invoke[string](t.Context(), c, "echo", "Say", strings.Repeat("x", n)); len(got) != n || err != nil {
				t.Errorf("got %d bytes, %v, want %d", len(got), err, n)
			}
		}
		synctest.Wait()
		settle()
	})
}
