package core

import (
	"errors"
	"fmt"
	"sync"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// mostSkipped bounds a message that is beyond the limits and skipped, so that it
// fails its own call only; a larger one ends the connection. In bytes.
const mostSkipped = 16 << 20

// errReassembly is more bodies in parts at once than limits.reassembly allows.
var errReassembly = errors.New("bodies in parts beyond limits.reassembly")

// part is a body that comes in chunks, with the metadata of its first frame.
type part struct {
	header  wire.Header // of the frame that it becomes
	data    *buffer     // metadata and body so far
	size    int         // bytes of both when it is whole
	request *request    // on the provider
}

// newPart returns the part that a first frame begins, whose body will have whole
// bytes. The data is left to the caller.
func newPart(f frame, whole uint64) (*part, error) {
	if whole <= uint64(f.Body) || whole > mostMessage {
		return nil, protocolErrorf("a body of %d bytes, of which the first frame of %s has %d", whole, f.Type, f.Body)
	}
	p := &part{header: f.Header, size: int(f.Metadata) + int(whole)}
	p.header.Flags &^= wire.FlagMore
	p.header.Body = uint32(whole)
	return p, nil
}

// frame is what the part has become.
func (p *part) frame() frame { return frame{Header: p.header, payload: p.data.b, owned: p.data} }

// add appends a chunk and reports whether that was the last.
func (p *part) add(f frame) (last bool, err error) {
	have := len(p.data.b) + len(f.payload)
	more := f.Flags&wire.FlagMore != 0
	if f.Metadata != 0 || f.Body == 0 || have > p.size || more != (have < p.size) {
		return false, protocolErrorf("a CHUNK of %d bytes where %d are missing (metadata %d, more %v)", f.Body, p.size-len(p.data.b), f.Metadata, more)
	}
	p.data = p.data.grow(len(f.payload), p.size)
	p.data.b = append(p.data.b, f.payload...)
	return !more, nil
}

// reassembly holds the bodies that come in chunks on one connection. The reader
// fills it; who gives a call up takes its part out.
type reassembly struct {
	limit int // bytes that the bodies under way may have together when they are whole

	mu    sync.Mutex
	parts map[uint64]*part // by id; nil: none yet
	size  int              // bytes that they will have
}

// begin enters a part if its call still wants it; a part that is not entered stays
// the caller's. wanted nil is always. Errors: errReassembly, and a protocolError.
func (r *reassembly) begin(p *part, wanted func(id uint64) bool) (entered bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := p.header.ID
	switch {
	case r.parts[id] != nil:
		return false, protocolErrorf("a second %s for id %d, whose body is not whole", p.header.Type, id)
	case wanted != nil && !wanted(id):
		return false, nil
	case r.size+p.size > r.limit:
		return false, errReassembly
	case r.parts == nil:
		r.parts = make(map[uint64]*part)
	}
	r.parts[id] = p
	r.size += p.size
	return true, nil
}

// add appends a chunk to its part and returns the part if it is whole now. A chunk
// of no part is dropped; known says whether it had one.
func (r *reassembly) add(f frame) (whole *part, known bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.parts[f.ID]
	if p == nil {
		return nil, false, nil
	}
	last, err := p.add(f)
	if err != nil || !last {
		return nil, true, err
	}
	r.remove(p)
	return p, true, nil
}

// any reports that bodies are being collected.
func (r *reassembly) any() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.parts) > 0
}

// drop takes a part out that is no longer wanted, frees what was collected, and
// returns it. nil: there was none.
func (r *reassembly) drop(id uint64) *part {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.parts[id]
	if p != nil {
		r.remove(p)
		p.data.release()
	}
	return p
}

// close is drop for all.
func (r *reassembly) close() []*part {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*part
	for _, p := range r.parts {
		r.remove(p)
		p.data.release()
		all = append(all, p)
	}
	return all
}

// remove is drop with mu held; the buffer stays.
func (r *reassembly) remove(p *part) {
	delete(r.parts, p.header.ID)
	r.size -= p.size
}

// tooLarge is the error of a call one of whose messages this side does not take.
func tooLarge(h wire.Header, limits messageLimits) *spi.Error {
	return &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseDecode, Hint: "the keys limits.message and limits.metadata of the receiver bound it",
		Message: fmt.Sprintf("the %s has %d bytes, %d of them metadata; the receiver takes %d and %d", h.Type, uint64(h.Metadata)+uint64(h.Body), h.Metadata, limits.Message, limits.Metadata)}
}

// tooMany is the error of a call whose body does not fit beside others.
func (r *reassembly) tooMany(p *part) *spi.Error {
	return &spi.Error{Code: spi.ResourceExhausted, Phase: spi.PhaseDecode, Hint: "the key limits.reassembly bounds them",
		Message: fmt.Sprintf("no room for a body of %d bytes beside others that are not whole; together they may have %d", p.header.Body, r.limit)}
}
