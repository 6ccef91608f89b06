package core

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// ProviderTLS secures a provider's connections; docs/tls.md. Without Cert there is no
// TLS.
type ProviderTLS struct {
	Cert       string `json:"cert" doc:"file with the provider's certificate chain (PEM); set: connections are secured and plain ones refused"`
	Key        string `json:"key" doc:"file with the certificate's private key (PEM)"`
	ClientCA   string `json:"client_ca" doc:"file with the authorities (PEM) that sign consumers' certificates; empty: consumers need none"`
	MinVersion string `json:"min_version" doc:"least version of TLS: 1.2 or 1.3" oneof:"1.2,1.3"`
}

// ConsumerTLS secures a consumer's connections; docs/tls.md.
type ConsumerTLS struct {
	Enabled    bool   `json:"enabled" doc:"whether connections are secured"`
	CA         string `json:"ca" doc:"file with the authorities (PEM) that sign providers' certificates; empty: those of the system"`
	Cert       string `json:"cert" doc:"file with this consumer's certificate chain (PEM), for providers that ask for one"`
	Key        string `json:"key" doc:"file with the certificate's private key (PEM)"`
	ServerName string `json:"server_name" doc:"name that the provider's certificate must carry; empty: the host of its address"`
	MinVersion string `json:"min_version" doc:"least version of TLS: 1.2 or 1.3" oneof:"1.2,1.3"`
}

// tlsVersions are the values of min_version.
var tlsVersions = map[string]uint16{"": tls.VersionTLS12, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

func validateTLS(cert, key, version string) error {
	var errs []error
	switch {
	case cert != "" && key == "":
		errs = append(errs, &RangeError{Key: "tls.key", Message: "tls.cert needs it; name the file with its private key"})
	case cert == "" && key != "":
		errs = append(errs, &RangeError{Key: "tls.cert", Message: "tls.key needs it; name the file with its certificate"})
	}
	if _, ok := tlsVersions[version]; !ok {
		errs = append(errs, &RangeError{Key: "tls.min_version", Message: fmt.Sprintf("%q is not 1.2 or 1.3", version)})
	}
	return errors.Join(errs...)
}

func (t ProviderTLS) validate() error {
	err := validateTLS(t.Cert, t.Key, t.MinVersion)
	if t.ClientCA != "" && t.Cert == "" {
		err = errors.Join(err, &RangeError{Key: "tls.client_ca", Message: "it has no effect without tls.cert; set that too"})
	}
	return err
}

func (t ConsumerTLS) validate() error {
	err := validateTLS(t.Cert, t.Key, t.MinVersion)
	if !t.Enabled && (t.CA != "" || t.Cert != "" || t.Key != "" || t.ServerName != "") {
		err = errors.Join(err, &RangeError{Key: "tls.enabled", Message: "it is false, and other keys of tls are set; say enabled: true, or remove them"})
	}
	return err
}

// load makes the configuration of the files as they are now.
func (t ProviderTLS) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("load tls.cert and tls.key: %w", err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tlsVersions[t.MinVersion], NextProtos: []string{"http/1.1"}}
	if t.ClientCA != "" {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
		if cfg.ClientCAs, err = authorities(t.ClientCA); err != nil {
			return nil, fmt.Errorf("load tls.client_ca: %w", err)
		}
	}
	return cfg, nil
}

func (t ConsumerTLS) load() (*tls.Config, error) {
	cfg := &tls.Config{ServerName: t.ServerName, MinVersion: tlsVersions[t.MinVersion]}
	if t.CA != "" {
		var err error
		if cfg.RootCAs, err = authorities(t.CA); err != nil {
			return nil, fmt.Errorf("load tls.ca: %w", err)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("load tls.cert and tls.key: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// authorities reads a file of certificates.
func authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}

// tlsError is a TLS handshake that failed.
type tlsError struct{ err error }

func (e *tlsError) Error() string {
	var notTLS tls.RecordHeaderError
	if errors.As(e.err, &notTLS) {
		return "TLS handshake: the peer does not speak TLS"
	}
	return "TLS handshake: " + e.err.Error()
}

func (e *tlsError) Unwrap() error { return e.err }

// tlsFault recognizes what went wrong with TLS, now or, as TLS 1.3 has it, when the
// peer's opinion of this side's certificate comes with the first bytes. ok is false
// if it was not that.
func tlsFault(cause error) (reason, text string, ok bool) {
	var failed *tlsError
	var told *net.OpError
	switch {
	case errors.As(cause, &failed):
		if isTimeout(failed.err) {
			return spi.ReasonConnecting, "no TLS handshake within the handshake timeout", true
		}
		text = failed.Error()
	case errors.As(cause, &told) && told.Op == "remote error": // an alert
		text = "the peer ended the connection: " + told.Error()
	default:
		return "", "", false
	}
	if strings.Contains(text, "certificate") {
		return spi.ReasonCertificate, text, true
	}
	return spi.ReasonTLS, text, true
}

// secure shakes hands over a connection that was dialled.
func (c *Consumer) secure(ctx context.Context, nc net.Conn, address string) (net.Conn, error) {
	if c.tls == nil {
		return nc, nil
	}
	cfg := c.tls.config()
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = "localhost" // of what has no host
		if host, _, err := net.SplitHostPort(address); err == nil && !strings.HasPrefix(address, unixScheme) {
			cfg.ServerName = host
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.HandshakeTimeout.D())
	defer cancel()
	secured := tls.Client(nc, cfg)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, &tlsError{err}
	}
	return secured, nil
}

// meetSecurely shakes hands and goes on with what is spoken inside.
func (c *providerConn) meetSecurely() {
	p := c.provider
	secured := tls.Server(&resumed{c.nc, slices.Clone(c.in.unread())}, p.tls.config())
	c.in.close()
	_ = c.nc.SetWriteDeadline(c.greetBy)
	if err := secured.Handshake(); err != nil {
		lastWords(c.nc, nil)
		c.end(&tlsError{err})
		return
	}
	_ = c.nc.SetWriteDeadline(time.Time{})
	inner := newProviderConn(p, secured)
	inner.secured, inner.greetBy, inner.identity = true, c.greetBy, identityOf(secured)
	c.become(secure) // from here on, inner is told of a shutdown
	p.replace(c, inner)
	inner.meet()
}

// identityOf returns who the peer is, nil if it has shown no certificate that was
// verified. The state is large: it must not lie on the stack of who shakes hands.
func identityOf(nc *tls.Conn) *spi.Identity {
	state := nc.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	own := state.VerifiedChains[0][0]
	id := &spi.Identity{CommonName: own.Subject.CommonName, DNSNames: own.DNSNames}
	for _, u := range own.URIs {
		id.URIs = append(id.URIs, u.String())
	}
	return id
}

// replace lists a connection in the place of another one.
func (p *Provider) replace(old, next *providerConn) {
	p.lobby.replace(old, next)
	p.mu.Lock()
	delete(p.conns, old)
	p.conns[next] = true
	leaving := p.closing
	p.mu.Unlock()
	if leaving {
		next.leave()
	}
}

// refusePlain ends a connection that should have been secured, in words that its
// protocol can read.
func (c *providerConn) refusePlain(spoken protocol) {
	const text = "this provider requires TLS"
	if spoken == native {
		c.end(c.refuse(wire.GoAwayProtocol, text+"; set consumer.tls.enabled"))
		return
	}
	const body = text + "; use https://\n"
	lastWords(c.nc, fmt.Appendf(nil, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body))
	c.end(protocolErrorf("plain HTTP, where provider.tls is set"))
}
