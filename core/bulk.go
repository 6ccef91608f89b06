package core

import (
	"slices"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// chunkBody is the most of a body that one chunk takes: the frame, header included,
// then fits where small frames do. A larger body leaves in chunks.
const chunkBody = segmentSize - wire.HeaderSize

// bulk is a large body on its way out, docs/connections.md §2. Its first frame
// travels like any other; the body follows from where the caller wrote it.
type bulk struct {
	*buffer
	id    uint64
	from  int    // b[from:] was not handed over, but for the chunk being written
	after uint64 // where its first frame ends in the stream of data
}

// left is how many bytes the rest of the body takes, headers included.
func (b *bulk) left() int {
	n := len(b.b) - b.from
	return n + (n+chunkBody-1)/chunkBody*wire.HeaderSize
}

// bulkSet holds the large bodies of an outbox, each in one of three places.
type bulkSet struct {
	behind  []*bulk // the first frame is not out yet; in its order
	ring    []*bulk // the first is next
	writing *bulk   // a chunk of it is the current segment; nil: none
	turn    bool    // a segment of other frames was the last to go
}

// next takes a chunk of the first body in the ring. The header lies over the end of
// what was handed over before: of the chunk before, or of the metadata.
func (s *bulkSet) next() segment {
	b := s.ring[0]
	s.ring, s.writing, s.turn = slices.Delete(s.ring, 0, 1), b, false
	body := min(len(b.b)-b.from, chunkBody)
	h := wire.Header{Type: wire.Chunk, ID: b.id, Body: uint32(body)}
	start := b.from - wire.HeaderSize
	if b.from += body; b.from < len(b.b) {
		h.Flags = wire.FlagMore
	}
	wire.PutHeader(b.b[start:], h)
	return segment{b.buffer, start, b.from}
}

// wrote ends the chunk being written: if more is left, the others go first.
func (s *bulkSet) wrote() {
	if b := s.writing; b.from < len(b.b) {
		s.ring = append(s.ring, b)
	} else {
		b.release()
	}
	s.writing = nil
}

// follow lets those into the ring whose first frame is out.
func (s *bulkSet) follow(reach uint64) {
	n := 0
	for n < len(s.behind) && s.behind[n].after <= reach {
		n++
	}
	if n > 0 {
		s.ring = append(s.ring, s.behind[:n]...)
		s.behind = slices.Delete(s.behind, 0, n)
	}
}

// drop forgets the rest of a body and returns how many bytes need not be written.
func (s *bulkSet) drop(id uint64) int {
	if b := s.writing; b != nil && b.id == id {
		left := b.left()
		b.b = b.b[:b.from]
		return left
	}
	for _, list := range []*[]*bulk{&s.behind, &s.ring} {
		if i := slices.IndexFunc(*list, func(b *bulk) bool { return b.id == id }); i >= 0 {
			b := (*list)[i]
			left := b.left()
			*list = slices.Delete(*list, i, i+1)
			b.release()
			return left
		}
	}
	return 0
}

// close gives everything back.
func (s *bulkSet) close() {
	if s.writing != nil {
		s.writing.release()
	}
	for _, b := range s.behind {
		b.release()
	}
	for _, b := range s.ring {
		b.release()
	}
	*s = bulkSet{}
}

// cuts reports that the body of a frame leaves in chunks. mu is held.
func (o *outbox) cuts(f *outgoing) bool {
	return o.chunked && len(f.payload.b)-headroom-f.metadata > chunkBody && (f.Type == wire.Request || f.Type == wire.Response)
}

// drop forgets what was not yet written of a large body. mu is held.
func (o *outbox) drop(id uint64) {
	if left := o.bulks.drop(id); left > 0 {
		o.large.queued -= left
		o.large.grant()
	}
}

// forget is drop for who does not hold mu.
func (o *outbox) forget(id uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(id)
}
