package core

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// withProvider runs a test in a bubble, with a Provider of Echo and a ledger.
func withProvider(t *testing.T, e *echo, change func(*ProviderConfig, *Service), test func(t *testing.T, p *Provider)) {
	synctest.Test(t, func(t *testing.T) {
		l := openLedger(t)
		defer l.settle()
		if e.block == nil {
			e.block = make(chan struct{})
		}
		p := newEchoProvider(t, e, change)
		defer shutdown(t, p)
		test(t, p)
	})
}

// Requests that came in one read with a frame that ends the connection are neither
// lost nor run: they must not count against the bound for ever.
func TestProviderForgetsRequestsBeforeADamagedFrame(t *testing.T) {
	withProvider(t, &echo{ran: func(method, text string) { t.Errorf("%s(%q) was run, though its consumer is gone", method, text) }}, nil, func(t *testing.T, p *Provider) {
		k := connect(t, p)
		defer k.close()
		b := callFrame(1, 1, "Say", seal("one"))
		for i := range 20 {
			b = append(b, callFrame(uint64(i+2), 1, "", seal(fmt.Sprint(i)))...)
		}
		k.send(append(b, frameOf(wire.Header{Type: wire.Response, ID: 1}, nil, nil)...))
		k.drain()
		synctest.Wait()
		if got := p.admitted.Load(); got != 0 {
			t.Errorf("got %d requests still counted, want 0", got)
		}
	})
}
