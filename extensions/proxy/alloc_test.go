//go:build !race

// Under the race detector sync.Pool forgets at random, which allocates.

package proxy_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/proxy"
)

// bare returns a function that calls, by call, a function made by reflect.MakeFunc
// that only returns values made before: what it allocates is what MakeFunc forces.
func bare[F any](call func(F)) func() {
	t := reflect.TypeFor[F]()
	var out []reflect.Value
	for i := range t.NumOut() {
		out = append(out, reflect.Zero(t.Out(i)))
	}
	f := reflect.MakeFunc(t, func([]reflect.Value) []reflect.Value { return out }).Interface().(F)
	return func() { call(f) }
}

func TestStructAllocations(t *testing.T) {
	var g Greeter
	bind(t, "reflect", &g, noop{})
	ctx := context.Background()
	for _, tt := range []struct {
		name string
		call func()
		bare func()
		want float64 // beyond bare
	}{
		{"nothing", func() { _ = g.Ping() }, bare(func(f func() error) { _ = f() }), 1},
		{"a context", func() { _ = g.Touch(ctx) }, bare(func(f func(context.Context) error) { _ = f(ctx) }), 1},
		{"an argument and a result", func() { _, _ = g.Say(ctx, "x") }, bare(func(f func(context.Context, string) (string, error)) { _, _ = f(ctx, "x") }), 2},
		{"two arguments", func() { _, _ = g.Add(1, 2) }, bare(func(f func(a, b int) (int, error)) { _, _ = f(1, 2) }), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			total, forced := testing.AllocsPerRun(200, tt.call), testing.AllocsPerRun(200, tt.bare)
			t.Logf("%v allocations, %v of them by reflect.MakeFunc", total, forced)
			if total-forced > tt.want {
				t.Errorf("allocations beyond those of reflect.MakeFunc: got %v, want %v", total-forced, tt.want)
			}
		})
	}
}

func TestDynamicAllocations(t *testing.T) {
	var call proxy.Dynamic
	bind(t, "dynamic", &call, noop{})
	ctx, reply := context.Background(), new(string)
	args := []any{new(string)}
	if got := testing.AllocsPerRun(200, func() { _ = call(ctx, "Hello.Say", reply, args...) }); got > 0 {
		t.Errorf("allocations: got %v, want 0", got)
	}
}
