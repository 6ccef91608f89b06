package bhrpc_test

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// runLength is a compressor of texts that repeat one letter within quotes.
type runLength struct{ packed, unpacked *atomic.Int32 }

func (r runLength) Compress(dst, src []byte) ([]byte, error) {
	r.packed.Add(1)
	return append(dst, src[1], byte(len(src)>>16), byte(len(src)>>8), byte(len(src))), nil
}

func (r runLength) Decompress(dst, src []byte, limit int) ([]byte, error) {
	r.unpacked.Add(1)
	n := int(src[1])<<16 | int(src[2])<<8 | int(src[3])
	if n > limit {
		return dst, spi.ErrTooLarge
	}
	return append(append(append(dst, '"'), bytes.Repeat(src[:1], n-2)...), '"'), nil
}

// Echo is a service whose answers are as large as its arguments.
type Echo struct{}

// Say returns what it is told.
func (Echo) Say(text string) (string, error) { return text, nil }

func TestCompressor(t *testing.T) {
	r := runLength{new(atomic.Int32), new(atomic.Int32)}
	register := func(cat *spi.Catalog) error {
		return spi.Register(cat.Compressors, "run-length", "Counts letters.", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.Compressor, error) { return r, nil })
	}
	text := strings.Repeat("x", 10_000)
	for _, tt := range []struct {
		name     string
		provider map[string]any
		consumer map[string]any
		want     int32 // bodies compressed
	}{
		{"by default nothing is", nil, nil, 0},
		{"by key", nil, map[string]any{"consumer.compressor": "run-length"}, 2},
		{"offered by name", map[string]any{"provider.compressors": []string{"run-length"}, "provider.checksum": true}, map[string]any{"consumer.compressor": "run-length"}, 2},
		{"results are too small", map[string]any{"provider.compress_above": "10KiB"}, map[string]any{"consumer.compressor": "run-length"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.packed.Store(0)
			r.unpacked.Store(0)
			cfg, _ := load(t, tt.provider)
			if err := cfg.Set("provider.listen", "127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			p, err := open(t, cfg, register).Provide(t.Context(), Echo{})
			if err != nil {
				t.Fatal(err)
			}
			cfg, _ = load(t, tt.consumer)
			if err := cfg.Set("consumer.addresses", []string{p.Addr().String()}); err != nil {
				t.Fatal(err)
			}
			app := open(t, cfg, register)
			if got, err := bhrpc.Call[string](t.Context(), app, "Echo.Say", text); got != text || err != nil {
				t.Errorf("got %d letters, %v, want %d", len(got), err, len(text))
			}
			if p, u := r.packed.Load(), r.unpacked.Load(); p != tt.want || u != tt.want {
				t.Errorf("got %d bodies compressed and %d decompressed, want %d", p, u, tt.want)
			}
			var table strings.Builder
			if err := app.Explain(&table); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Contains(table.String(), "consumer.compressor"), tt.consumer != nil; got != want {
				t.Errorf("explain shows the compressor: got %v, want %v\n%s", got, want, &table)
			}
		})
	}
	for _, key := range []string{"consumer.compressor", "provider.compressors.0"} {
		value := any("run-lenght")
		cfg, _ := load(t, nil)
		if key != "consumer.compressor" {
			value = []any{value}
		}
		if err := cfg.Set(strings.TrimSuffix(key, ".0"), value); err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.Open(t.Context(), register); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), `did you mean "run-length"?`) {
			t.Errorf("%s misspelt: got %v, want the nearest name", key, err)
		}
	}
}
