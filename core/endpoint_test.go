package core

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// A provider that takes connections and gives them up at once is not asked again
// and again without end: what did not last counts as a failed attempt.
func TestEndpointBacksOff(t *testing.T) {
	for _, test := range []struct {
		name   string
		accept func(k *talker)
		first  time.Duration // the second attempt comes within this
	}{
		{"closes at once", func(k *talker) { k.close() }, 500 * time.Millisecond},
		{"closes after the handshake", func(k *talker) { k.welcome(); k.close() }, 200 * time.Millisecond},
		{"says GOAWAY after the handshake", func(k *talker) {
			k.welcome()
			k.say(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown}, nil, nil)
			k.drain()
			k.close()
		}, 0},
		{"sends something else", func(k *talker) { k.send(make([]byte, 100)); k.drain(); k.close() }, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var dials []time.Duration
				c := newEchoConsumer(t, nil, func(k *talker) {
					dials = append(dials, time.Since(start))
					test.accept(k)
				})
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if len(dials) < 20 || len(dials) > 120 { // the cap is 30 s, with jitter 6 to 30
					t.Errorf("got %d attempts in ten minutes, want 20 to 120", len(dials))
				}
				if dials[1] > test.first {
					t.Errorf("got the second attempt after %v, want it within %v", dials[1], test.first)
				}
			})
		})
	}
}

// A connection that lasted starts the count anew.
func TestEndpointForgetsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ends []time.Time
		var gaps []time.Duration
		c := newEchoConsumer(t, nil, func(k *talker) {
			if n := len(ends); n > 0 {
				gaps = append(gaps, time.Since(ends[n-1]))
			}
			if len(ends) >= 10 {
				k.welcome()
				time.Sleep(10 * time.Second)
			}
			ends = append(ends, time.Now())
			k.close()
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second) // the last provider goes too
		if gaps[9] < 5*time.Second {
			t.Errorf("got %v after ten failures, want more than 5s", gaps[9])
		}
		for _, gap := range gaps[10:] {
			if gap > 200*time.Millisecond {
				t.Errorf("got %v after a connection that lasted, want at most 200ms", gap)
			}
		}
	})
}

// A Consumer with many endpoints dials 64 of them at a time.
func TestDialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const endpoints = 200
		var dialling, most, all int
		var mu sync.Mutex
		c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
			cfg.Endpoints = nil
			for i := range endpoints {
				cfg.Endpoints = append(cfg.Endpoints, spi.Endpoint{Address: fmt.Sprintf("provider:%d", i)})
			}
			cfg.Reconnect.Base, cfg.Reconnect.Cap = spi.Duration(time.Minute), spi.Duration(time.Minute)
			cfg.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
				mu.Lock()
				dialling, all = dialling+1, all+1
				most = max(most, dialling)
				mu.Unlock()
				<-ctx.Done()
				mu.Lock()
				dialling--
				mu.Unlock()
				return nil, ctx.Err()
			}
		}, nil)
		time.Sleep(11 * time.Second) // four times the dial timeout, which none survives
		mu.Lock()
		if most != 64 || all != endpoints {
			t.Errorf("got %d dials at once and %d in all, want 64 and %d", most, all, endpoints)
		}
		mu.Unlock()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

var errNoRoute = errors.New("no route")

// The text of a failed attempt says how many there were.
func TestEndpointCountsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
			cfg.Dial = func(context.Context, string) (net.Conn, error) { return nil, errNoRoute }
		}, nil)
		time.Sleep(3 * time.Second)
		e := c.endpoints["provider:1"]
		e.mu.Lock()
		last := e.last
		e.mu.Unlock()
		if !errors.Is(last, errNoRoute) || !strings.Contains(errorText(last), " attempts in ") {
			t.Errorf("got %v, want %v and how often", last, errNoRoute)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// slowClose is a connection whose Close takes a second.
type slowClose struct{ net.Conn }

// Close implements [net.Conn].
func (c slowClose) Close() error {
	time.Sleep(time.Second)
	return c.Conn.Close()
}

// Close returns when every connection is gone, those that drain too.
func TestConsumerCloseWaitsForConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				nc, err := dial(ctx, address)
				return slowClose{nc}, err
			}
		}, func(k *talker) { k.welcome(); k.drain(); k.close() })
		synctest.Wait()
		start := time.Now()
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took != time.Second {
				t.Errorf("got closed after %v, want after the connection, 1s", took)
			}
		}
	})
}

// alerted is a connection on which the peer said what it thinks of a certificate.
type alerted struct{ net.Conn }

// Read implements [net.Conn].
func (alerted) Read([]byte) (int, error) {
	return 0, &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}
}

// A certificate that is not accepted is shown again as seldom as possible, from the
// first attempt on.
func TestEndpointWithABadCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Time
		c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
			cfg.Dial = func(context.Context, string) (net.Conn, error) {
				dials = append(dials, time.Now())
				near, _ := net.Pipe() // nobody takes this side's HELLO
				return alerted{near}, nil
			}
		}, nil)
		synctest.Wait()
		begin := time.Now()
		for range 3 {
			err := c.Invoke(t.Context(), &spi.Call{Method: c.Method("Echo", "Say")})
			if spi.CodeOf(err) != spi.Unauthenticated || !errors.Is(err, spi.ErrConnLost) || time.Since(begin) != 0 {
				t.Errorf("got %v after %v, want UNAUTHENTICATED at once", err, time.Since(begin))
			}
		}
		time.Sleep(10 * time.Minute)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for i, at := range dials[1:] {
			if got := at.Sub(dials[i]); got < 6*time.Second || got > 30*time.Second {
				t.Errorf("got attempt %d after %v, want it between 6s and 30s", i+2, got)
			}
		}
		if len(dials) < 20 {
			t.Errorf("got %d attempts, want it to go on trying", len(dials))
		}
	})
}
