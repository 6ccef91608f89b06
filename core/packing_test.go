package core_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// deflate is a compressor that counts the bodies that it made, and made whole again.
type deflate struct {
	packed, unpacked atomic.Int32
}

var _ spi.Compressor = (*deflate)(nil)

func (d *deflate) Compress(dst, src []byte) ([]byte, error) {
	d.packed.Add(1)
	b := bytes.NewBuffer(dst)
	w, err := flate.NewWriter(b, flate.BestSpeed)
	if err != nil {
		return dst, err
	}
	_, err = w.Write(src)
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}

func (d *deflate) Decompress(dst, src []byte, limit int) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	n, err := io.Copy(b, io.LimitReader(flate.NewReader(bytes.NewReader(src)), int64(limit)+1))
	if err == nil && n > int64(limit) {
		return b.Bytes(), spi.ErrTooLarge
	}
	d.unpacked.Add(1)
	return b.Bytes(), err
}

// packed returns what the consumer's side of deflate makes of a text.
func packed(text string) []byte {
	b, err := new(deflate).Compress(nil, []byte(text))
	if err != nil {
		panic(err)
	}
	return b
}

// noise cannot be compressed.
func noise(n int) string {
	var b strings.Builder
	for x := uint32(1); b.Len() < n; {
		x = x*1664525 + 1013904223
		fmt.Fprintf(&b, "%08x", x)
	}
	return b.String()[:n]
}

func TestChecksummedAndCompressedCalls(t *testing.T) {
	for _, tt := range []struct {
		name               string
		checksum           [2]bool // of the consumer, of the provider
		consumer, provider string  // compressors; "": none
		text               string
		packed             int32 // bodies compressed and decompressed
	}{
		{name: "plain", text: "x"},
		{name: "checksum of requests", checksum: [2]bool{true, false}, text: "x"},
		{name: "checksum of answers", checksum: [2]bool{false, true}, text: "x"},
		{name: "checksums of large bodies", checksum: [2]bool{true, true}, text: strings.Repeat("x", 300_000)},
		{name: "compressed", consumer: "deflate", provider: "deflate", text: strings.Repeat("x", 300_000), packed: 2},
		{name: "compressed, large all the same", checksum: [2]bool{true, true}, consumer: "deflate", provider: "deflate", text: noise(400_000), packed: 2},
		{name: "too small to compress", consumer: "deflate", provider: "deflate", text: strings.Repeat("x", 1000)},
		{name: "not by the provider", consumer: "deflate", text: strings.Repeat("x", 3000)},
		{name: "by another name", consumer: "deflate", provider: "other", text: strings.Repeat("x", 3000)},
		{name: "not by the consumer", provider: "deflate", text: strings.Repeat("x", 3000)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				d := new(deflate)
				w.provider("p:1", func(cfg *core.ProviderConfig) {
					cfg.Checksum = tt.checksum[1]
					if tt.provider != "" {
						cfg.Compressors = map[string]spi.Compressor{tt.provider: d, "another": new(deflate)}
					}
				}, echo{})
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					cfg.Checksum = tt.checksum[0]
					if tt.consumer != "" {
						cfg.CompressorName, cfg.Compressor = tt.consumer, d
					}
				}, "p:1")
				if got, err := invoke[string](t.Context(), c, "echo", "Say", tt.text); got != tt.text || err != nil {
					t.Errorf("got %d bytes, %v, want %d", len(got), err, len(tt.text))
				}
				if p, u := d.packed.Load(), d.unpacked.Load(); p != tt.packed || u != tt.packed {
					t.Errorf("got %d bodies compressed and %d decompressed, want %d", p, u, tt.packed)
				}
			})
		})
	}
}

// A body that does not shrink travels as it is.
func TestBodyThatDoesNotShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		l := w.listen("p:1")
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.CompressorName, cfg.Compressor, cfg.CompressAbove, cfg.Checksum = "swell", swell{}, 0, true
		}, "p:1")
		nc, err := l.Accept()
		w.must(err)
		p := coretest.NewPeer(nc)
		defer p.Close()
		_, err = p.BeProvider(coretest.Hello{Serializers: []string{"json"}, Compressors: []string{"swell"}})
		w.must(err)
		for _, text := range []string{"grows", "fails"} {
			call := start[string](t.Context(), c, "echo", "Say", text)
			f := w.readAs(p, coretest.TypeRequest)
			if f.Flags != 0 || f.Code != 0 || string(f.Body) != `"`+text+`"` { // nor a checksum: the peer does not know that
				t.Errorf("got %s %q, flags %#x, want it as it is", f, f.Body, f.Flags)
			}
			w.must(p.Answer(f, f.Body))
			if _, err := call.wait(); err != nil {
				t.Error(err)
			}
		}
	})
}

// swell is a compressor that makes nothing smaller.
type swell struct{}

func (swell) Compress(dst, src []byte) ([]byte, error) {
	if bytes.Contains(src, []byte("fails")) {
		return dst, errors.New("out of order")
	}
	return append(append(dst, src...), '.'), nil
}

func (swell) Decompress(dst, src []byte, _ int) ([]byte, error) { return append(dst, src...), nil }

const (
	checksummed = coretest.FlagChecksum
	compressed  = coretest.FlagCompressed
)

