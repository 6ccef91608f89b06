package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// golden reads an annotated frame: hexadecimal up to a #.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		code, _, _ := strings.Cut(line, "#")
		digits.WriteString(strings.TrimSpace(code))
	}
	frame, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return frame
}

func sequence(from byte) (b [16]byte) {
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

var hello = wire.HelloBody{
	MaxVersion: 1, MinVersion: 1, Instance: sequence(0), Token: sequence(16),
	Serializers: []wire.Name{{Number: 1, Name: "json"}}, Heartbeat: 5000,
	MaxMessage: 16 << 20, MaxMetadata: 64 << 10, MaxName: 255, MaxMethods: 4096, Agent: "bhrpc-go/0.1",
}

var failure = wire.ErrorBody{Message: `no greeting for "again"`, Reason: "no_greeting", Phase: "handler", Hint: "greet somebody else", Details: map[string]string{"name": "again"}}

// frames holds every golden frame as this package writes it.
func frames() map[string][]byte {
	provider := hello
	provider.Token, provider.Heartbeat = sequence(32), 0
	provider.Serializers = []wire.Name{{Number: 1, Name: "gob"}, {Number: 2, Name: "json"}, {Number: 3, Name: "json-std"}}
	features := hello
	features.Compressors, features.Features = []wire.Name{{Number: 1, Name: "gzip"}}, []string{"chunks", "checksum"}

	define := wire.AppendTimeout(wire.AppendDefine(nil, 1, "Hello", "Say"), 5_000_000)
	number := wire.AppendUserPair(wire.AppendTimeout(wire.AppendMethod(nil, 1), 4_999_000), "tenant", "blue")
	list := wire.AppendListCount(nil, 2)
	for _, arg := range []string{"7", "35"} {
		start := len(list)
		list = wire.PrefixLength(append(list, arg...), start)
	}
	superseding := hello
	superseding.Supersedes = sequence(48)
	const call1, call2, call3, call4 = 1 << 20, 2<<20 | 3, 3 << 20, 4 << 20
	return map[string][]byte{
		"hello-consumer":      frame(wire.Header{Type: wire.Hello}, nil, wire.AppendHello(nil, hello)),
		"hello-supersedes":    frame(wire.Header{Type: wire.Hello}, nil, wire.AppendHello(nil, superseding)),
		"hello-provider":      frame(wire.Header{Type: wire.Hello}, nil, wire.AppendHello(nil, provider)),
		"request-define":      frame(wire.Header{Type: wire.Request, Serializer: 1, ID: call1}, define, []byte(`"world"`)),
		"request-number":      frame(wire.Header{Type: wire.Request, Serializer: 1, ID: call2}, number, []byte(`"again"`)),
		"request-list":        frame(wire.Header{Type: wire.Request, Flags: wire.FlagList, Serializer: 1, ID: call3}, wire.AppendDefine(nil, 2, "Math", "Add"), list),
		"response":            frame(wire.Header{Type: wire.Response, Serializer: 2, ID: call1}, wire.AppendUserPair(nil, "served-by", "a"), []byte(`"hello, world"`)),
		"response-void":       frame(wire.Header{Type: wire.Response, Flags: wire.FlagVoid, Serializer: 2, ID: call3}, nil, nil),
		"error":               frame(wire.Header{Type: wire.Error, Code: 5, ID: call2}, nil, wire.AppendError(nil, failure)),
		"hello-features":      frame(wire.Header{Type: wire.Hello}, nil, wire.AppendHello(nil, features)),
		"response-checksum":   frame(wire.Header{Type: wire.Response, Flags: wire.FlagChecksum, Serializer: 2, ID: call1}, nil, wire.AppendChecksum([]byte(`"hello, world"`), 0)),
		"response-compressed": frame(wire.Header{Type: wire.Response, Flags: wire.FlagCompressed, Serializer: 2, Code: 1, ID: call1}, nil, []byte("packed")),
		"request-more":        frame(wire.Header{Type: wire.Request, Flags: wire.FlagMore, Serializer: 1, ID: call4}, wire.AppendWhole(wire.AppendMethod(nil, 1), 12), nil),
		"chunk-more":          frame(wire.Header{Type: wire.Chunk, Flags: wire.FlagMore, ID: call4}, nil, []byte(`"a lo`)),
		"chunk":               frame(wire.Header{Type: wire.Chunk, ID: call4}, nil, []byte(`ng one"`)),
		"cancel":              frame(wire.Header{Type: wire.Cancel, ID: call1}, nil, nil),
		"ping":                frame(wire.Header{Type: wire.Ping, ID: 7}, nil, nil),
		"pong":                frame(wire.Header{Type: wire.Pong, ID: 7}, nil, nil),
		"goaway":              frame(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown}, nil, wire.AppendGoAway(nil, wire.GoAwayBody{Message: "provider stops", RetryAfter: 1000})),
	}
}

