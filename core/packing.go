package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// packing is how the bodies of one connection travel: compressed, with a checksum,
// or as the serializer wrote them. It is done by callers and workers, never by the
// reader. It is set when both HELLOs are seen and read-only from then on.
type packing struct {
	compressor spi.Compressor // what leaves is compressed by it; nil: nothing is
	number     uint8          // of the compressor, in this side's HELLO
	checksum   bool           // what leaves carries one
	above      int            // smaller bodies are not compressed; in bytes
	most       uint64         // what the peer takes as a message, compressed or not

	theirs map[uint8]spi.Compressor // what may come, by the number in the peer's HELLO; nil: nothing
	limit  int                      // what this side takes as a message when it is unpacked
	room   *unpackRoom              // of all connections of this side
}

// accept notes what may come.
func (p *packing) accept(number uint8, c spi.Compressor) {
	if p.theirs == nil {
		p.theirs = make(map[uint8]spi.Compressor)
	}
	p.theirs[number] = c
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

// unpack returns the body of a message as the serializer wrote it; a large one waits
// for room under ctx and the deadline, if that is not zero. Without an error release
// is due. The error has its code and phase.
func (p *packing) unpack(ctx context.Context, deadline time.Time, h wire.Header, body []byte) (unpacked, *spi.Error) {
	if h.Flags&wire.FlagChecksum != 0 {
		var ok bool
		if body, ok = wire.CutChecksum(body); !ok {
			return unpacked{}, unpackError(spi.DataLoss, "the body of the %s does not have its checksum", h.Type)
		}
	}
	if h.Flags&wire.FlagCompressed == 0 {
		return unpacked{body: body, room: p.room}, nil
	}
	c := p.theirs[h.Code]
	if c == nil {
		return unpacked{}, unpackError(spi.Unimplemented, "the %s is compressed by number %d, which is not offered here", h.Type, h.Code)
	}
	limit := max(p.limit-int(h.Metadata), 0)
	most := freeUnpacked
	for most < len(body) { // it will not be smaller
		most *= unpackStep
	}
	for {
		most = min(most, p.limit)
		u, failure := p.expand(ctx, deadline, c, body, most, min(most, limit))
		switch {
		case failure == nil:
			return u, nil
		case errors.Is(failure, spi.ErrTooLarge) && most < limit:
			most *= unpackStep
		case errors.Is(failure, spi.ErrTooLarge):
			e := unpackError(spi.ResourceExhausted, "the %s of %d bytes becomes more than %d when it is decompressed", h.Type, len(body), limit)
			e.Hint = "the key limits.message of the receiver bounds it"
			return unpacked{}, e
		case errors.Is(failure, context.Canceled), errors.Is(failure, context.DeadlineExceeded):
			e := contextError(failure, spi.PhaseDecode, "")
			e.Message += fmt.Sprintf("; the %s waited to be decompressed, which the key limits.unpacked bounds", h.Type)
			return unpacked{}, e
		default:
			return unpacked{}, unpackError(spi.DataLoss, "decompress the %s: %v", h.Type, failure)
		}
	}
}

// expand decompresses body to at most most bytes, of which it takes room for size if
// that may be much. Errors: those of the compressor and of take.
func (p *packing) expand(ctx context.Context, deadline time.Time, c spi.Compressor, body []byte, size, most int) (unpacked, error) {
	u := unpacked{room: p.room}
	if size > freeUnpacked {
		var err error
		if u.own, err = p.room.take(ctx, deadline, p, size); err != nil {
			return unpacked{}, err
		}
		u.size = size
	}
	if u.own == nil {
		u.own = newBuffer(min(unpackStep*len(body), most))
	}
	done := false
	defer func() {
		if !done { // whose buffer it is, nobody knows after a panic
			p.room.give(u.size, nil)
		}
	}()
	b, err := c.Decompress(u.own.b, body, most)
	done = true
	if err == nil && len(b) > most {
		err = spi.ErrTooLarge
	}
	if err != nil {
		u.release()
		return unpacked{}, err
	}
	u.body, u.own.b = b, b
	u.shrink()
	return u, nil
}

func unpackError(code spi.Code, format string, args ...any) *spi.Error {
	return &spi.Error{Code: code, Phase: spi.PhaseDecode, Message: fmt.Sprintf(format, args...)}
}
