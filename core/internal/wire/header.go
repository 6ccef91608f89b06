package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// HeaderSize is the length of every frame's header, in bytes.
const HeaderSize = 24

// Magic is how every frame begins.
const Magic uint16 = 0xB452

// Type says what a frame is.
type Type uint8

// The frame types. A receiver skips types that are not listed here.
const (
	Hello    Type = 1
	Request  Type = 2
	Response Type = 3
	Error    Type = 4
	Cancel   Type = 5
	Ping     Type = 6
	Pong     Type = 7
	GoAway   Type = 8
	// 9 to 11 are reserved for streams.
	Chunk Type = 12
)

var typeNames = [...]string{"", "HELLO", "REQUEST", "RESPONSE", "ERROR", "CANCEL", "PING", "PONG", "GOAWAY",
	"STREAM_DATA", "STREAM_WINDOW", "STREAM_END", "CHUNK"}

// String returns the type's name in capitals.
func (t Type) String() string {
	if t > 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("TYPE_%d", uint8(t))
}

// Flags in use. The others are reserved and refused.
const (
	FlagList uint8 = 0x01 // REQUEST: the body is a list of arguments
	FlagVoid uint8 = 0x02 // RESPONSE: the method has no result
	FlagMore uint8 = 0x08 // REQUEST, RESPONSE, CHUNK: the body goes on in a CHUNK

	FlagChecksum   uint8 = 0x10 // REQUEST, RESPONSE: the body ends with its checksum
	FlagCompressed uint8 = 0x20 // REQUEST, RESPONSE: the body is compressed; Code says how
)

const flagsOfBodies = FlagMore | FlagChecksum | FlagCompressed

// knownFlags holds what each type may carry; types beyond it are not checked,
// because they are skipped.
var knownFlags = [...]uint8{Hello: 0, Request: FlagList | flagsOfBodies, Response: FlagVoid | flagsOfBodies, Error: 0, Cancel: 0, Ping: 0, Pong: 0x03, GoAway: 0,
	9: anyFlag, 10: anyFlag, 11: anyFlag, Chunk: FlagMore}

const anyFlag = 0xff

// Header is the fixed part of a frame.
type Header struct {
	Type       Type
	Flags      uint8
	Serializer uint8  // number in the sender's HELLO; 0: none
	Code       uint8  // ERROR: status; GOAWAY: reason; with FlagCompressed: compressor, as numbered in the sender's HELLO
	ID         uint64 // call, or sequence of a PING or PONG
	Metadata   uint32 // bytes of metadata that follow
	Body       uint32 // bytes of body that follow the metadata
}

// Errors of [ParseHeader]. After any of them nothing on the connection can be
// trusted.
var (
	ErrMagic = errors.New("not a bhrpc frame")
	ErrCheck = errors.New("damaged frame header")
	ErrFlags = errors.New("flags that were not negotiated")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var zeros [2]byte

// check is over all 24 bytes, bytes 6 and 7 taken as zero.
func check(b []byte) uint16 {
	sum := crc32.Update(0, castagnoli, b[:6])
	sum = crc32.Update(sum, castagnoli, zeros[:])
	sum = crc32.Update(sum, castagnoli, b[8:HeaderSize])
	return uint16(sum>>16) ^ uint16(sum)
}

// PutHeader writes h into the first HeaderSize bytes of b.
func PutHeader(b []byte, h Header) {
	_ = b[HeaderSize-1]
	binary.BigEndian.PutUint16(b, Magic)
	b[2], b[3], b[4], b[5] = byte(h.Type), h.Flags, h.Serializer, h.Code
	binary.BigEndian.PutUint64(b[8:], h.ID)
	binary.BigEndian.PutUint32(b[16:], h.Metadata)
	binary.BigEndian.PutUint32(b[20:], h.Body)
	binary.BigEndian.PutUint16(b[6:], check(b))
}

// AppendHeader appends h to dst.
func AppendHeader(dst []byte, h Header) []byte {
	dst = append(dst, make([]byte, HeaderSize)...)
	PutHeader(dst[len(dst)-HeaderSize:], h)
	return dst
}

// FrameSize returns the size of the frame that begins b, header included, from a
// header that was not checked. b has at least HeaderSize bytes.
func FrameSize(b []byte) int64 {
	return HeaderSize + int64(binary.BigEndian.Uint32(b[16:])) + int64(binary.BigEndian.Uint32(b[20:]))
}

// ParseHeader reads the first HeaderSize bytes of b, which has at least as many.
// Errors: [ErrMagic], [ErrCheck], [ErrFlags].
func ParseHeader(b []byte) (Header, error) {
	if binary.BigEndian.Uint16(b) != Magic {
		return Header{}, ErrMagic
	}
	if binary.BigEndian.Uint16(b[6:]) != check(b) {
		return Header{}, ErrCheck
	}
	h := Header{
		Type: Type(b[2]), Flags: b[3], Serializer: b[4], Code: b[5],
		ID:       binary.BigEndian.Uint64(b[8:]),
		Metadata: binary.BigEndian.Uint32(b[16:]),
		Body:     binary.BigEndian.Uint32(b[20:]),
	}
	if int(h.Type) < len(knownFlags) && h.Flags&^knownFlags[h.Type] != 0 {
		return h, fmt.Errorf("%w: %#02x on %s", ErrFlags, h.Flags, h.Type)
	}
	return h, nil
}
