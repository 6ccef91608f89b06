package spi_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

func TestMetadata(t *testing.T) {
	for _, tt := range []struct {
		name       string
		start      spi.Metadata
		key, value string
		want       spi.Metadata
	}{
		{"nil", nil, "a", "1", spi.Metadata{{"a", "1"}}},
		{"append", spi.Metadata{{"a", "1"}}, "b", "2", spi.Metadata{{"a", "1"}, {"b", "2"}}},
		{"replace", spi.Metadata{{"a", "1"}, {"b", "2"}}, "a", "3", spi.Metadata{{"a", "3"}, {"b", "2"}}},
		{"replace the first of two", spi.Metadata{{"a", "1"}, {"a", "2"}}, "a", "3", spi.Metadata{{"a", "3"}, {"a", "2"}}},
		{"keys are exact", spi.Metadata{{"a", "1"}}, "A", "2", spi.Metadata{{"a", "1"}, {"A", "2"}}},
		{"any bytes", nil, "\xff\x00", "", spi.Metadata{{"\xff\x00", ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.start
			m.Set(tt.key, tt.value)
			if !reflect.DeepEqual(m, tt.want) {
				t.Errorf("Set(%q, %q): got %q, want %q", tt.key, tt.value, m, tt.want)
			}
			if got, ok := m.Get(tt.key); got != tt.value || !ok {
				t.Errorf("Get(%q): got %q, %t, want %q, true", tt.key, got, ok, tt.value)
			}
			if got, ok := m.Get("absent"); got != "" || ok {
				t.Errorf("Get of an absent key: got %q, %t, want nothing", got, ok)
			}
		})
	}
	if got, ok := spi.Metadata(nil).Get("a"); got != "" || ok {
		t.Errorf("Get of nil: got %q, %t, want nothing", got, ok)
	}
}

func TestOutgoing(t *testing.T) {
	if got := spi.Outgoing(t.Context()); got != nil {
		t.Errorf("Outgoing of a bare context: got %q, want nil", got)
	}
	one := spi.WithMetadata(t.Context(), "trace", "1")
	two := spi.WithMetadata(one, "user", "ann")
	other := spi.WithMetadata(one, "user", "bob")
	changed := spi.WithMetadata(two, "trace", "2")
	for _, tt := range []struct {
		name string
		ctx  context.Context
		want spi.Metadata
	}{
		{"one", one, spi.Metadata{{"trace", "1"}}},
		{"two", two, spi.Metadata{{"trace", "1"}, {"user", "ann"}}},
		{"a sibling", other, spi.Metadata{{"trace", "1"}, {"user", "bob"}}},
		{"replaced", changed, spi.Metadata{{"trace", "2"}, {"user", "ann"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := spi.Outgoing(tt.ctx); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestOutgoingIsShared: two calls that start from one context may each add to what
// they took from it.
func TestOutgoingIsShared(t *testing.T) {
	ctx := t.Context()
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		ctx = spi.WithMetadata(ctx, key, "1")
		first, second := spi.Outgoing(ctx), spi.Outgoing(ctx)
		first.Set("who", "first")
		second.Set("who", "second")
		if got, _ := first.Get("who"); got != "first" {
			t.Errorf("after %d pairs: got %s, want first", len(first)-1, got)
		}
	}
}

func TestCallFrom(t *testing.T) {
	if got := spi.CallFrom(t.Context()); got != nil {
		t.Errorf("outside a handler: got %v, want nil", got)
	}
	call := &spi.Call{Peer: "10.0.0.1:1"}
	ctx := spi.WithCall(t.Context(), call)
	if got := spi.CallFrom(ctx); got != call {
		t.Errorf("got %v, want the call that was put there", got)
	}
	inner := &spi.Call{}
	if got := spi.CallFrom(spi.WithCall(ctx, inner)); got != inner {
		t.Errorf("of the inner context: got %v, want the inner call", got)
	}
	if got := spi.CallFrom(ownContext{t.Context(), call}); got != call {
		t.Errorf("of a context that answers itself: got %v, want its call", got)
	}
	for _, key := range []any{nil, "call", 1, struct{}{}} {
		if spi.IsCallKey(key) {
			t.Errorf("IsCallKey(%v): got true, want false", key)
		}
	}
}

// ownContext answers for its call without a chain of values.
type ownContext struct {
	context.Context
	call *spi.Call
}

func (c ownContext) Value(key any) any {
	if spi.IsCallKey(key) {
		return c.call
	}
	return c.Context.Value(key)
}
