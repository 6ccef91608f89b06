package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// ChecksumSize is what a checksum adds to a body, in bytes.
const ChecksumSize = 4

// AppendChecksum appends the CRC-32C of b[start:], which is a body.
func AppendChecksum(b []byte, start int) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// CutChecksum returns a body with [FlagChecksum] without its checksum, a view, and
// whether that is right.
func CutChecksum(body []byte) (rest []byte, ok bool) {
	n := len(body) - ChecksumSize
	if n < 0 {
		return nil, false
	}
	return body[:n:n], binary.BigEndian.Uint32(body[n:]) == crc32.Checksum(body[:n], castagnoli)
}
