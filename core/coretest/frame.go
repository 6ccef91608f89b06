package coretest

import (
	"fmt"
	"slices"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// Type says what a frame is; docs/protocol.md §2 lists the types. Others may be
// sent too, to see that a peer skips them.
type Type uint8

// The types in use.
const (
	TypeHello    = Type(wire.Hello)
	TypeRequest  = Type(wire.Request)
	TypeResponse = Type(wire.Response)
	TypeError    = Type(wire.Error)
	TypeCancel   = Type(wire.Cancel)
	TypePing     = Type(wire.Ping)
	TypePong     = Type(wire.Pong)
	TypeGoAway   = Type(wire.GoAway)
	TypeChunk    = Type(wire.Chunk)
)

// String returns the type's name in capitals.
func (t Type) String() string { return wire.Type(t).String() }

// The flags in use.
const (
	FlagList = wire.FlagList // REQUEST: the body is a list of arguments
	FlagVoid = wire.FlagVoid // RESPONSE: the method has no result
	FlagMore = wire.FlagMore // REQUEST, RESPONSE, CHUNK: the body goes on in a CHUNK

	FlagChecksum   = wire.FlagChecksum   // REQUEST, RESPONSE: the body ends with its checksum
	FlagCompressed = wire.FlagCompressed // REQUEST, RESPONSE: the body is compressed; Code says how
)

// Reasons of a GOAWAY, in its Code.
const (
	GoAwayShutdown     = wire.GoAwayShutdown
	GoAwayIncompatible = wire.GoAwayIncompatible
	GoAwayProtocol     = wire.GoAwayProtocol
	GoAwayPings        = wire.GoAwayPings
)

// HeaderSize is the length of every frame's header, in bytes.
const HeaderSize = wire.HeaderSize

// Frame is one frame. The first fields are what travels.
type Frame struct {
	Type       Type
	Flags      uint8
	Serializer uint8  // number in the sender's HELLO; 0: none
	Code       uint8  // ERROR: status, see [spi.Code]; GOAWAY: reason; with FlagCompressed: compressor
	ID         uint64 // the call, or the sequence number of a PING or PONG
	Metadata   []byte // as it travels; may be nil
	Body       []byte // may be nil

	// What [Peer.Read] understood of Metadata and Body. Writing ignores these.
	Service string        // REQUEST: service key; "" if the number is unknown
	Method  string        // REQUEST
	Timeout time.Duration // REQUEST: time left; 0: no deadline
	Pairs   spi.Metadata  // REQUEST, RESPONSE, ERROR: user metadata
	Reason  string        // ERROR
	Message string        // ERROR, GOAWAY
}

// String returns one line that identifies a frame in a failure.
func (f Frame) String() string {
	text := fmt.Sprintf("%s id=%d", f.Type, f.ID)
	if f.Method != "" {
		text += fmt.Sprintf(" %s.%s", f.Service, f.Method)
	}
	if f.Code != 0 {
		text += fmt.Sprintf(" code=%d", f.Code)
	}
	if f.Message != "" {
		text += fmt.Sprintf(" %q", f.Message)
	}
	return fmt.Sprintf("%s (%d bytes)", text, len(f.Body))
}

// AppendFrame appends f to dst as it travels, header included, for a test that
// sends only a part of it, or damages it first.
func AppendFrame(dst []byte, f Frame) []byte {
	dst = wire.AppendHeader(dst, wire.Header{
		Type: wire.Type(f.Type), Flags: f.Flags, Serializer: f.Serializer, Code: f.Code, ID: f.ID,
		Metadata: uint32(len(f.Metadata)), Body: uint32(len(f.Body)),
	})
	return append(append(dst, f.Metadata...), f.Body...)
}

// Request returns the REQUEST for a method with one argument, body, as the
// serializer that is the first of the sender's HELLO wrote it. It names the method
// without numbering it.
func Request(id uint64, service, method string, body []byte) Frame {
	return Frame{Type: TypeRequest, Serializer: 1, ID: id, Metadata: wire.AppendDefine(nil, 0, service, method), Body: body}
}

// Cut returns a REQUEST or RESPONSE in parts: a first frame without a body, and its
// body in chunks of at most n bytes. The other side must know the feature "chunks".
func Cut(f Frame, n int) []Frame {
	body := f.Body
	f.Flags, f.Metadata, f.Body = f.Flags|FlagMore, wire.AppendWhole(slices.Clip(f.Metadata), uint32(len(body))), nil
	frames := []Frame{f}
	for part := range slices.Chunk(body, n) {
		frames = append(frames, Frame{Type: TypeChunk, Flags: FlagMore, ID: f.ID, Body: part})
	}
	frames[len(frames)-1].Flags &^= FlagMore
	return frames
}

// Failure returns the ERROR that answers a call.
func Failure(id uint64, code spi.Code, message string) Frame {
	return Frame{Type: TypeError, Code: uint8(code), ID: id, Body: wire.AppendError(nil, wire.ErrorBody{Message: message})}
}

// GoAway returns a GOAWAY with one of the reasons above and a text for people.
func GoAway(reason uint8, message string) Frame {
	return Frame{Type: TypeGoAway, Code: reason, Body: wire.AppendGoAway(nil, wire.GoAwayBody{Message: message})}
}
