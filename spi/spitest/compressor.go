package spitest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// Compressor tests that c keeps the contract of [spi.Compressor], with bodies of up
// to 8 MiB. c stays the caller's to close.
func Compressor(t *testing.T, c spi.Compressor) {
	t.Helper()
	run(t, compressorRules, c)
}

var compressorRules = []rule[spi.Compressor]{
	{"body-round-trip", "Decompress of what Compress wrote gives the same bytes.", checkBodies},
	{"body-append", "Both append: what dst holds stays, whether dst is nil, full or has room.", checkBodyAppend},
	{"body-results-stay", "What was returned belongs to the caller: later calls must not change it.", checkBodyResultsStay},
	{"src-not-kept", "Neither keeps src: its bytes are reused as soon as the call returns.", checkSourceNotKept},
	{"src-unmodified", "Neither modifies src, nor the bytes around it.", checkSourceUnmodified},
	{"limit", "Exactly limit bytes pass, one more is spi.ErrTooLarge, a compressed bomb too, and that costs no memory beyond the limit.", checkLimit},
	{"body-truncated", "Data that is cut off is an error, never a body.", checkBodyTruncated},
	{"body-damaged", "Damaged data is an error or harmless, never another body, and never costs memory beyond the limit.", checkBodyDamaged},
	{"body-follows", "Decompress reads exactly one body and refuses what is left over.", checkBodyFollows},
	{"body-random", "Data that no compressor wrote is an error, never a panic, and never costs memory beyond the limit.", checkBodyRandom},
	{"body-concurrent", "A compressor is used by many goroutines at once.", checkBodyConcurrent},
}

// body is something to compress.
type body struct {
	name string
	data []byte
}

// bodies returns bodies of many sizes, of what compresses well, badly and like text.
func bodies() []body {
	var all []body
	for _, n := range []int{0, 1, 2, 3, 7, 31, 100, 1000, 4096, 65535, 65536, 65537} {
		for _, kind := range []string{"zeros", "text", "random"} {
			all = append(all, body{fmt.Sprintf("%s of %d bytes", kind, n), fill(kind, n)})
		}
	}
	return all
}

// few returns the small ones of them.
func few() []body {
	return slices.DeleteFunc(bodies(), func(b body) bool { return len(b.data) > 4096 })
}