// badBodies are bodies that cannot be unpacked by a side that takes 100,000 bytes,
// and what becomes of their calls.
var badBodies = []struct {
	name    string
	flags   uint8
	code    uint8
	body    []byte
	want    spi.Code
	message string
}{
	{"wrong checksum", checksummed, 0, []byte(`"x"1234`), spi.DataLoss, "does not have its checksum"},
	{"no room for a checksum", checksummed, 0, []byte(`"x"`), spi.DataLoss, "does not have its checksum"},
	{"wrong checksum in front of the rest", checksummed | compressed, 1, append(packed(`"x"`), 1, 2, 3, 4), spi.DataLoss, "does not have its checksum"},
	{"damaged", compressed, 1, []byte("\xff\xff\xff\xff"), spi.DataLoss, "decompress the"},
	{"cut off", compressed, 1, packed(`"` + noise(5000) + `"`)[:2000], spi.DataLoss, "decompress the"},
	{"a bomb", compressed, 1, packed(strings.Repeat("x", 10<<20)), spi.ResourceExhausted, "becomes more than"},
	{"unknown compressor", compressed, 7, packed(`"x"`), spi.Unimplemented, "compressed by number 7, which is not offered here"},
}

func TestProviderGetsABadBody(t *testing.T) {
	for _, tt := range badBodies {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				s, err := core.NewService("", echo{})
				w.must(err)
				w.must(s.Inline("Say"))
				w.provider("p:1", func(cfg *core.ProviderConfig) {
					cfg.Limits.Message, cfg.Compressors = 100_000, map[string]spi.Compressor{"deflate": new(deflate)}
				}, s)
				nc, err := w.network.Dial(t.Context(), "p:1")
				w.must(err)
				p := coretest.NewPeer(nc)
				defer p.Close()
				_, err = p.BeConsumer(coretest.Hello{Serializers: []string{"json"}, Compressors: []string{"deflate"}, Features: []string{"checksum"}})
				w.must(err)
				bad := coretest.Request(1<<20, "echo", "Say", tt.body)
				bad.Flags, bad.Code = tt.flags, tt.code
				w.must(p.Write(bad))
				f := w.readAs(p, coretest.TypeError)
				if spi.Code(f.Code) != tt.want || !strings.Contains(f.Message, tt.message) || f.ID != 1<<20 {
					t.Errorf("got %s %v, want %v with %q", f, spi.Code(f.Code), tt.want, tt.message)
				}
				w.must(p.Write(coretest.Request(2<<20, "echo", "Say", []byte(`"fine"`))))
				w.readAs(p, coretest.TypeResponse)
			})
		})
	}
}

func TestConsumerGetsABadBody(t *testing.T) {
	for _, tt := range badBodies {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := w.listen("p:1")
				c := w.consumer(func(cfg *core.ConsumerConfig) {
					cfg.Limits.Message, cfg.CompressorName, cfg.Compressor = 100_000, "deflate", new(deflate)
				}, "p:1")
				nc, err := l.Accept()
				w.must(err)
				p := coretest.NewPeer(nc)
				defer p.Close()
				_, err = p.BeProvider(coretest.Hello{Serializers: []string{"json"}, Compressors: []string{"deflate"}, Features: []string{"checksum"}})
				w.must(err)
				call := start[string](t.Context(), c, "echo", "Say", "x")
				f := w.readAs(p, coretest.TypeRequest)
				w.must(p.Write(coretest.Frame{Type: coretest.TypeResponse, Flags: tt.flags, Serializer: 1, Code: tt.code, ID: f.ID, Body: tt.body}))
				_, err = call.wait()
				var e *spi.Error
				if !errors.As(err, &e) || e.Code != tt.want || e.Sent != spi.SentMaybe || e.Phase != spi.PhaseDecode || !strings.Contains(e.Message, tt.message) {
					t.Errorf("got %v, want %v with %q, sent maybe", err, tt.want, tt.message)
				}
				call = start[string](t.Context(), c, "echo", "Say", "fine")
				f = w.readAs(p, coretest.TypeRequest)
				w.must(p.Answer(f, f.Body))
				if _, err := call.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A compressor that does not keep to the limit is not trusted.
func TestCompressorBeyondTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", func(cfg *core.ProviderConfig) {
			cfg.Limits.Message, cfg.Compressors = 100_000, map[string]spi.Compressor{"careless": careless{}}
		}, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.CompressorName, cfg.Compressor = "careless", careless{} }, "p:1")
		_, err := invoke[string](t.Context(), c, "echo", "Say", strings.Repeat("x", 5000))
		w.expect(err, failure{code: spi.ResourceExhausted, phase: spi.PhaseDecode, endpoint: "p:1", remote: true,
			message: "becomes more than", hint: "the key limits.message of the receiver bounds it"})
	})
}

// careless is a compressor that knows no limit.
type careless struct{}

func (careless) Compress(dst, _ []byte) ([]byte, error) { return append(dst, 1), nil }

func (careless) Decompress(dst, _ []byte, limit int) ([]byte, error) {
	return append(dst, make([]byte, limit+1)...), nil
}

// What is too large for the provider is so before it is compressed.
func TestCompressedRequestWithinLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		both := map[string]spi.Compressor{"deflate": new(deflate)}
		w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.Limits.Message, cfg.Compressors = 100_000, both }, echo{})
		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.CompressorName, cfg.Compressor = "deflate", both["deflate"] }, "p:1")
		_, err := invoke[string](t.Context(), c, "echo", "Say", strings.Repeat("x", 200_000))
		w.expect(err, failure{code: spi.ResourceExhausted, phase: spi.PhaseEncode, sent: spi.SentNo, endpoint: "p:1", message: "the provider takes 100000"})
	})
}
