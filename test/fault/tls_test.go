//go:build fault && linux

package fault_test

import (
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// tlsPair returns the keys of a provider with a certificate of a, and of consumers
// that trust it.
func tlsPair(a *authority, valid time.Duration) (provider, consumer map[string]any) {
	cert, key := a.issue(valid)
	return map[string]any{"provider.tls.cert": cert, "provider.tls.key": key},
		map[string]any{"consumer.tls.enabled": true, "consumer.tls.ca": a.file}
}

// TestTLSStalledHandshakes: who stops within the TLS handshake is gone after the
// handshake timeout, and secured connections notice nothing.
func TestTLSStalledHandshakes(t *testing.T) {
	const (
		conns   = 500
		most    = 32 * kib // each, of resident memory
		timeout = 3 * time.Second
		slack   = 2 * time.Second
	)
	providerKeys, consumerKeys := tlsPair(newAuthority(t), time.Hour)
	provider, address := startProvider(t, providerArgs{Keys: providerKeys})
	h := startHealthyWith(t, consumerKeys, address)
	leaks := leakCheck(t, conns, provider)
	idle := provider.figures()
	crowd := together(t, conns, crowdArgs{Address: address, Behave: "tls"})
	open := all(t, crowd, "gather")
	end := all(t, crowd, "await")
	cost := provider.figures().since(idle)
	if open.Open != conns || end.Closed != conns || end.Soonest < timeout-slack || end.Latest > timeout+slack {
		t.Errorf("got %d of %d connections open, %d closed after %v to %v, want all after %v", open.Open, conns, end.Closed, end.Soonest, end.Latest, timeout)
	}
	if cost.Peak > conns*most {
		t.Errorf("got %d bytes more for %d connections, want at most %d each", cost.Peak, conns, most)
	}
	before, during := h.judge()
	leaks()
	if got := provider.log.count("disconnected a consumer", "handshake timeout"); got == 0 {
		t.Error("got nothing logged of the handshakes that stalled")
	}
	row(t, "28", "%d TLS handshakes that stop within the ClientHello: closed after %v to %v, %.1f KiB each; p99 of healthy TLS %v → %v",
		conns, end.Soonest.Round(time.Millisecond), end.Latest.Round(time.Millisecond), float64(cost.Peak)/conns/kib, before, during)
}

// TestTLSMismatch: a consumer and a provider of which one does not speak TLS, or
// nothing at all, fail calls in time, with what docs/tls.md says.
func TestTLSMismatch(t *testing.T) {
	const handshakeTimeout = time.Second
	providerKeys, consumerKeys := tlsPair(newAuthority(t), time.Hour)
	_, secured := startProvider(t, providerArgs{Keys: providerKeys})
	_, plain := startProvider(t, providerArgs{})
	silent := startMute(t)
	for _, tt := range []struct {
		name    string
		address string
		keys    map[string]any
		atLeast time.Duration
		reason  string
		text    string
	}{
		{"plain consumer, TLS provider", secured, nil, 0, spi.ReasonProtocolError, "this provider requires TLS"},
		{"TLS consumer, plain provider", plain, consumerKeys, 0, spi.ReasonTLS, "the peer does not speak TLS"},
		{"TLS consumer, silent provider", silent, consumerKeys, handshakeTimeout, spi.ReasonConnecting, "no TLS handshake within the handshake timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys := quickReconnect() // a call may come when the first attempt has failed already
			maps.Copy(keys, tt.keys)
			keys["consumer.handshake_timeout"] = handshakeTimeout.String()
			consumer := startConsumer(t, keys, tt.address)
			var r record
			consumer.ask("call", healthyLoad, &r)
			if r.Code != spi.Unavailable || r.Reason != tt.reason || r.Phase != spi.PhaseHandshake || r.Sent != spi.SentNo || !r.Lost || !strings.Contains(r.Message, tt.text) {
				t.Errorf("got %s (%s), want UNAVAILABLE, %s, phase: handshake, sent: no, %q", r.Message, r.Reason, tt.reason, tt.text)
			}
			took := r.End.Sub(r.Begin)
			if took < tt.atLeast-100*time.Millisecond || took > tt.atLeast+endSlack+lag() { // the connection was begun before the call
				t.Errorf("got the error after %v, want it after %v", took, tt.atLeast)
			}
			row(t, "28", "%s: after %v %s", tt.name, took.Round(time.Millisecond), r.Message)
		})
	}
}

// TestTLSExpiredCertificate: calls fail at once, all of them; the consumer does not
// try again sooner than the cap of its backoff allows, and goes on when there is a
// certificate that is valid.
func TestTLSExpiredCertificate(t *testing.T) {
	const (
		limit = time.Second            // cap
		least = 200 * time.Millisecond // a fifth of the cap is the shortest delay there
		lasts = 3 * time.Second
	)
	a := newAuthority(t)
	providerKeys, keys := tlsPair(a, -time.Minute)
	_, address := startProvider(t, providerArgs{Keys: providerKeys})
	proxy, counted := startProxy(t, address)
	for key, value := range map[string]any{"first": "0s", "base": "1ms", "factor": 1, "cap": limit.String(), "stable": "0s"} {
		keys["consumer.reconnect."+key] = value
	}
	consumer := startConsumer(t, keys, counted)
	begin := time.Now()
	consumer.ask("load", healthyLoad, nil)
	pass(lasts)
	var h history
	consumer.ask("history", nil, &h)
	attempts, most := proxy.connections(), 2+int(time.Since(begin)/least)
	h.check(t, rules{timeout: healthyLoad.Timeout})
	if len(h.Calls) < healthyLoad.Rate {
		t.Errorf("got %d calls, want them to go on", len(h.Calls))
	}
	slowest := time.Duration(0)
	for _, c := range h.Calls {
		slowest = max(slowest, c.End.Sub(c.Begin))
		if c.Code != spi.Unauthenticated || c.Reason != spi.ReasonCertificate || c.Sent != spi.SentNo || !strings.Contains(c.Message, "expired") {
			t.Fatalf("call %d: got %s, want UNAUTHENTICATED, certificate, sent: no", c.ID, c.Message)
		}
	}
	if slowest > endSlack+h.Lag {
		t.Errorf("got a call that took %v to fail, want all to fail at once", slowest)
	}
	if attempts < 2 || attempts > most {
		t.Errorf("got %d attempts to connect in %v, want 2 to %d: one for each %v at most", attempts, lasts, most, least)
	}
	if said := consumer.log.count("cannot connect"); said == 0 || said > attempts {
		t.Errorf("got %d lines logged for %d attempts, want at most as many", said, attempts)
	}
	a.issue(time.Hour)
	issued := time.Now()
	back := func() bool { var r record; consumer.ask("call", healthyLoad, &r); return r.Code == 0 }
	if most := 2*limit + time.Second; !within(most, back) { // the files are looked at once a second
		t.Errorf("got no call through %v after there was a certificate that is valid", most)
	}
	row(t, "28", "expired certificate: %d calls UNAUTHENTICATED, the slowest after %v; %d attempts to connect in %v (cap %v); OK %v after it was replaced",
		len(h.Calls), slowest.Round(time.Millisecond), attempts, lasts, limit, time.Since(issued).Round(10*time.Millisecond))
}

// startMute returns the address of who accepts connections and says nothing.
func startMute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var accepting sync.WaitGroup
	var conns []net.Conn
	accepting.Go(func() {
		for nc, err := l.Accept(); err == nil; nc, err = l.Accept() {
			conns = append(conns, nc)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		accepting.Wait()
		for _, nc := range conns {
			_ = nc.Close()
		}
	})
	return l.Addr().String()
}
