package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
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

// An error and the metadata of its answer fit into what the consumer takes, or the
// metadata stays behind.
func TestProviderErrorWithLargeMetadata(t *testing.T) {
	for _, test := range []struct {
		name        string
		size, pairs int
	}{{"fits", 800, 1}, {"more metadata than the consumer takes", minMetadata + 1, 0}} {
		t.Run(test.name, func(t *testing.T) {
			fail := func(cfg *ProviderConfig, _ *Service) {
				cfg.Interceptors = []spi.Interceptor{func(spi.InvokeFunc) spi.InvokeFunc {
					return func(_ context.Context, call *spi.Call) error {
						call.ReplyMetadata.Set("k", strings.Repeat("v", test.size))
						return errors.New(strings.Repeat("e", 1<<20))
					}
				}}
			}
			withProvider(t, &echo{}, fail, func(t *testing.T, p *Provider) {
				k := connect(t, p)
				defer k.close()
				k.send(callFrame(1, 1, "Say", seal("x")))
				f := k.expect(wire.Error)
				if n, err := wire.CountPairs(f.payload[:f.Metadata]); n != test.pairs || err != nil {
					t.Errorf("got %d pairs, %v, want %d", n, err, test.pairs)
				}
				if len(f.payload) > minMessage || f.Metadata > minMetadata {
					t.Errorf("got %d bytes, %d of them metadata; want at most %d and %d", len(f.payload), f.Metadata, minMessage, minMetadata)
				}
			})
		})
	}
}

// What the limits of a consumer do to answers.
func TestProviderAnswerWithinLimits(t *testing.T) {
	withProvider(t, &echo{}, nil, func(t *testing.T, p *Provider) {
		k := connect(t, p)
		defer k.close()
		for i, test := range []struct {
			size int
			want wire.Type
		}{{minMessage - 4, wire.Response}, {minMessage - 3, wire.Error}} {
			name := ""
			if i == 0 {
				name = "Say"
			}
			k.send(callFrame(uint64(i+1), 1, name, seal(strings.Repeat("x", test.size))))
			f := k.expect(test.want)
			if f.Type == wire.Error && spi.Code(f.Code) != spi.ResourceExhausted {
				t.Errorf("an answer of %d bytes: got %v, want %v", test.size+4, spi.Code(f.Code), spi.ResourceExhausted)
			}
		}
	})
}
