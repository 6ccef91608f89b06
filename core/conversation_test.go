package core

import (
	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// conversation is one side's half of the life of a connection, as bytes.
type conversation struct {
	bytes  []byte
	frames []span
}

// span is where one frame stands: its header from start, its metadata from
// metadata, its body from body to end.
type span struct {
	wire.Header
	start, metadata, body, end int
}

func (c *conversation) add(frame []byte) {
	h, err := wire.ParseHeader(frame)
	if err != nil {
		panic(err)
	}
	start := len(c.bytes)
	c.bytes = append(c.bytes, frame...)
	metadata := start + wire.HeaderSize
	c.frames = append(c.frames, span{h, start, metadata, metadata + int(h.Metadata), len(c.bytes)})
}

// at returns the number of the frame that byte i belongs to.
func (c *conversation) at(i int) int {
	for n, f := range c.frames {
		if i < f.end {
			return n
		}
	}
	return len(c.frames)
}

// consumerHalf says everything that a consumer can say. Its calls are 1 to 4 of Say
// with their number as text, 5 of Wait, which is canceled, and 6 of Say with
// metadata.
func consumerHalf() *conversation {
	c := new(conversation)
	c.add(helloFrame())
	c.add(callFrame(1, 1, "Say", seal("1")))
	c.add(callFrame(2, 1, "", seal("2")))
	c.add(frameOf(wire.Header{Type: wire.Ping, ID: 77}, nil, nil))
	c.add(callFrame(3, 1, "", seal("3")))
	c.add(frameOf(wire.Header{Type: wire.Request, Flags: wire.FlagList, Serializer: 3, ID: 4 << slotBits}, wire.AppendMethod(nil, 1), oneArgument(seal("4"))))
	c.add(callFrame(5, 2, "Wait", seal("5")))
	c.add(frameOf(wire.Header{Type: wire.Cancel, ID: 5 << slotBits}, nil, nil))
	c.add(frameOf(wire.Header{Type: 99, ID: 5}, []byte("me"), []byte("body"))) // of a later version
	c.add(frameOf(wire.Header{Type: wire.Request, Serializer: 3, ID: 6 << slotBits}, wire.AppendUserPair(wire.AppendMethod(nil, 1), "k", "v"), seal("6")))
	c.add(frameOf(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown}, nil, wire.AppendGoAway(nil, wire.GoAwayBody{Message: "bye"})))
	return c
}

func oneArgument(b []byte) []byte {
	list := wire.AppendListCount(nil, 1)
	start := len(list)
	return wire.PrefixLength(append(list, b...), start)
}

// The calls of a consumer to which providerHalf is the answer, in this order, each
// with its slot.
const (
	answeredCall = 1 << slotBits
	failedCall   = 2<<slotBits | 1
	pairsCall    = 3<<slotBits | 2
	silentCall   = 4<<slotBits | 3 // never answered
)

// providerHalf says everything that a provider can say.
func providerHalf() *conversation {
	c := new(conversation)
	c.add(helloFrame())
	c.add(frameOf(wire.Header{Type: wire.Response, Serializer: 3, ID: answeredCall}, nil, seal("fine")))
	c.add(frameOf(wire.Header{Type: wire.Ping, ID: 5}, nil, nil))
	c.add(frameOf(wire.Header{Type: 99, ID: 5}, []byte("me"), []byte("body")))
	c.add(frameOf(wire.Header{Type: wire.Error, Code: uint8(spi.NotFound), ID: failedCall}, nil, wire.AppendError(nil, wire.ErrorBody{Message: "no such thing", Details: map[string]string{"a": "b"}})))
	c.add(frameOf(wire.Header{Type: wire.Response, Serializer: 3, ID: 12345}, nil, seal("nobody asked")))
	c.add(frameOf(wire.Header{Type: wire.Response, Serializer: 3, ID: pairsCall}, wire.AppendUserPair(nil, "k", "v"), seal("also fine")))
	c.add(frameOf(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown}, nil, wire.AppendGoAway(nil, wire.GoAwayBody{Message: "bye"})))
	return c
}

// damages calls f with every damaged form of the bytes: cut off at every byte, with
// every byte changed, and with noise put in at every byte.
func (c *conversation) damages(f func(d damage)) {
	for i := range len(c.bytes) {
		f(damage{kind: "cut", at: i, bytes: c.bytes[:i]})
	}
	for _, mask := range []byte{0x01, 0x80, 0xFF} {
		for i := range c.bytes {
			b := append([]byte(nil), c.bytes...)
			b[i] ^= mask
			f(damage{kind: "changed", at: i, bytes: b})
		}
	}
	for i := range len(c.bytes) {
		b := append([]byte(nil), c.bytes[:i]...)
		b = append(b, letterBytes(i, 1+i%40)...)
		f(damage{kind: "noise", at: i, bytes: append(b, c.bytes[i:]...)})
	}
}

type damage struct {
	kind  string
	at    int
	bytes []byte
}