func fill(kind string, n int) []byte {
	switch kind {
	case "zeros":
		return make([]byte, n)
	case "text":
		return []byte(strings.Repeat("the quick brown fox 0123 jumps; ", n/32+1)[:n])
	}
	random, data := rand.New(rand.NewPCG(5, uint64(n))), make([]byte, n)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// compress appends the compressed form of b to dst and reports an error.
func compress(r *report, c spi.Compressor, dst []byte, b body) ([]byte, bool) {
	out, err := c.Compress(dst, b.data)
	if err != nil {
		r.faultf("%s: Compress: got error %v", b.name, err)
	}
	return out, err == nil
}

// decompress compares what data becomes with b.
func decompress(r *report, c spi.Compressor, dst, data []byte, b body) []byte {
	out, err := c.Decompress(dst, data, len(b.data))
	switch {
	case err != nil:
		r.faultf("%s: Decompress of what Compress wrote: got error %v", b.name, err)
		return nil
	case len(out) < len(dst) || !bytes.Equal(out[len(dst):], b.data):
		r.faultf("%s: Decompress: got %.60q, want %.60q", b.name, out, b.data)
	}
	return out
}

func checkBodies(r *report, c spi.Compressor) {
	for _, b := range append(bodies(), body{"text of 1 MiB", fill("text", 1<<20)}) {
		if data, ok := compress(r, c, nil, b); ok {
			decompress(r, c, nil, data, b)
		}
		if r.broken() {
			return
		}
	}
}

func checkBodyAppend(r *report, c spi.Compressor) {
	prefix := []byte("what was here before")
	for _, b := range []body{{"nothing", nil}, {"text", fill("text", 1000)}, {"zeros", fill("zeros", 100_000)}, {"random", fill("random", 5000)}} {
		for name, dst := range map[string]func() []byte{
			"nil dst":                func() []byte { return nil },
			"full dst":               func() []byte { return slices.Clip(slices.Clone(prefix)) },
			"dst with a little room": func() []byte { return append(make([]byte, 0, len(prefix)+3), prefix...) },
			"dst with much room":     func() []byte { return append(make([]byte, 0, 1<<20), prefix...) },
		} {
			b := body{b.name + ", " + name, b.data}
			given := dst()
			data, ok := compress(r, c, given, b)
			if !ok {
				return
			}
			if len(data) < len(given) || !bytes.Equal(data[:len(given)], prefix[:len(given)]) {
				r.faultf("%s: Compress: got %.40q…, want it to begin with dst", b.name, data)
				return
			}
			data = bytes.Clone(data[len(given):])
			given = dst()
			if out := decompress(r, c, given, data, b); out != nil && !bytes.Equal(out[:len(given)], prefix[:len(given)]) {
				r.faultf("%s: Decompress: got %.40q…, want it to begin with dst", b.name, out)
			}
		}
	}
}

func checkBodyResultsStay(r *report, c spi.Compressor) {
	b := body{"first", fill("text", 3000)}
	data, ok := compress(r, c, nil, b)
	if !ok {
		return
	}
	out := decompress(r, c, nil, data, b)
	want := bytes.Clone(data)
	for _, kind := range []string{"zeros", "random", "text"} {
		later := body{kind, fill(kind, 2000)}
		if data, ok := compress(r, c, nil, later); ok {
			decompress(r, c, nil, data, later)
		}
	}
	if !bytes.Equal(data, want) || out != nil && !bytes.Equal(out, b.data) {
		r.faultf("results after later calls: got %.60q and %.60q, want them unchanged", data, out)
	}
}

func checkSourceNotKept(r *report, c spi.Compressor) {
	for _, b := range few() {
		given := body{b.name, bytes.Clone(b.data)}
		data, ok := compress(r, c, nil, given)
		if !ok {
			return
		}
		poison(given.data)
		source := bytes.Clone(data)
		out := decompress(r, c, nil, source, b)
		poison(source)
		if out != nil && !bytes.Equal(out, b.data) {
			r.faultf("%s: body after its source was overwritten: got %.60q, want %.60q", b.name, out, b.data)
			return
		}
	}
}

func poison(data []byte) {
	for i := range data {
		data[i] = 'X'
	}
}

func checkSourceUnmodified(r *report, c spi.Compressor) {
	between := func(data []byte) (whole, given []byte) { // what others own around it
		whole = slices.Concat([]byte("before"), data, []byte("after"))
		return whole, whole[len("before") : len("before")+len(data)]
	}
	for _, b := range few() {
		whole, given := between(b.data)
		want := bytes.Clone(whole)
		data, ok := compress(r, c, nil, body{b.name, given})
		if !ok {
			return
		}
		if !bytes.Equal(whole, want) {
			r.faultf("%s: src after Compress: got %.60q, want %.60q", b.name, whole, want)
			return
		}
		whole, given = between(data)
		want = bytes.Clone(whole)
		decompress(r, c, nil, given, b)
		if !bytes.Equal(whole, want) {
			r.faultf("%s: src after Decompress: got %.60q, want %.60q", b.name, whole, want)
			return
		}
	}
}

// frugal reports a Decompress that allocates much more than its limit. Others may
// allocate at the same time; not every time, however.
func frugal(r *report, c spi.Compressor, data []byte, limit int) (out []byte, err error) {
	most, least := uint64(limit)+lavish, ^uint64(0)
	for range 3 {
		before := allocated()
		out, err = c.Decompress(nil, data, limit)
		if least = min(least, allocated()-before); least < most {
			return out, err
		}
	}
	r.faultf("Decompress of %d bytes %.40x… with limit %d: allocated at least %d bytes, want at most %d", len(data), data, limit, least, most)
	return out, err
}

func checkLimit(r *report, c spi.Compressor) {
	for _, b := range bodies() {
		data, ok := compress(r, c, nil, b)
		if !ok {
			return
		}
		decompress(r, c, nil, data, b)
		decompress(r, c, make([]byte, 3, 1<<17), data, b)
		for _, limit := range []int{len(b.data) - 1, len(b.data) / 2, 0} {
			if limit < 0 || limit >= len(b.data) {
				continue
			}
			for _, dst := range [][]byte{nil, make([]byte, 3, 1<<17)} {
				if out, err := c.Decompress(dst, data, limit); !errors.Is(err, spi.ErrTooLarge) {
					r.faultf("%s: Decompress with limit %d: got %d bytes, error %v, want ErrTooLarge", b.name, limit, len(out), err)
					return
				}
			}
		}
	}
	bomb := body{"bomb", make([]byte, 8<<20)}
	data, ok := compress(r, c, nil, bomb)
	if !ok {
		return
	}
	if _, err := frugal(r, c, data, 1<<20); !errors.Is(err, spi.ErrTooLarge) {
		r.faultf("8 MiB of zeros with limit 1 MiB: got error %v, want ErrTooLarge", err)
	}
}

// enoughRoom is a limit for bodies of a few kilobytes.
const enoughRoom = 1 << 20

func checkBodyTruncated(r *report, c spi.Compressor) {
	for _, b := range []body{{"nothing", nil}, {"text", fill("text", 2000)}, {"random", fill("random", 700)}} {
		data, ok := compress(r, c, nil, b)
		for n := 0; ok && n < len(data) && !r.broken(); n++ {
			r.guard(func() {
				if out, err := frugal(r, c, bytes.Clone(data[:n]), enoughRoom); err == nil {
					r.faultf("%s: Decompress of %d of %d bytes: got %d bytes and no error, want an error", b.name, n, len(data), len(out))
				}
			})
		}
	}
	stillWorks(r, c)
}

// stillWorks reports that c was harmed by what it was given before.
func stillWorks(r *report, c spi.Compressor) {
	b := body{"afterwards", fill("text", 3000)}
	if data, ok := compress(r, c, nil, b); ok {
		decompress(r, c, nil, data, b)
	}
}

func checkBodyDamaged(r *report, c spi.Compressor) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, b := range []body{{"text", fill("text", 2000)}, {"random", fill("random", 300)}, {"zeros", fill("zeros", 5000)}} {
		data, ok := compress(r, c, nil, b)
		for i := 0; ok && len(data) > 0 && i < 1000 && !r.broken(); i++ {
			damaged := bytes.Clone(data)
			for range 1 + random.IntN(3) {
				at := random.IntN(len(damaged))
				if random.IntN(2) == 0 {
					damaged[at] ^= 1 << random.IntN(8)
				} else {
					damaged[at] = byte(random.Uint32())
				}
			}
			r.guard(func() {
				if out, err := frugal(r, c, damaged, enoughRoom); err == nil && !bytes.Equal(out, b.data) {
					r.faultf("%s: Decompress of damaged data %.60x: got %.60q and no error, want an error", b.name, damaged, out)
				}
			})
		}
	}
	stillWorks(r, c)
}

