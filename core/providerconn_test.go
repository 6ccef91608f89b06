package core

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// Answers of the reader's own are more than the write queue takes, though the
// consumer reads: neither inline methods nor refusals cut it off.
func TestProviderReaderWithFullQueue(t *testing.T) {
	small := func(cfg *ProviderConfig, s *Service) {
		cfg.Limits.WriteQueue = 64 << 10
		if err := s.Inline("Much"); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name string
		call func(sequence uint64) []byte
		want wire.Type
	}{
		{"inline", func(n uint64) []byte { return callFrame(n, 1, "", seal("four")) }, wire.Response},
		{"no such method", func(n uint64) []byte { return callFrame(n, 0, "None", seal("four")) }, wire.Error},
	} {
		t.Run(test.name, func(t *testing.T) {
			withProvider(t, &echo{}, small, func(t *testing.T, p *Provider) {
				k := connect(t, p)
				defer k.close()
				// Two answers fill the queue while nothing is read, and others wait.
				b := callFrame(1, 1, "Much", seal(strings.Repeat("x", 40)))
				b = append(b, callFrame(2, 2, "Say", seal(strings.Repeat("y", 60_000)))...)
				b = append(b, callFrame(3, 2, "", seal(strings.Repeat("y", 60_000)))...)
				k.send(b)
				synctest.Wait()
				b = nil
				for i := range uint64(200) {
					b = append(b, test.call(i+4)...)
				}
				k.send(b)
				synctest.Wait()
				got := make(map[wire.Type]int)
				for range 203 {
					f, err := k.hear()
					if err != nil {
						t.Fatalf("got %v after %v", err, got)
					}
					got[f.Type]++
				}
				if got[test.want] < 200 {
					t.Errorf("got %v, want 200 of %v", got, test.want)
				}
			})
		})
	}
}

// Who asks and never reads is disconnected when twice the queue waits.
func TestProviderConsumerThatNeverReads(t *testing.T) {
	small := func(cfg *ProviderConfig, _ *Service) { cfg.Limits.WriteQueue = 64 << 10 }
	withProvider(t, &echo{}, small, func(t *testing.T, p *Provider) {
		k := connect(t, p)
		defer k.close()
		for i := range uint64(5000) {
			k.send(callFrame(i+1, 0, "None", nil))
		}
		synctest.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.conns) != 0 {
			for c := range p.conns {
				t.Errorf("got a connection with %d bytes queued, want it closed", c.out.small.queued)
			}
		}
	})
}

// A PING is answered whatever it carries, and what it carries is given back.
func TestProviderLargePing(t *testing.T) {
	withProvider(t, &echo{}, nil, func(t *testing.T, p *Provider) {
		k := connect(t, p)
		defer k.close()
		k.say(wire.Header{Type: wire.Pong, ID: 8}, nil, make([]byte, 2*readBuffer))
		k.say(wire.Header{Type: wire.Ping, ID: 9}, nil, make([]byte, 2*readBuffer))
		if f := k.expect(wire.Pong); f.ID != 9 || len(f.payload) != 0 {
			t.Errorf("got PONG %d with %d bytes, want 9 with none", f.ID, len(f.payload))
		}
		k.say(wire.Header{Type: wire.Hello}, nil, make([]byte, 2*readBuffer))
		k.drain()
	})
}

// When a handler has returned, its context is over for whoever kept it, and the
// call is not there any more.
func TestProviderEndsTheContextOfAHandler(t *testing.T) {
	var kept context.Context
	keep := func(cfg *ProviderConfig, _ *Service) {
		cfg.Interceptors = []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
			return func(ctx context.Context, call *spi.Call) error {
				if spi.CallFrom(ctx) != call || ctx.Err() != nil {
					t.Errorf("in the handler: got call %p and %v, want %p and no error", spi.CallFrom(ctx), ctx.Err(), call)
				}
				kept = ctx
				return next(ctx, call)
			}
		}}
	}
	withProvider(t, &echo{}, keep, func(t *testing.T, p *Provider) {
		k := connect(t, p)
		defer k.close()
		k.send(callFrame(1, 1, "Say", seal("x")))
		k.expect(wire.Response)
		synctest.Wait()
		if kept.Err() != context.Canceled || spi.CallFrom(kept) != nil {
			t.Errorf("got %v and call %v, want %v and none", kept.Err(), spi.CallFrom(kept), context.Canceled)
		}
	})
}

// A Provider without any service answers, and does not fall over.
func TestProviderWithoutServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultProviderConfig()
		cfg.Serializers, cfg.Introspection = map[string]spi.Serializer{"sealed": sealed{}}, false
		p, err := NewProvider(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer shutdown(t, p)
		k := connect(t, p)
		defer k.close()
		k.send(callFrame(1, 1, "Say", seal("x")))
		if f := k.expect(wire.Error); spi.Code(f.Code) != spi.Unimplemented {
			t.Errorf("got %v, want %v", spi.Code(f.Code), spi.Unimplemented)
		}
	})
}

// What a peer says it takes is believed up to what a frame can hold.
func TestHandshakeBoundsThePeersLimits(t *testing.T) {
	boundless := helloBody()
	boundless.MaxMessage, boundless.MaxMetadata = 1<<64-1, 1<<64-1
	hello := frameOf(wire.Header{Type: wire.Hello}, nil, wire.AppendHello(nil, boundless))
	withProvider(t, &echo{}, nil, func(t *testing.T, p *Provider) {
		k := connectRaw(t, p)
		defer k.close()
		k.send(hello)
		k.expect(wire.Hello)
		synctest.Wait()
		if c := only(p, nil); c.maxMessage != mostMessage || c.maxMetadata != mostMessage {
			t.Errorf("the provider believes %d and %d, want %d", c.maxMessage, c.maxMetadata, mostMessage)
		}
		c := newEchoConsumer(t, nil, func(k *talker) {
			_, _ = k.hear()
			k.send(hello)
			k.drain()
		})
		defer c.Close()
		synctest.Wait()
		if peer := c.endpoints["provider:1"].conn.peer; peer.MaxMessage != mostMessage || peer.MaxMetadata != mostMessage {
			t.Errorf("the consumer believes %d and %d, want %d", peer.MaxMessage, peer.MaxMetadata, mostMessage)
		}
	})
}

// TestGoneFor: handlers learn who goes, the consumer or the provider.
func TestGoneFor(t *testing.T) {
	for _, tt := range []struct {
		when  string
		cause error // nil: the connection has not ended
		want  error
	}{
		{"while it is open", nil, ErrPeerGone},
		{"at the consumer's end", io.EOF, ErrPeerGone},
		{"at a shutdown", errClosed, context.Canceled},
		{"at a shutdown before anything was said", errLeaving, context.Canceled},
	} {
		var c providerConn
		c.ended = make(chan struct{})
		if tt.cause != nil {
			c.cause = tt.cause
			close(c.ended)
		}
		if got := c.goneFor(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.when, got, tt.want)
		}
	}
}
