package wire_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// Each target checks that what was accepted survives being written and read again.

func FuzzHeader(f *testing.F) {
	for _, b := range frames() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < wire.HeaderSize {
			return
		}
		h, err := wire.ParseHeader(b)
		if err != nil {
			return
		}
		if got := wire.AppendHeader(nil, h); !bytes.Equal(got, b[:wire.HeaderSize]) {
			t.Errorf("%+v: got %x, want %x", h, got, b[:wire.HeaderSize])
		}
	})
}

func FuzzHello(f *testing.F) {
	seedBlocks(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := wire.ParseHello(b)
		if err != nil {
			return
		}
		again, err := wire.ParseHello(wire.AppendHello(nil, h))
		if err != nil || !reflect.DeepEqual(again, h) {
			t.Errorf("got %+v, %v, want %+v", again, err, h)
		}
	})
}

func FuzzRequestMeta(f *testing.F) {
	seedBlocks(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.ParseRequestMeta(b)
		if err != nil {
			return
		}
		var written []byte
		if m.Define {
			written = wire.AppendDefine(written, m.Number, string(m.Service), string(m.Method))
		} else {
			written = wire.AppendMethod(written, m.Number)
		}
		if m.HasTimeout {
			written = wire.AppendTimeout(written, m.Timeout)
		}
		if m.Whole > 0 && m.Whole <= math.MaxUint32 {
			written = wire.AppendWhole(written, uint32(m.Whole))
		}
		pairs := 0
		wire.Pairs(b, func(k, v []byte) { pairs++; written = wire.AppendUserPair(written, string(k), string(v)) })
		again, err := wire.ParseRequestMeta(written)
		if err != nil || pairs != m.Pairs || again.Number != m.Number || again.Define != m.Define || again.Timeout != m.Timeout ||
			again.Pairs != m.Pairs || !bytes.Equal(again.Service, m.Service) || !bytes.Equal(again.Method, m.Method) {
			t.Errorf("got %+v, %v, %d pairs, want %+v", again, err, pairs, m)
		}
		if n, err := wire.CountPairs(b); err != nil || n != m.Pairs {
			t.Errorf("CountPairs: got %d, %v, want %d", n, err, m.Pairs)
		}
	})
}

func FuzzWhole(f *testing.F) {
	seedBlocks(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := wire.Whole(b)
		if err != nil || size > math.MaxUint32 {
			return
		}
		if again, err := wire.Whole(wire.AppendWhole(nil, uint32(size))); err != nil || again != size {
			t.Errorf("got %d, %v, want %d", again, err, size)
		}
	})
}

func FuzzList(f *testing.F) {
	seedBlocks(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, n, err := wire.ReadList(b)
		if err != nil {
			return
		}
		written := wire.AppendListCount(nil, n)
		for range n {
			arg, err := list.Next()
			if err != nil {
				return
			}
			start := len(written)
			written = wire.PrefixLength(append(written, arg...), start)
		}
		if list.End() != nil {
			return
		}
		if again, m, err := wire.ReadList(written); err != nil || m != n {
			t.Errorf("got %v, %d, %v, want %d arguments", again, m, err, n)
		}
	})
}

func FuzzError(f *testing.F) {
	seedBlocks(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := wire.ParseError(b)
		if err != nil {
			return
		}
		again, err := wire.ParseError(wire.AppendError(nil, e))
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("got %+v, %v, want %+v", again, err, e)
		}
	})
}

func FuzzGoAway(f *testing.F) {
	seedBlocks(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := wire.ParseGoAway(b)
		if err != nil {
			return
		}
		again, err := wire.ParseGoAway(wire.AppendGoAway(nil, g))
		if err != nil || again != g {
			t.Errorf("got %+v, %v, want %+v", again, err, g)
		}
	})
}

// seedBlocks adds what follows the header of every golden frame.
func seedBlocks(f *testing.F) {
	for _, b := range frames() {
		h, err := wire.ParseHeader(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[wire.HeaderSize:][:h.Metadata])
		f.Add(b[wire.HeaderSize+h.Metadata:])
	}
}

func FuzzChecksum(f *testing.F) {
	seedBlocks(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, ok := wire.CutChecksum(b)
		if ok && !bytes.Equal(wire.AppendChecksum(bytes.Clone(rest), 0), b) {
			t.Errorf("got %x accepted, want a checksum that is made in the same way", b)
		}
		if rest, ok := wire.CutChecksum(wire.AppendChecksum(bytes.Clone(b), 0)); !ok || !bytes.Equal(rest, b) {
			t.Errorf("%x: got %x, %v, want it back", b, rest, ok)
		}
	})
}
