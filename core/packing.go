package core

import (
	"errors"
	"fmt"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// packing is how the bodies of one connection travel: compressed, with a checksum,
// or as the serializer wrote them. It is done by callers and workers, never by the
// reader. It is set when both HELLOs are seen and read-only from then on.
type packing struct {
	checksum   bool           // what leaves carries one
	compressor spi.Compressor // what leaves is compressed by it; nil: nothing is
	number     uint8          // of the compressor, in this side's HELLO
	above      int            // smaller bodies are not compressed; in bytes
	most       uint64         // what the peer takes as a message, compressed or not

	theirs map[uint8]spi.Compressor // what may come, by the number in the peer's HELLO
	limit  int                      // what this side takes as a message when it is unpacked
}

// pack completes a REQUEST or RESPONSE before it is sent. A body that does not become
// smaller travels as it is.
func (p *packing) pack(f *outgoing) {
	start := headroom + f.metadata
	raw := len(f.payload.b) - start
	if p.compressor != nil && raw > p.above && uint64(f.metadata+raw) <= p.most {
		p.compress(f, start)
	}
	if p.checksum && raw > 0 {
		f.payload.b = wire.AppendChecksum(f.payload.b, start)
		f.Flags |= wire.FlagChecksum
	}
}

func (p *packing) compress(f *outgoing, start int) {
	plain := f.payload
	packed := newBuffer(len(plain.b))
	packed.b = append(packed.b, plain.b[:start]...)
	b, err := p.compressor.Compress(packed.b, plain.b[start:])
	if err != nil || len(b) >= len(plain.b) {
		packed.release()
		return
	}
	packed.b = b
	plain.release()
	f.payload, f.Code = packed, p.number
	f.Flags |= wire.FlagCompressed
}

// unpack returns the body of a message as the serializer wrote it: a view of body,
// or of own, which then belongs to the caller. The error has its code and phase.
func (p *packing) unpack(h wire.Header, body []byte) (plain []byte, own *buffer, err *spi.Error) {
	if h.Flags&wire.FlagChecksum != 0 {
		var ok bool
		if body, ok = wire.CutChecksum(body); !ok {
			return nil, nil, unpackError(spi.DataLoss, "the body of the %s does not have its checksum", h.Type)
		}
	}
	if h.Flags&wire.FlagCompressed == 0 {
		return body, nil, nil
	}
	c := p.theirs[h.Code]
	if c == nil {
		return nil, nil, unpackError(spi.Unimplemented, "the %s is compressed by number %d, which is not offered here", h.Type, h.Code)
	}
	limit := max(p.limit-int(h.Metadata), 0)
	own = newBuffer(min(4*len(body), limit))
	b, failure := c.Decompress(own.b, body, limit)
	switch {
	case errors.Is(failure, spi.ErrTooLarge) || failure == nil && len(b) > limit:
		e := unpackError(spi.ResourceExhausted, "the %s of %d bytes becomes more than %d when it is decompressed", h.Type, len(body), limit)
		e.Hint = "the key limits.message of the receiver bounds it"
		own.release()
		return nil, nil, e
	case failure != nil:
		own.release()
		return nil, nil, unpackError(spi.DataLoss, "decompress the %s: %v", h.Type, failure)
	}
	own.b = b
	return b, own, nil
}

func unpackError(code spi.Code, format string, args ...any) *spi.Error {
	return &spi.Error{Code: code, Phase: spi.PhaseDecode, Message: fmt.Sprintf(format, args...)}
}
