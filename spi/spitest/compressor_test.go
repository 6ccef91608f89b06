package spitest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// packer is a compressor of two functions.
type packer struct {
	pack   func(dst, src []byte) ([]byte, error)
	unpack func(dst, src []byte, limit int) ([]byte, error)
}

func (p packer) Compress(dst, src []byte) ([]byte, error) { return p.pack(dst, src) }
func (p packer) Decompress(dst, src []byte, limit int) ([]byte, error) {
	return p.unpack(dst, src, limit)
}

// honest keeps the contract.
var honest = packer{zip, unzip}

// writers are used again, since a new one costs most of a test's time.
var writers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func zip(dst, src []byte) ([]byte, error) {
	var b bytes.Buffer
	w := writers.Get().(*gzip.Writer)
	defer writers.Put(w)
	w.Reset(&b)
	_, err := w.Write(src)
	err = errors.Join(err, w.Close())
	return append(dst, b.Bytes()...), err
}

func unzip(dst, src []byte, limit int) ([]byte, error) {
	b := bytes.NewReader(src)
	r, err := gzip.NewReader(b)
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	out, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return nil, err
	case len(out) > limit:
		return nil, spi.ErrTooLarge
	case b.Len() > 0:
		return nil, errors.New("something follows")
	}
	return append(dst, out...), nil
}

func TestCompressor(t *testing.T) {
	if os.Getenv(inChild) != "" {
		Compressor(t, packer{zip, func(_, src []byte, limit int) ([]byte, error) { return unzip(nil, src, limit) }})
		return
	}
	Compressor(t, honest)
	failsInChild(t, "FAIL: TestCompressor/body-append", "want it to begin with dst", "the rule: Both append")
}

func TestCompressorFindsFaults(t *testing.T) {
	var shared []byte
	var busy atomic.Bool
	stored := func(dst, src []byte) ([]byte, error) { return append(append(dst, 'S'), src...), nil }
	unpack := func(f func(dst, src []byte, limit int) ([]byte, error)) packer { return packer{zip, f} }
	testBroken(t, compressorRules, []broken[spi.Compressor]{
		{"cannot compress nothing", packer{func(dst, src []byte) ([]byte, error) {
			if len(src) == 0 {
				return nil, errors.New("nothing to do")
			}
			return zip(dst, src)
		}, unzip}, []string{"body-round-trip", "body-truncated"}},
		{"loses a byte of large bodies", packer{func(dst, src []byte) ([]byte, error) { return zip(dst, src[:min(len(src), 65536)]) }, unzip}, []string{"body-round-trip", "limit"}},
		{"starts anew", packer{func(_, src []byte) ([]byte, error) { return zip(nil, src) }, unzip}, []string{"body-append"}},
		{"starts anew when it decompresses", unpack(func(_, src []byte, limit int) ([]byte, error) { return unzip(nil, src, limit) }), []string{"body-append"}},
		{"has one buffer", packer{func(dst, src []byte) ([]byte, error) {
			if dst != nil {
				return zip(dst, src)
			}
			var err error
			shared, err = zip(shared[:0], src)
			return shared, err
		}, unzip}, []string{"body-results-stay"}},
		{"gives src back", packer{stored, func(_, src []byte, _ int) ([]byte, error) { return src[1:], nil }}, []string{"src-not-kept"}},
		{"works in src", packer{func(dst, src []byte) ([]byte, error) {
			out, err := zip(dst, src)
			poison(src)
			return out, err
		}, unzip}, []string{"src-unmodified"}},
		{"works in the other src", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			out, err := unzip(dst, src, limit)
			poison(src)
			return out, err
		}), []string{"src-unmodified"}},
		{"writes behind src", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			out, err := unzip(dst, src, limit)
			return out, errors.Join(err, func() error { _ = append(src, 'x'); return nil }())
		}), []string{"src-unmodified"}},
		{"has no limit", unpack(func(dst, src []byte, _ int) ([]byte, error) { return unzip(dst, src, 1<<30) }), []string{"limit"}},
		{"is off by one", unpack(func(dst, src []byte, limit int) ([]byte, error) { return unzip(dst, src, limit+1) }), []string{"limit"}},
		{"counts what dst holds", unpack(func(dst, src []byte, limit int) ([]byte, error) { return unzip(dst, src, limit-len(dst)) }), []string{"limit", "body-append"}},
		{"looks at the limit afterwards", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			out, err := unzip(dst, src, 1<<30)
			if err == nil && len(out)-len(dst) > limit {
				err = spi.ErrTooLarge
			}
			return out, err
		}), []string{"limit"}},
		{"does not mind the end", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			out, err := unzip(dst, src, limit)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return dst, nil
			}
			return out, err
		}), []string{"body-truncated"}},
		{"has no checksum", packer{stored, func(dst, src []byte, limit int) ([]byte, error) {
			if len(src) == 0 {
				return nil, io.ErrUnexpectedEOF
			}
			if len(src)-1 > limit {
				return nil, spi.ErrTooLarge
			}
			return append(dst, src[1:]...), nil
		}}, []string{"body-damaged", "body-truncated", "body-follows", "body-random"}},
		{"believes a length", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			if len(src) > 10 && src[10]&1 != 0 {
				shared = make([]byte, 64<<20)
			}
			return unzip(dst, src, limit)
		}), []string{"body-damaged", "body-random"}},
		{"panics", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			_ = src[9]
			return unzip(dst, src, limit)
		}), []string{"body-random", "body-truncated"}},
		{"takes members one after the other", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			r, err := gzip.NewReader(bytes.NewReader(src))
			if err != nil {
				return nil, err
			}
			r.Multistream(false)
			out, err := io.ReadAll(io.LimitReader(r, int64(limit)))
			return append(dst, out...), err
		}), []string{"body-follows"}},
		{"works for one at a time", unpack(func(dst, src []byte, limit int) ([]byte, error) {
			if !busy.CompareAndSwap(false, true) {
				return nil, errors.New("busy")
			}
			defer busy.Store(false)
			runtime.Gosched()
			return unzip(dst, src, limit)
		}), []string{"body-concurrent"}},
	})
}
