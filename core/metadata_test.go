package core_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// mirror answers with the metadata that came, each key doubled.
type mirror struct{ seen *spi.Call }

func (m *mirror) Reflect(ctx context.Context, fail bool) error {
	call := spi.CallFrom(context.WithValue(ctx, new(int), 1)) // through a derived context
	copied := *call
	m.seen = &copied
	for _, p := range call.Metadata {
		call.ReplyMetadata = append(call.ReplyMetadata, spi.Pair{Key: p.Key + p.Key, Value: p.Value})
	}
	if fail {
		return errors.New("reflected")
	}
	return nil
}

func TestMetadata(t *testing.T) {
	bytes := "\x00\xff any bytes"
	for _, tt := range []struct {
		name      string
		ctx, call spi.Metadata
		seen      spi.Metadata
	}{
		{name: "none"},
		{name: "of the context", ctx: spi.Metadata{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}, seen: spi.Metadata{{Key: "a", Value: "1"}, {Key: "b", Value: "2"}}},
		{name: "of the call", call: spi.Metadata{{Key: "a", Value: bytes}, {Key: bytes, Value: ""}}, seen: spi.Metadata{{Key: "a", Value: bytes}, {Key: bytes, Value: ""}}},
		{name: "of both, the call's first", ctx: spi.Metadata{{Key: "a", Value: "ctx"}, {Key: "b", Value: "ctx"}}, call: spi.Metadata{{Key: "a", Value: "call"}},
			seen: spi.Metadata{{Key: "a", Value: "call"}, {Key: "a", Value: "ctx"}, {Key: "b", Value: "ctx"}}},
		{name: "a key twice", call: spi.Metadata{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}, seen: spi.Metadata{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}},
	} {
		for _, fail := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, m := newWorld(t), new(mirror)
					w.provider("p:1", nil, m)
					c := w.consumer(nil, "p:1")
					ctx := t.Context()
					for _, p := range tt.ctx {
						ctx = spi.WithMetadata(ctx, p.Key, p.Value)
					}
					given := append(spi.Metadata(nil), tt.call...)
					call := &spi.Call{Method: c.Method("mirror", "Reflect"), Args: spi.Values{fail}, Metadata: tt.call, ReplyMetadata: spi.Metadata{{Key: "stale", Value: "x"}}}
					if err := c.Invoke(ctx, call); (err != nil) != fail {
						t.Fatalf("got %v, want an error: %t", err, fail)
					}
					if !reflect.DeepEqual(m.seen.Metadata, tt.seen) {
						t.Errorf("got %q at the handler, want %q", m.seen.Metadata, tt.seen)
					}
					var want spi.Metadata
					for _, p := range tt.seen {
						want = append(want, spi.Pair{Key: p.Key + p.Key, Value: p.Value})
					}
					if !reflect.DeepEqual(call.ReplyMetadata, want) {
						t.Errorf("got %q with the answer, want %q", call.ReplyMetadata, want)
					}
					if !reflect.DeepEqual(call.Metadata, given) {
						t.Errorf("got %q in the call afterwards, want it unchanged: %q", call.Metadata, given)
					}
					if got := m.seen; got.Method.String() != "mirror.Reflect" || got.Peer != "consumer:1" || got.Args.Len() != 1 {
						t.Errorf("got %+v from spi.CallFrom, want the call", got)
					}
				})
			})
		}
	}
}

// keeper keeps what a handler must not keep.
type keeper struct{ ctx context.Context }

func (k *keeper) Keep(ctx context.Context) error { k.ctx = ctx; return nil }

func TestCallIsGoneAfterTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, k := newWorld(t), new(keeper)
		w.provider("p:1", nil, k)
		c := w.consumer(nil, "p:1")
		if _, err := invoke[any](t.Context(), c, "keeper", "Keep"); spi.CodeOf(err) != spi.Internal { // it has no result
			t.Errorf("got %v, want INTERNAL", err)
		}
		w.must(c.Invoke(t.Context(), &spi.Call{Method: c.Method("keeper", "Keep")}))
		synctest.Wait()
		if call := spi.CallFrom(k.ctx); call != nil {
			t.Errorf("got %+v, want no call after the handler has returned", call)
		}
		if k.ctx.Err() == nil {
			t.Error("got a living context after the handler has returned, want it ended")
		}
		<-k.ctx.Done()
	})
}

// TestMetadataOnTheWire: what a peer of another make would see.
func TestMetadataOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(nil, "p:1")
		peer := w.accept(l)
		call := start[string](spi.WithMetadata(t.Context(), "traceparent", "00-1"), c, "echo", "Say", "x")
		f := w.readAs(peer, coretest.TypeRequest)
		if want := (spi.Metadata{{Key: "traceparent", Value: "00-1"}}); !reflect.DeepEqual(f.Pairs, want) {
			t.Errorf("got %q, want %q", f.Pairs, want)
		}
		w.must(peer.Answer(f, []byte(`"x"`)))
		if _, err := call.wait(); err != nil {
			t.Error(err)
		}
	})
}
