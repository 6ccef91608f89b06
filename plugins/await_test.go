package plugins

import (
	"context"
	"errors"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

func TestAwait(t *testing.T) {
	p := &Plugin{cfg: spi.PluginConfig{Name: "acme"}, log: unheard(), changed: make(chan struct{})}
	type got struct {
		g   *generation
		err error
	}
	await := func(ctx context.Context, after uint64) <-chan got {
		answer := make(chan got, 1)
		go func() {
			g, err := p.await(ctx, after)
			answer <- got{g, err}
		}()
		return answer
	}
	first, second := &generation{number: 1}, &generation{number: 2}
	one, next, third := await(t.Context(), 0), await(t.Context(), 1), await(t.Context(), 2)
	p.publish(first)
	if a := <-one; a.g != first || a.err != nil || first.uses != 1 {
		t.Errorf("await any: got %v, %v with %d uses, want the first, in use", a.g, a.err, first.uses)
	}
	p.publish(second)
	if a := <-next; a.g != second || a.err != nil || second.uses != 1 {
		t.Errorf("await after 1: got %v, %v with %d uses, want the second, in use", a.g, a.err, second.uses)
	}
	if g, err := p.await(t.Context(), 1); g != second || err != nil {
		t.Errorf("await what is there: got %v, %v, want the second", g, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := await(ctx, 2)
	cancel()
	if a := <-cancelled; !errors.Is(a.err, context.Canceled) {
		t.Errorf("await with its context ended: got %v, want %v", a.err, context.Canceled)
	}
	p.ready.Store(nil)
	p.enter(stateStopped)
	if a := <-third; !errors.Is(a.err, errNotReady) {
		t.Errorf("await of a closed plugin: got %v, want %v", a.err, errNotReady)
	}
	if _, err := p.await(t.Context(), 2); !errors.Is(err, errNotReady) {
		t.Errorf("await of a closed plugin: got %v, want %v", err, errNotReady)
	}
}
