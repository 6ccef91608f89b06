package core_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// whoami answers who its caller is.
type whoami struct{}

func (whoami) Ask(ctx context.Context) (*spi.Identity, error) { return spi.CallFrom(ctx).Identity, nil }

// TestIdentity: a handler sees who calls if the provider asked for a certificate, and
// nobody otherwise, whatever the consumer shows.
func TestIdentity(t *testing.T) {
	client := &spi.Identity{CommonName: "client", DNSNames: []string{"localhost", "p"}, URIs: []string{"spiffe://test/client"}}
	for _, tt := range []struct {
		name  string
		plain bool
		asks  bool
		want  *spi.Identity
	}{
		{name: "plain", plain: true},
		{name: "not asked for"},
		{name: "verified", asks: true, want: client},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.authority(t.TempDir())
			var own core.ConsumerTLS
			_, address := w.overTCP(func(cfg *core.ProviderConfig) {
				if tt.plain {
					return
				}
				cfg.TLS.Cert, cfg.TLS.Key = a.issue("server", 2, time.Hour)
				own = core.ConsumerTLS{Enabled: true, CA: a.file}
				own.Cert, own.Key = a.issue("client", 3, time.Hour)
				if tt.asks {
					cfg.TLS.ClientCA = a.file
				}
			}, whoami{})
			c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.Dial, cfg.TLS = nil, own }, address)
			if got, err := invoke[*spi.Identity](t.Context(), c, "whoami", "Ask"); !reflect.DeepEqual(got, tt.want) || err != nil {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
			if !own.Enabled {
				return
			}
			pair, err := tls.LoadX509KeyPair(own.Cert, own.Key)
			w.must(err)
			pool := x509.NewCertPool()
			pool.AddCert(a.cert)
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
			defer transport.CloseIdleConnections()
			answer, err := (&http.Client{Transport: transport}).Post("https://"+address+"/whoami/Ask", "application/json", strings.NewReader("[]"))
			w.must(err)
			defer answer.Body.Close()
			var got *spi.Identity
			w.must(json.NewDecoder(answer.Body).Decode(&got))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("over HTTP: got %+v, want %+v", got, tt.want)
			}
		})
	}
}
