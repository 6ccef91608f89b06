package coretest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// maxFrame bounds what a Peer reads as one frame, in bytes.
const maxFrame = 64 << 20

// Peer is one side of a connection, as a script. It reads only when it is told to,
// and exactly one frame at a time: a Peer that is left alone is a peer that stopped
// reading, and the other side's bytes stay where they are. It answers nothing by
// itself, PINGs included.
//
// One goroutine may read while another one writes.
type Peer struct {
	nc          net.Conn
	mine        Hello
	serializers []string // of the other side, by its number less one
	methods     [][2]string
}

// NewPeer returns a Peer on a connection, which from here on belongs to it.
func NewPeer(nc net.Conn) *Peer { return &Peer{nc: nc} }

// Hello is what a side says of itself. In one that is sent, zero fields stand for
// the defaults of the protocol.
type Hello struct {
	Serializers []string // by name; they are numbered from 1 in this order
	MinVersion  int      // lowest protocol version spoken
	MaxVersion  int      // highest
	MaxMessage  int      // largest message this side takes, in bytes
	MaxMetadata int      // largest metadata this side takes, in bytes
	MaxMethods  int      // entries of the method table; negative: none
	Heartbeat   time.Duration
	Agent       string
	Features    []string // such as "chunks"; nil: none
	Compressors []string // by name; they are numbered from 1 in this order
	Token       [16]byte // names the connection
	Supersedes  [16]byte // token of the dead connection that this one replaces; zero: none
}

func (h Hello) body() wire.HelloBody {
	orElse := func(v, otherwise int) uint64 {
		if v == 0 {
			v = otherwise
		}
		return uint64(max(v, 0))
	}
	body := wire.HelloBody{
		MinVersion: orElse(h.MinVersion, wire.Version), MaxVersion: orElse(h.MaxVersion, wire.Version),
		MaxMessage: orElse(h.MaxMessage, 16<<20), MaxMetadata: orElse(h.MaxMetadata, 64<<10), MaxName: 255,
		MaxMethods: orElse(h.MaxMethods, 4096), Heartbeat: uint64(h.Heartbeat.Milliseconds()), Agent: h.Agent,
		Instance: [16]byte{1}, Token: h.Token, Supersedes: h.Supersedes, Features: h.Features,
	}
	if h.Token == [16]byte{} {
		body.Token = [16]byte{2}
	}
	for i, name := range h.Serializers {
		body.Serializers = append(body.Serializers, wire.Name{Number: uint8(i + 1), Name: name})
	}
	for i, name := range h.Compressors {
		body.Compressors = append(body.Compressors, wire.Name{Number: uint8(i + 1), Name: name})
	}
	return body
}

// BeConsumer shakes hands as the side that connects: it says HELLO and waits for the
// provider's, which it returns. Error: what came in place of a HELLO.
func (p *Peer) BeConsumer(mine Hello) (theirs Hello, err error) {
	if err := p.SayHello(mine); err != nil {
		return Hello{}, err
	}
	return p.ReadHello()
}

// BeProvider shakes hands as the side that accepts: it waits for the consumer's
// HELLO, which it returns, and answers with its own.
func (p *Peer) BeProvider(mine Hello) (theirs Hello, err error) {
	theirs, err = p.ReadHello()
	if err != nil {
		return Hello{}, err
	}
	return theirs, p.SayHello(mine)
}

// SayHello sends a HELLO.
func (p *Peer) SayHello(mine Hello) error {
	p.mine = mine
	return p.Write(Frame{Type: TypeHello, Body: wire.AppendHello(nil, mine.body())})
}

// ReadHello waits for the other side's HELLO. Error: what came in its place.
func (p *Peer) ReadHello() (Hello, error) {
	f, err := p.Read()
	if err != nil {
		return Hello{}, fmt.Errorf("wait for HELLO: %w", err)
	}
	if f.Type != TypeHello {
		return Hello{}, fmt.Errorf("wait for HELLO: got %s", f)
	}
	body, err := wire.ParseHello(f.Body)
	if err != nil {
		return Hello{}, err
	}
	theirs := Hello{
		MinVersion: int(body.MinVersion), MaxVersion: int(body.MaxVersion), MaxMessage: int(body.MaxMessage), MaxMetadata: int(body.MaxMetadata),
		MaxMethods: int(body.MaxMethods), Heartbeat: time.Duration(body.Heartbeat) * time.Millisecond, Agent: body.Agent, Features: body.Features,
		Token: body.Token, Supersedes: body.Supersedes,
	}
	for _, c := range body.Compressors {
		theirs.Compressors = append(theirs.Compressors, c.Name)
	}
	for _, s := range body.Serializers {
		theirs.Serializers = append(theirs.Serializers, s.Name)
		for len(p.serializers) < int(s.Number) {
			p.serializers = append(p.serializers, "")
		}
		p.serializers[s.Number-1] = s.Name
	}
	return theirs, nil
}

