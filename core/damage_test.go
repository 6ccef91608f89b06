package core

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// runs counts how often each text was served. It is safe for concurrent use.
type runs struct {
	mu sync.Mutex
	of map[string]int
}

func (r *runs) note(method, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[method+" "+text]++
}

// reset returns what was counted and begins anew.
func (r *runs) reset() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.of
	r.of = make(map[string]int)
	return old
}

// only returns the one connection of a Provider that is not healthy.
func only(p *Provider, healthy *providerConn) *providerConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if c != healthy {
			return c
		}
	}
	return nil
}

// Whatever a consumer sends, nothing panics, nothing leaks, other connections go
// on, and damage costs as little as it can.
func TestProviderTakesDamage(t *testing.T) {
	counted := &runs{of: make(map[string]int)}
	withProvider(t, &echo{ran: counted.note}, nil, func(t *testing.T, p *Provider) {
		healthy := connect(t, p)
		defer healthy.close()
		other := only(p, nil)
		healthy.send(callFrame(1, 1, "Say", seal("healthy")))
		healthy.expect(wire.Response)
		whole, n := consumerHalf(), uint64(1)
		whole.damages(func(d damage) {
			counted.reset()
			k := connectRaw(t, p)
			c := only(p, other)
			answers := make(map[uint64]told)
			var reading sync.WaitGroup
			reading.Go(func() {
				for f, err := k.hear(); err == nil; f, err = k.hear() {
					if f.Type == wire.Response || f.Type == wire.Error {
						answers[f.ID>>slotBits] = f
					}
				}
			})
			k.send(d.bytes)
			synctest.Wait()
			k.close()
			reading.Wait()
			synctest.Wait()
			checkProviderDamage(t, whole, d, c.cause, counted.reset(), answers)
			if left := p.admitted.Load(); left != 0 || only(p, other) != nil {
				t.Errorf("%s at %d: got %d requests and connection %v left, want none", d.kind, d.at, left, only(p, other))
			}
			n++
			healthy.send(callFrame(n, 1, "", seal("healthy")))
			if f := healthy.expect(wire.Response); string(f.payload) != string(seal("healthy")) {
				t.Errorf("%s at %d: the healthy connection got %q", d.kind, d.at, f.payload)
			}
		})
	})
}

func checkProviderDamage(t *testing.T, whole *conversation, d damage, cause error, ran map[string]int, answers map[uint64]told) {
	t.Helper()
	for text, n := range ran {
		if n > 1 {
			t.Errorf("%s at %d: %q was run %d times", d.kind, d.at, text, n)
		}
	}
	hit := whole.at(d.at)
	f := whole.frames[hit]
	before := 0 // calls of Say in whole frames ahead of the damage
	for _, s := range whole.frames[:hit] {
		if s.Type == wire.Request && s.ID>>slotBits != 5 {
			before++
			if a := answers[s.ID>>slotBits]; d.kind == "cut" && a.Type != wire.Response {
				t.Errorf("cut at %d: got answer %v to call %d, want a result", d.at, a.Type, s.ID>>slotBits)
			}
		}
	}
	reason, _ := reasonOf(cause)
	switch {
	case d.kind == "cut":
		if reason != spi.ReasonEOF || says(ran) != before {
			t.Errorf("cut at %d: got %q after %v, want %q after %d calls", d.at, reason, ran, spi.ReasonEOF, before)
		}
	case d.kind == "changed" && d.at < f.metadata:
		if reason != spi.ReasonProtocolError || says(ran) > before {
			t.Errorf("header of frame %d changed at %d: got %q (%v) after %v, want %q after at most %d calls", hit, d.at, reason, cause, ran, spi.ReasonProtocolError, before)
		}
	case d.kind == "changed" && f.Type == wire.Request && d.at >= f.body:
		id := f.ID >> slotBits
		if a := answers[id]; id != 5 && (a.Type != wire.Error || spi.Code(a.Code) != spi.InvalidArgument) {
			t.Errorf("body of call %d changed at %d: got %v %v, want %v", id, d.at, a.Type, spi.Code(a.Code), spi.InvalidArgument)
		}
		if len(answers) != 5 && id != 5 || reason != spi.ReasonGoAway {
			t.Errorf("body of call %d changed at %d: got %d answers and %q, want all 5 and %q", id, d.at, len(answers), reason, spi.ReasonGoAway)
		}
	}
}

// says is how many calls of Say were served.
func says(ran map[string]int) int {
	n := 0
	for text := range ran {
		if text[:3] == "Say" {
			n++
		}
	}
	return n
}

// Whatever a provider sends, every call ends once, other connections go on, and
// damage costs as little as it can.
func TestConsumerTakesDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLedger(t)
		defer l.settle()
		whole := providerHalf()
		whole.damages(func(d damage) {
			outcome := damagedCalls(t, d.bytes)
			checkConsumerDamage(t, whole, d, outcome)
		})
	})
}

