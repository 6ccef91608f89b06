package core

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// mend makes frames of any bytes: it puts right what is wrong with the headers, so
// that what comes after them is looked at.
func mend(b []byte) []byte {
	b = slices.Clone(b)
	for at := 0; len(b)-at >= wire.HeaderSize; {
		h := b[at:]
		left := uint32(len(h) - wire.HeaderSize)
		metadata := binary.BigEndian.Uint32(h[16:]) % (min(left, 200) + 1)
		body := binary.BigEndian.Uint32(h[20:]) % (left - metadata + 1)
		wire.PutHeader(h, wire.Header{Type: wire.Type(h[2] % 16), Flags: h[3] & 9, Serializer: h[4] % 5, Code: h[5], ID: binary.BigEndian.Uint64(h[8:]), Metadata: metadata, Body: body})
		at += wire.HeaderSize + int(metadata+body)
	}
	return b
}

// inParts cuts a frame into one without a body and chunks of n bytes.
func inParts(b []byte, n int) []byte {
	h, err := wire.ParseHeader(b)
	if err != nil {
		panic(err)
	}
	metadata, body := b[wire.HeaderSize:][:h.Metadata], b[wire.HeaderSize+h.Metadata:]
	h.Flags |= wire.FlagMore
	cut := frameOf(h, wire.AppendWhole(slices.Clone(metadata), h.Body), nil)
	for len(body) > 0 {
		part := body[:min(n, len(body))]
		chunk := wire.Header{Type: wire.Chunk, ID: h.ID}
		if body = body[len(part):]; len(body) > 0 {
			chunk.Flags = wire.FlagMore
		}
		cut = append(cut, frameOf(chunk, nil, part)...)
	}
	return cut
}

// FuzzProviderInput sends anything after a handshake. Nothing panics, nothing stays.
func FuzzProviderInput(f *testing.F) {
	half := consumerHalf()
	f.Add(half.bytes[half.frames[1].start:], false)
	for _, s := range half.frames[1:] {
		f.Add(half.bytes[s.start:s.end], true)
	}
	f.Add(callFrame(1, 1, "Much", seal("x")), true)
	f.Add(inParts(callFrame(1, 1, "Say", seal("in parts")), 3), true)
	f.Add(callFrame(1, 2, "Say", seal("x")), true)
	f.Fuzz(func(t *testing.T, b []byte, mended bool) {
		if mended {
			b = mend(b)
		}
		inline := func(_ *ProviderConfig, s *Service) {
			if err := s.Inline("Much"); err != nil {
				t.Fatal(err)
			}
		}
		withProvider(t, &echo{}, inline, func(t *testing.T, p *Provider) {
			k := connect(t, p)
			go k.drain()
			k.send(b)
			synctest.Wait()
			k.close()
			synctest.Wait()
			if left := p.admitted.Load(); left != 0 || only(p, nil) != nil {
				t.Errorf("got %d requests and connection %v left, want none", left, only(p, nil))
			}
		})
	})
}

// FuzzConsumerInput sends anything after a handshake to a consumer with four calls
// under way. Every call ends once, and another connection goes on.
func FuzzConsumerInput(f *testing.F) {
	half := providerHalf()
	f.Add(half.bytes[half.frames[1].start:], false)
	for _, s := range half.frames[1:] {
		f.Add(half.bytes[s.start:s.end], true)
	}
	f.Add(inParts(frameOf(wire.Header{Type: wire.Response, Serializer: 3, ID: answeredCall}, nil, seal("in parts")), 5), true)
	f.Fuzz(func(t *testing.T, b []byte, mended bool) {
		if mended {
			b = mend(b)
		}
		synctest.Test(t, func(t *testing.T) {
			l := openLedger(t)
			defer l.settle()
			for i, err := range damagedCalls(t, append(helloFrame(), b...)) {
				e, failed := err.(*spi.Error)
				_, fine := err.(replied)
				if !fine && (!failed || !e.Code.Valid()) {
					t.Errorf("call %d: got %v, want a reply or an error with a code", i+1, err)
				}
			}
		})
	})
}
