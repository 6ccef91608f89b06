package link

import "encoding/binary"

// What a link knows of the protocol; docs/protocol.md says the rest.
const (
	headerSize = 24
	ping       = 6 // the type of a PING
	idAt       = 8 // where the id stands in a header
)

// frames follows the frames of one direction of a connection. The zero frames stands
// before the first.
type frames struct {
	header [headerSize]byte
	have   int   // bytes of the header that have come
	left   int64 // bytes that follow the header and have not come
	lost   bool  // these are no frames
}

// follow reads on in b and calls whole with the type of every frame that ends there.
func (f *frames) follow(b []byte, whole func(kind byte)) {
	for len(b) > 0 && !f.lost {
		if f.have < headerSize {
			n := copy(f.header[f.have:], b)
			f.have += n
			b = b[n:]
			f.lost = f.header[0] != 0xB4 || f.have > 1 && f.header[1] != 0x52
			if f.have < headerSize || f.lost {
				return
			}
			f.left = int64(binary.BigEndian.Uint32(f.header[16:])) + int64(binary.BigEndian.Uint32(f.header[20:]))
		}
		n := min(f.left, int64(len(b)))
		f.left -= n
		b = b[n:]
		if f.left == 0 {
			f.have = 0
			whole(f.header[2])
		}
	}
}

// next returns how many bytes from here the id of the next header stands; 0 if these
// are no frames. It may stand beyond what was read, and within a header that was
// begun it may have passed: then it is that of the frame after it, as far as that is
// known.
func (f *frames) next() int {
	switch {
	case f.lost:
		return 0
	case f.have <= idAt:
		return idAt - f.have
	case f.have < headerSize:
		return 1<<31 - 1 // how long that frame is, is not known yet
	}
	return int(f.left) + idAt
}
