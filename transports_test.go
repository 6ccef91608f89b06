package bhrpc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc"
)

// certificate writes a certificate for 127.0.0.1 and localhost that is its own
// authority, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
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

// lines returns text of n bytes that shrinks as prose does.
func lines(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "order %d of %d pieces, to be sent on day %x\n", i, i*i%97, i*7919)
	}
	return b.String()[:n]
}

// Every compressor, with checksums and without, over every transport, for bodies of
// every kind: nothing, too small to compress, one that leaves in chunks, one that
// leaves in chunks though it was compressed.
func TestBodiesOverEveryTransport(t *testing.T) {
	cert, key := certificate(t)
	secure := map[string]any{"provider.tls.cert": cert, "provider.tls.key": key}
	trust := map[string]any{"consumer.tls.enabled": true, "consumer.tls.ca": cert}
	all := []string{"", lines(1 << 10), lines(100 << 10), lines(5 << 20)}
	const missing = "the provider does not have the compressor"
	for _, transport := range []struct {
		name               string
		unix               bool
		provider, consumer map[string]any
	}{
		{"tcp", false, nil, nil},
		{"tls", false, secure, trust},
		{"unix", true, nil, nil},
		{"tls through unix", true, secure, trust},
	} {
		for _, tt := range []struct {
			compressor string
			checksum   bool
			offered    []string // nil: all
		}{
			{"gzip", false, nil}, {"gzip", true, nil}, {"zstd", false, nil}, {"zstd", true, nil}, {"s2", false, nil}, {"s2", true, nil},
			{"s2", true, []string{"gzip"}},
		} {
			if transport.unix && transport.provider != nil && tt.compressor != "s2" {
				continue // nothing new
			}
			t.Run(fmt.Sprintf("%s/%s/checksum %v/offered %v", transport.name, tt.compressor, tt.checksum, tt.offered), func(t *testing.T) {
				listen := "127.0.0.1:0"
				if transport.unix {
					dir, err := os.MkdirTemp("", "bhrpc") // t.TempDir's name is too long for a socket
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { os.RemoveAll(dir) })
					listen = "unix://" + filepath.ToSlash(dir) + "/s"
				}
				keys := map[string]any{"provider.listen": listen, "provider.checksum": tt.checksum}
				maps.Copy(keys, transport.provider)
				if tt.offered != nil {
					keys["provider.compressors"] = tt.offered
				}
				cfg, _ := load(t, keys)
				p, err := open(t, cfg).Provide(t.Context(), Echo{})
				if err != nil {
					t.Fatal(err)
				}
				if !transport.unix {
					listen = p.Addr().String()
				}
				keys = map[string]any{"consumer.addresses": []string{listen}, "consumer.compressor": tt.compressor, "consumer.checksum": tt.checksum, "consumer.timeout": "1m"}
				maps.Copy(keys, transport.consumer)
				cfg, log := load(t, keys)
				app := open(t, cfg)
				bodies := all
				if !tt.checksum { // the largest takes its time; once for each compressor is enough
					bodies = all[:3]
				}
				for _, body := range bodies {
					if got, err := bhrpc.Call[string](t.Context(), app, "Echo.Say", body); got != body || err != nil {
						t.Errorf("got %d bytes, %v, want the %d that were sent", len(got), err, len(body))
					}
				}
				if got, want := strings.Contains(log.String(), missing), tt.offered != nil; got != want {
					t.Errorf("log says %q: got %v, want %v\n%s", missing, got, want, log)
				}
				var table strings.Builder
				if err := app.Explain(&table); err != nil || !strings.Contains(table.String(), "consumer.compressor") || !strings.Contains(table.String(), tt.compressor) {
					t.Errorf("explain does not show the compressor: %v\n%s", err, &table)
				}
			})
		}
	}
}