// Read waits for the next frame. At the end of the connection its error is io.EOF,
// in the middle of a frame [io.ErrUnexpectedEOF]; bytes that are no frame are an
// error too.
func (p *Peer) Read() (Frame, error) {
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(p.nc, head[:]); err != nil {
		return Frame{}, err
	}
	h, err := wire.ParseHeader(head[:])
	if err != nil {
		return Frame{}, err
	}
	size := wire.FrameSize(head[:]) - wire.HeaderSize
	if size > maxFrame {
		return Frame{}, fmt.Errorf("read %s: %d bytes are more than %d", h.Type, size, maxFrame)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(p.nc, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	f := Frame{Type: Type(h.Type), Flags: h.Flags, Serializer: h.Serializer, Code: h.Code, ID: h.ID, Metadata: payload[:h.Metadata:h.Metadata], Body: payload[h.Metadata:]}
	return f, p.understand(&f)
}

// understand fills in what Metadata and Body say.
func (p *Peer) understand(f *Frame) error {
	switch f.Type {
	case TypeRequest:
		meta, err := wire.ParseRequestMeta(f.Metadata)
		if err != nil {
			return err
		}
		f.Timeout = time.Duration(meta.Timeout) * time.Microsecond
		switch {
		case meta.Define:
			f.Service, f.Method = string(meta.Service), string(meta.Method)
			if meta.Number != 0 {
				p.methods = append(p.methods, [2]string{f.Service, f.Method})
			}
		case meta.Number <= uint64(len(p.methods)):
			f.Service, f.Method = p.methods[meta.Number-1][0], p.methods[meta.Number-1][1]
		}
	case TypeError:
		body, err := wire.ParseError(f.Body)
		if err != nil {
			return err
		}
		f.Reason, f.Message = body.Reason, body.Message
	case TypeGoAway:
		body, err := wire.ParseGoAway(f.Body)
		if err != nil {
			return err
		}
		f.Message = body.Message
		return nil
	case TypeResponse:
	default:
		return nil
	}
	wire.Pairs(f.Metadata, func(key, value []byte) { f.Pairs = append(f.Pairs, spi.Pair{Key: string(key), Value: string(value)}) })
	return nil
}

// Await reads until a frame of type t comes and drops those before it.
func (p *Peer) Await(t Type) (Frame, error) {
	for {
		f, err := p.Read()
		if err != nil {
			return Frame{}, fmt.Errorf("wait for %s: %w", t, err)
		}
		if f.Type == t {
			return f, nil
		}
	}
}

// AwaitEnd reads until the other side ends the connection and drops what comes. It
// returns nil at an orderly end or a reset, and otherwise what went wrong.
func (p *Peer) AwaitEnd() error {
	for {
		_, err := p.Read()
		var op *net.OpError
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op) && !op.Timeout():
			return nil
		default:
			return err
		}
	}
}

// Write sends a frame.
func (p *Peer) Write(f Frame) error { return p.WriteRaw(AppendFrame(nil, f)) }

// WriteRaw sends bytes as they are.
func (p *Peer) WriteRaw(b []byte) error {
	_, err := p.nc.Write(b)
	return err
}

// Answer sends the RESPONSE to a REQUEST, in its serializer. body nil is no result.
func (p *Peer) Answer(request Frame, body []byte) error {
	f := Frame{Type: TypeResponse, ID: request.ID, Body: body}
	if body == nil {
		f.Flags = FlagVoid
	}
	if i := int(request.Serializer) - 1; i >= 0 && i < len(p.serializers) {
		f.Serializer = uint8(slices.Index(p.mine.Serializers, p.serializers[i]) + 1)
	}
	return p.Write(f)
}

// Close ends the connection, in order: the other side reads to the end.
func (p *Peer) Close() error { return p.nc.Close() }
