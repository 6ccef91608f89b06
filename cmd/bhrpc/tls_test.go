package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a certificate for 127.0.0.1 and example.com that is its own
// authority, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestCommandsOverTLS(t *testing.T) {
	cert, key := certificate(t)
	address := provide(t, map[string]any{"provider.tls.cert": cert, "provider.tls.key": key, "provider.tls.client_ca": cert})
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		stdout string
		stderr string // begins so
	}{
		{"call", []string{"call", "ADDR", "Shop.Price", `{"count": 2}`, "--ca", cert, "--cert", cert, "--key", key}, 0, "500\n", ""},
		{"another name", []string{"call", "ADDR", "Shop.Price", `{"count": 2}`, "--ca", cert, "--cert", cert, "--key", key, "--server-name", "example.com"}, 0, "500\n", ""},
		{"ls", []string{"ls", "ADDR", "--ca", cert, "--cert", cert, "--key", key}, 0, "Shop.Buy(string) string\nShop.", ""},
		{"an authority that is not known", []string{"call", "ADDR", "Shop.Price", `{"count": 2}`, "--tls"}, 1, "", "error UNAUTHENTICATED Shop.Price: TLS handshake: tls: failed to verify certificate: x509: "},
		{"no certificate", []string{"call", "ADDR", "Shop.Price", `{"count": 2}`, "--ca", cert}, 1, "", "error UNAUTHENTICATED Shop.Price: the peer ended the connection: remote error: tls: certificate required at ADDR (phase: handshake, sent: no)\n  the provider accepts other certificates; check consumer.tls.cert\n"},
		{"no TLS", []string{"call", "ADDR", "Shop.Price", `{"count": 2}`}, 1, "", "error UNAVAILABLE Shop.Price: protocol error: refused: this provider requires TLS; set consumer.tls.enabled"},
		{"half a pair", []string{"call", "ADDR", "Shop.Price", `{"count": 2}`, "--cert", cert}, 2, "", "bhrpc: consumer.tls.key: tls.cert needs it; name the file with its private key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := execute(t, address, tt.args...)
			if status != tt.status || !strings.HasPrefix(stdout, tt.stdout) || !strings.HasPrefix(strings.TrimLeft(stderr, " "), tt.stderr) {
				t.Errorf("got  %d %q %q\nwant %d %q %q", status, stdout, stderr, tt.status, tt.stdout, tt.stderr)
			}
		})
	}
}
