package wire

import (
	"encoding/binary"
	"fmt"
)

// Version is the highest protocol version that this package speaks, and the
// lowest.
const Version = 1

// MaxHello bounds a HELLO, header excluded, in bytes. Limits are not known yet
// when it arrives.
const MaxHello = 16 << 10

// maxNames bounds how many serializers, and compressors, a HELLO may list: their numbers are one
// byte, and 0 is taken.
const maxNames = 255

// HelloBody is what a side says of itself before anything else.
type HelloBody struct {
	MaxVersion, MinVersion uint64
	Instance               [16]byte // names the Provider or Consumer
	Token                  [16]byte // names the connection
	Serializers            []Name
	Compressors            []Name
	Heartbeat              uint64   // milliseconds between PINGs; 0: does not ping
	MaxMessage             uint64   // bytes, metadata and body
	MaxMetadata            uint64   // bytes
	MaxName                uint64   // bytes
	MaxMethods             uint64   // entries
	Supersedes             [16]byte // token of the dead connection that this one replaces; zero: none
	Features               []string
	Agent                  string // for people
}

// Name gives a serializer or compressor its number on this connection.
type Name struct {
	Number uint8 // 1 to 255
	Name   string
}

const (
	helloVersion    = 1
	helloInstance   = 2
	helloToken      = 3
	helloSerializer = 4
	helloCompressor = 5
	helloHeartbeat  = 6
	helloLimits     = 7
	helloSupersedes = 8
	helloFeature    = 9
	helloAgent      = 11
)

// AppendHello appends the body of a HELLO.
func AppendHello(dst []byte, h HelloBody) []byte {
	dst = append(dst, helloVersion, byte(uvarintLen(h.MaxVersion)+uvarintLen(h.MinVersion)))
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, h.MaxVersion), h.MinVersion)
	dst = AppendField(dst, helloInstance, h.Instance[:])
	dst = AppendField(dst, helloToken, h.Token[:])
	dst = appendNames(dst, helloSerializer, h.Serializers)
	dst = appendNames(dst, helloCompressor, h.Compressors)
	if h.Heartbeat != 0 {
		dst = AppendUintField(dst, helloHeartbeat, h.Heartbeat)
	}
	limits := [...]uint64{h.MaxMessage, h.MaxMetadata, h.MaxName, h.MaxMethods}
	size := 0
	for _, v := range limits {
		size += uvarintLen(v)
	}
	dst = append(dst, helloLimits, byte(size))
	for _, v := range limits {
		dst = binary.AppendUvarint(dst, v)
	}
	if h.Supersedes != [16]byte{} {
		dst = AppendField(dst, helloSupersedes, h.Supersedes[:])
	}
	for _, f := range h.Features {
		dst = AppendField(dst, helloFeature, f)
	}
	if h.Agent != "" {
		dst = AppendField(dst, helloAgent, h.Agent)
	}
	return dst
}

func appendNames(dst []byte, tag byte, names []Name) []byte {
	for _, n := range names {
		dst = append(dst, tag)
		dst = binary.AppendUvarint(dst, uint64(1+len(n.Name)))
		dst = append(append(dst, n.Number), n.Name...)
	}
	return dst
}

// addName reads a field that appendNames wrote.
func addName(names []Name, value []byte) ([]Name, bool) {
	if len(value) < 2 || value[0] == 0 || len(names) == maxNames {
		return names, false
	}
	return append(names, Name{value[0], string(value[1:])}), true
}

// ParseHello reads the body of a HELLO. What it returns does not refer to body.
// Error: [ErrMalformed], with what is wrong.
func ParseHello(body []byte) (HelloBody, error) {
	var h HelloBody
	fail := func(what string) (HelloBody, error) {
		return HelloBody{}, fmt.Errorf("%w: HELLO: %s", ErrMalformed, what)
	}
	fields := ReadFields(body)
	for tag, value, ok := fields.Next(); ok; tag, value, ok = fields.Next() {
		good := true
		switch tag {
		case helloVersion:
			if !readUints(value, &h.MaxVersion, &h.MinVersion) || h.MinVersion < 1 || h.MaxVersion < h.MinVersion {
				return fail("versions")
			}
		case helloInstance:
			if copy(h.Instance[:], value) != len(h.Instance) || len(value) != len(h.Instance) {
				return fail("instance")
			}
		case helloToken:
			if copy(h.Token[:], value) != len(h.Token) || len(value) != len(h.Token) {
				return fail("token")
			}
		case helloSerializer:
			if h.Serializers, good = addName(h.Serializers, value); !good {
				return fail("serializer")
			}
		case helloCompressor:
			if h.Compressors, good = addName(h.Compressors, value); !good {
				return fail("compressor")
			}
		case helloHeartbeat:
			v, err := parseUint(value)
			if err != nil {
				return fail("heartbeat")
			}
			h.Heartbeat = v
		case helloLimits:
			if !readUints(value, &h.MaxMessage, &h.MaxMetadata, &h.MaxName, &h.MaxMethods) {
				return fail("limits")
			}
		case helloSupersedes:
			if copy(h.Supersedes[:], value) != len(h.Supersedes) || len(value) != len(h.Supersedes) {
				return fail("supersedes")
			}
		case helloFeature:
			if len(h.Features) < maxNames {
				h.Features = append(h.Features, string(value))
			}
		case helloAgent:
			h.Agent = string(value)
		}
	}
	switch {
	case fields.Err() != nil:
		return fail("a field runs past the end")
	case h.MaxVersion == 0:
		return fail("no version")
	case h.MaxMessage == 0 || h.MaxMetadata == 0:
		return fail("no limits")
	}
	return h, nil
}

// readUints reads the numbers that begin value; more may follow them in a later
// version.
func readUints(value []byte, into ...*uint64) bool {
	for _, p := range into {
		v, n := binary.Uvarint(value)
		if n <= 0 {
			return false
		}
		*p, value = v, value[n:]
	}
	return true
}