func checkBodyFollows(r *report, c spi.Compressor) {
	for _, b := range []body{{"nothing", nil}, {"text", fill("text", 2000)}} {
		data, ok := compress(r, c, nil, b)
		if !ok {
			return
		}
		for _, rest := range []string{"\x00", "\x01", "\xff", "x", "abcd", "\x00\x00\x00\x00\x00\x00\x00\x00"} {
			if _, err := c.Decompress(nil, slices.Concat(data, []byte(rest)), enoughRoom); err == nil {
				r.faultf("%s: Decompress of data followed by %q: got no error, want one", b.name, rest)
			}
		}
	}
}

func checkBodyRandom(r *report, c spi.Compressor) {
	for n := 0; n < 2000 && !r.broken(); n += 1 + n/20 {
		r.guard(func() {
			data := fill("random", n)
			if out, err := frugal(r, c, data, enoughRoom); err == nil {
				r.faultf("Decompress of %d random bytes: got %d bytes and no error, want an error", n, len(out))
			}
		})
	}
	stillWorks(r, c)
}

func checkBodyConcurrent(r *report, c spi.Compressor) {
	r.concurrently(8, func(g int) {
		var packed, out []byte
		for i := 0; i < 50 && !r.broken(); i++ {
			b := body{fmt.Sprint("body ", g, i), bytes.Repeat(fmt.Append(nil, g, i), 100+i)}
			var ok bool
			if packed, ok = compress(r, c, packed[:0], b); ok {
				out = decompress(r, c, out[:0], packed, b)
			}
		}
	})
}
