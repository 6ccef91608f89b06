package proxy_test

import (
	"context"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// noop answers at once and allocates nothing.
type noop struct{}

func (noop) Method(service, name string) *spi.Method {
	return &spi.Method{Service: service, Name: name}
}
func (noop) Invoke(context.Context, *spi.Call) error { return nil }

func BenchmarkStructCall(b *testing.B) {
	var g Greeter
	bind(b, "reflect", &g, noop{})
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Say(ctx, "x"); err != nil {
			b.Fatal(err)
		}
	}
}