func frame(h wire.Header, metadata, body []byte) []byte {
	h.Metadata, h.Body = uint32(len(metadata)), uint32(len(body))
	return append(append(wire.AppendHeader(nil, h), metadata...), body...)
}

// The golden files were made by a program in another language, from the text of
// docs/protocol.md, with a CRC of its own.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != len(frames()) {
		t.Fatalf("got %d golden files (%v), want %d", len(files), err, len(frames()))
	}
	for name, got := range frames() {
		t.Run(name, func(t *testing.T) {
			if want := golden(t, name); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

func TestProtocolPageShowsTheGoldenFrame(t *testing.T) {
	page, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/request-define.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(page, want) {
		t.Errorf("docs/protocol.md does not show testdata/request-define.txt as it is:\n%s", want)
	}
}

func TestParseGolden(t *testing.T) {
	parse := func(name string) (wire.Header, []byte, []byte) {
		b := golden(t, name)
		h, err := wire.ParseHeader(b)
		if err != nil || int(h.Metadata+h.Body)+wire.HeaderSize != len(b) {
			t.Fatalf("%s: got %+v, %v, want lengths that add up to %d", name, h, err, len(b))
		}
		return h, b[wire.HeaderSize:][:h.Metadata], b[wire.HeaderSize+h.Metadata:]
	}
	equal := func(name string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}

	_, _, body := parse("hello-consumer")
	gotHello, err := wire.ParseHello(body)
	equal("hello", gotHello, hello, err)

	_, meta, _ := parse("request-define")
	gotMeta, err := wire.ParseRequestMeta(meta)
	equal("request-define", gotMeta, wire.RequestMeta{Number: 1, Define: true, Service: []byte("Hello"), Method: []byte("Say"), Timeout: 5_000_000, HasTimeout: true}, err)

	h, meta, _ := parse("request-number")
	gotMeta, err = wire.ParseRequestMeta(meta)
	equal("request-number", gotMeta, wire.RequestMeta{Number: 1, Timeout: 4_999_000, HasTimeout: true, Pairs: 1}, err)
	wire.Pairs(meta, func(k, v []byte) { equal("pair", string(k)+"="+string(v), "tenant=blue", nil) })
	equal("id", h.ID, uint64(2<<20|3), nil)

	_, _, body = parse("request-list")
	list, count, err := wire.ReadList(body)
	equal("count", count, 2, err)
	for _, want := range []string{"7", "35"} {
		arg, err := list.Next()
		equal("argument", string(arg), want, err)
	}
	equal("end", nil, nil, list.End())

	h, meta, _ = parse("response")
	pairs, err := wire.CountPairs(meta)
	equal("pairs", pairs, 1, err)
	equal("serializer", h.Serializer, uint8(2), nil)

	h, _, body = parse("error")
	gotError, err := wire.ParseError(body)
	equal("error", gotError, failure, err)
	equal("code", h.Code, uint8(5), nil)

	_, _, body = parse("goaway")
	gotGoAway, err := wire.ParseGoAway(body)
	equal("goaway", gotGoAway, wire.GoAwayBody{Message: "provider stops", RetryAfter: 1000}, err)
}

// The check is linear, so whether a flip is seen depends on the flip only, not on
// the header; still, every golden header is tried.
func TestDamagedHeader(t *testing.T) {
	for name, frame := range frames() {
		for at := range wire.HeaderSize {
			for flip := 1; flip < 256; flip++ {
				b := bytes.Clone(frame[:wire.HeaderSize])
				b[at] ^= byte(flip)
				_, err := wire.ParseHeader(b)
				want := wire.ErrCheck
				if at < 2 {
					want = wire.ErrMagic
				}
				if !errors.Is(err, want) {
					t.Fatalf("%s with byte %d xor %#02x: got %v, want %v", name, at, flip, err, want)
				}
			}
		}
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		name  string
		typ   wire.Type
		flags uint8
		want  error
	}{
		{"list on a request", wire.Request, wire.FlagList, nil},
		{"void on a response", wire.Response, wire.FlagVoid, nil},
		{"hints on a pong", wire.Pong, 3, nil},
		{"void on a request", wire.Request, wire.FlagVoid, wire.ErrFlags},
		{"more on a request", wire.Request, wire.FlagMore, nil},
		{"more on a response", wire.Response, wire.FlagMore, nil},
		{"more on a chunk", wire.Chunk, wire.FlagMore, nil},
		{"checksum and compressed", wire.Request, wire.FlagChecksum | wire.FlagCompressed, nil},
		{"checksum on an error", wire.Error, wire.FlagChecksum, wire.ErrFlags},
		{"compressed on a chunk", wire.Chunk, wire.FlagCompressed, wire.ErrFlags},
		{"more on an error", wire.Error, wire.FlagMore, wire.ErrFlags},
		{"list on a chunk", wire.Chunk, wire.FlagList, wire.ErrFlags},
		{"reserved on a request", wire.Request, 0x40, wire.ErrFlags},
		{"anything on a stream, which is skipped", 9, 0xff, nil},
		{"anything on a ping", wire.Ping, 1, wire.ErrFlags},
		{"anything on an unknown type, which is skipped", 200, 0xff, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := wire.ParseHeader(wire.AppendHeader(nil, wire.Header{Type: tt.typ, Flags: tt.flags}))
			if !errors.Is(err, tt.want) || h.Type != tt.typ {
				t.Errorf("got %v, %v, want %v", h, err, tt.want)
			}
		})
	}
}

func TestChecksum(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("body", 1000)} {
		b := wire.AppendChecksum([]byte("before"+text), len("before"))[len("before"):]
		if rest, ok := wire.CutChecksum(b); !ok || string(rest) != text {
			t.Errorf("%.10q: got %.10q, %v, want it right", text, rest, ok)
		}
		for i := range b {
			b[i] ^= 0x10
			if _, ok := wire.CutChecksum(b); ok {
				t.Errorf("%.10q with byte %d changed: got it right, want it wrong", text, i)
			}
			b[i] ^= 0x10
		}
		if _, ok := wire.CutChecksum(b[:3]); ok {
			t.Errorf("%.10q cut to 3 bytes: got it right, want it wrong", text)
		}
	}
}

func TestTypeString(t *testing.T) {
	for typ, want := range map[wire.Type]string{wire.Hello: "HELLO", wire.GoAway: "GOAWAY", 12: "CHUNK", 0: "TYPE_0", 77: "TYPE_77"} {
		if got := typ.String(); got != want {
			t.Errorf("Type(%d): got %s, want %s", uint8(typ), got, want)
		}
	}
}

// parsers reads a block with each parser and says whether it was accepted.
var parsers = map[string]func([]byte) error{
	"hello":   func(b []byte) error { _, err := wire.ParseHello(b); return err },
	"request": func(b []byte) error { _, err := wire.ParseRequestMeta(b); return err },
	"pairs":   func(b []byte) error { _, err := wire.CountPairs(b); return err },
	"whole":   func(b []byte) error { _, err := wire.Whole(b); return err },
	"error":   func(b []byte) error { _, err := wire.ParseError(b); return err },
	"goaway":  func(b []byte) error { _, err := wire.ParseGoAway(b); return err },
	"list": func(b []byte) error {
		list, n, err := wire.ReadList(b)
		for range n {
			if _, err := list.Next(); err != nil {
				return err
			}
		}
		return errors.Join(err, list.End())
	},
}

func TestMalformed(t *testing.T) {
	long := binary.AppendUvarint(nil, 1<<62)
	for _, tt := range []struct {
		name, parser string
		block        []byte
	}{
		{"field past the end", "hello", []byte{1, 5, 1}},
		{"no version", "hello", wire.AppendField(nil, 11, "x")},
		{"version range upside down", "hello", []byte{1, 2, 1, 2}},
		{"version 0", "hello", []byte{1, 2, 0, 0}},
		{"short instance", "hello", wire.AppendField(wire.AppendHello(nil, hello), 2, "short")},
		{"long token", "hello", wire.AppendField(wire.AppendHello(nil, hello), 3, "01234567890123456789")},
		{"serializer 0", "hello", wire.AppendField(wire.AppendHello(nil, hello), 4, "\x00json")},
		{"compressor 0", "hello", wire.AppendField(wire.AppendHello(nil, hello), 5, "\x00gzip")},
		{"compressor without a name", "hello", wire.AppendField(wire.AppendHello(nil, hello), 5, "\x01")},
		{"serializer without a name", "hello", wire.AppendField(wire.AppendHello(nil, hello), 4, "\x01")},
		{"no limits", "hello", []byte{1, 2, 1, 1}},
		{"cut limits", "hello", []byte{1, 2, 1, 1, 7, 1, 1}},
		{"no method", "request", nil},
		{"method twice", "request", wire.AppendMethod(wire.AppendMethod(nil, 1), 1)},
		{"method by number and by name", "request", wire.AppendMethod(wire.AppendDefine(nil, 1, "a", "b"), 1)},
		{"method 0", "request", wire.AppendMethod(nil, 0)},
		{"definition cut", "request", []byte{2, 3, 1, 5, 'a'}},
		{"definition without a method", "request", []byte{2, 3, 1, 1, 'a'}},
		{"timeout with a tail", "request", append(wire.AppendMethod(nil, 1), 3, 2, 1, 1)},
		{"length of the body with a tail", "request", append(wire.AppendMethod(nil, 1), 5, 2, 1, 1)},
		{"no length of the body", "whole", nil},
		{"length of the body cut", "whole", []byte{5, 1, 0x80}},
		{"pair without a key", "request", append(wire.AppendMethod(nil, 1), 4, 1, 9)},
		{"length beyond memory", "pairs", append([]byte{4}, long...)},
		{"length of eleven bytes", "pairs", append([]byte{4}, bytes.Repeat([]byte{0x80}, 11)...)},
		{"detail without a key", "error", []byte{4, 1, 9}},
		{"retry after nothing", "goaway", []byte{2, 0}},
		{"list of more than its bytes", "list", long},
		{"empty list body", "list", nil},
		{"list with a tail", "list", []byte{1, 1, 'a', 'b'}},
		{"list argument past the end", "list", []byte{1, 2, 'a'}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := parsers[tt.parser](tt.block); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("got %v, want %v", err, wire.ErrMalformed)
			}
		})
	}
}

// A field that this version does not know is skipped wherever it stands.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	unknown := wire.AppendField(nil, 99, "from a later version")
	for name, block := range map[string][]byte{
		"hello":   wire.AppendHello(bytes.Clone(unknown), hello),
		"request": wire.AppendMethod(bytes.Clone(unknown), 1),
		"pairs":   wire.AppendUserPair(bytes.Clone(unknown), "k", "v"),
		"whole":   wire.AppendWhole(bytes.Clone(unknown), 70_000),
		"error":   wire.AppendError(bytes.Clone(unknown), failure),
		"goaway":  wire.AppendGoAway(bytes.Clone(unknown), wire.GoAwayBody{Message: "m"}),
	} {
		if err := parsers[name](block); err != nil {
			t.Errorf("%s: got %v, want it accepted", name, err)
		}
	}
}