// damagedCalls makes the four calls, lets a provider answer with b, and returns how
// they ended.
func damagedCalls(t *testing.T, b []byte) (outcomes [4]error) {
	t.Helper()
	var bad *talker
	var peers sync.WaitGroup
	c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
		cfg.Endpoints = []spi.Endpoint{{Address: "bad:1"}, {Address: "good:1"}}
		cfg.LoadBalancer = &chooser{byMetadata: true}
		cfg.Dial = func(_ context.Context, address string) (net.Conn, error) {
			if address == "bad:1" && bad != nil {
				return nil, errNoRoute // once is enough
			}
			near, far := net.Pipe()
			k := newTalker(t, far)
			if address == "bad:1" {
				bad = k
				peers.Go(k.drain)
			} else {
				peers.Go(k.echoAll)
			}
			return near, nil
		}
	}, nil)
	synctest.Wait()
	hello := min(len(b), len(helloFrame()))
	bad.send(b[:hello])
	synctest.Wait()
	var calls sync.WaitGroup
	ended := make([]int, len(outcomes))
	for i := range outcomes {
		calls.Go(func() {
			var reply []byte
			err := c.Invoke(t.Context(), &spi.Call{Method: c.Method("Echo", "Say"), Args: spi.Values{[]byte("x")}, Reply: &reply, Metadata: spi.Metadata{{Key: "to", Value: "0"}}})
			if err == nil {
				err = replied(reply)
			}
			outcomes[i] = err
			ended[i]++
		})
		synctest.Wait()
	}
	bad.send(b[hello:])
	synctest.Wait()
	var reply []byte
	if err := c.Invoke(t.Context(), &spi.Call{Method: c.Method("Echo", "Say"), Args: spi.Values{[]byte("x")}, Reply: &reply, Metadata: spi.Metadata{{Key: "to", Value: "1"}}}); err != nil || string(reply) != "x" {
		t.Errorf("the healthy connection: got %q, %v", reply, err)
	}
	bad.close()
	synctest.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	calls.Wait()
	bad.close()
	peers.Wait()
	for i, n := range ended {
		if n != 1 {
			t.Errorf("call %d ended %d times", i+1, n)
		}
	}
	return outcomes
}

// replied is a call that was answered with a result.
type replied string

func (r replied) Error() string { return fmt.Sprintf("a reply: %s", string(r)) }

// echoAll answers every call with its own body.
func (k *talker) echoAll() {
	k.welcome()
	for f, err := k.hear(); err == nil; f, err = k.hear() {
		if f.Type == wire.Request {
			k.say(wire.Header{Type: wire.Response, Serializer: 3, ID: f.ID}, nil, f.payload[f.Metadata:])
		}
	}
	k.close()
}

func checkConsumerDamage(t *testing.T, whole *conversation, d damage, outcomes [4]error) {
	t.Helper()
	want := [4]string{"a reply: fine", "NOT_FOUND", "a reply: also fine", "UNAVAILABLE"}
	hit := whole.at(d.at)
	f := whole.frames[hit]
	for i, id := range []uint64{answeredCall, failedCall, pairsCall, silentCall} {
		got := outcomes[i].Error()
		code := spi.CodeOf(outcomes[i]).String()
		if _, ok := outcomes[i].(replied); ok {
			code = got
		}
		mine := hit
		for n, s := range whole.frames {
			if s.ID == id {
				mine = n
			}
		}
		switch {
		case hit == 0: // no connection, or another one
		case mine < hit && id != silentCall && code != want[i]:
			t.Errorf("%s at %d: call %d, answered before: got %s, want %s", d.kind, d.at, i+1, got, want[i])
		case d.kind == "changed" && d.at < f.metadata && (mine >= hit || id == silentCall):
			checkLost(t, d, i, outcomes[i], spi.ReasonProtocolError)
		case d.kind == "cut" && (mine >= hit || id == silentCall):
			checkLost(t, d, i, outcomes[i], spi.ReasonEOF)
		case d.kind == "changed" && d.at >= f.body && f.ID == id && f.Type == wire.Response && code != "INTERNAL":
			t.Errorf("body changed at %d: call %d: got %s, want INTERNAL", d.at, i+1, got)
		case d.kind == "changed" && d.at >= f.body && f.ID != id && id != silentCall && f.Type != wire.GoAway && code != want[i]:
			t.Errorf("body of another changed at %d: call %d: got %s, want %s", d.at, i+1, got, want[i])
		}
	}
}

func checkLost(t *testing.T, d damage, i int, err error, reason string) {
	t.Helper()
	e, ok := err.(*spi.Error)
	if !ok || e.Code != spi.Unavailable || e.Reason != reason || e.Sent != spi.SentMaybe {
		t.Errorf("%s at %d: call %d: got %v, want UNAVAILABLE because of %s, sent maybe", d.kind, d.at, i+1, err, reason)
	}
}
