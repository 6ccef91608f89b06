package core

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// However a network cuts and joins what it is given, the same comes of it. These
// tests send one of every frame, in one piece each, all together, byte by byte, and
// cut in two at every place.

// transport makes the two ends of a connection.
type transport struct {
	name string
	pair func(t *testing.T) (consumer, provider net.Conn)
}

func transports(t *testing.T) []transport {
	server, client := tlsConfigs(t)
	return []transport{
		{"pipe", func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() }},
		{"tcp", tcpPair},
		{"tls", func(t *testing.T) (net.Conn, net.Conn) {
			a, b := tcpPair(t)
			return tls.Client(a, client), tls.Server(b, server)
		}},
	}
}

// tlsConfigs returns those of a server, with a certificate of its own, and of a
// client that trusts it and resumes sessions, since a full handshake costs
// milliseconds.
func tlsConfigs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"provider"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: pool, ServerName: "provider", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

// doubling is a compressor: it writes half of a text that says everything twice.
type doubling struct{}

func (doubling) Compress(dst, src []byte) ([]byte, error) {
	return append(dst, src[:len(src)/2]...), nil
}

func (doubling) Decompress(dst, src []byte, limit int) ([]byte, error) {
	if 2*len(src) > limit {
		return dst, spi.ErrTooLarge
	}
	return append(append(dst, src...), src...), nil
}

// twice is a body that says everything twice, as doubling compresses it.
var twice = append(seal("packed"), seal("packed")...)

// raw is a serializer of byte slices that writes them as they are.
type raw struct{}

func (raw) Append(dst []byte, v any) ([]byte, error) {
	if p, ok := v.(*[]byte); ok {
		return append(dst, *p...), nil
	}
	return append(dst, v.([]byte)...), nil
}

func (raw) Decode(data []byte, v any) error {
	p := v.(*[]byte)
	*p = append((*p)[:0], data...)
	return nil
}

// capable is a HELLO that lists everything there is to list.
func capable() []byte {
	h := helloBody()
	h.Features, h.Compressors = features, []wire.Name{{Number: 9, Name: "doubling"}}
	return frameOf(wire.Header{Type: wire.Hello}, nil, wire.AppendHello(nil, h))
}

// everyRequest says everything that a consumer can say, as separate frames.
func everyRequest() [][]byte {
	id := func(n uint64) wire.Header { return wire.Header{Type: wire.Request, Serializer: 3, ID: n << slotBits} }
	method := wire.AppendMethod(nil, 1)
	list, checked, compressed := id(2), id(3), id(4)
	list.Flags, checked.Flags, compressed.Flags, compressed.Code = wire.FlagList, wire.FlagChecksum, wire.FlagCompressed, 9
	frames := [][]byte{
		capable(),
		callFrame(1, 1, "Say", []byte("first")),
		frameOf(list, method, oneArgument([]byte("in a list"))),
		frameOf(checked, method, wire.AppendChecksum([]byte("checked"), 0)),
		frameOf(wire.Header{Type: wire.Ping, ID: 77}, nil, nil),
		frameOf(compressed, wire.AppendUserPair(slices.Clone(method), "k", "v"), twice[:len(twice)/2]),
		callFrame(5, 2, "Wait", nil),
		frameOf(wire.Header{Type: wire.Pong, ID: 3}, nil, nil),
		frameOf(wire.Header{Type: wire.Cancel, ID: 5 << slotBits}, nil, nil),
		frameOf(wire.Header{Type: 99, ID: 5}, []byte("of a later"), []byte("version")),
		callFrame(6, 0, "Nothing", nil),
	}
	frames = append(frames, split(inParts(callFrame(7, 1, "", []byte("in several parts")), 5))...)
	return append(frames, frameOf(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown}, nil, wire.AppendGoAway(nil, wire.GoAwayBody{Message: "bye"})))
}

// everyAnswer says everything that a provider can say to the calls 1 to 5, each with
// its slot.
func everyAnswer() [][]byte {
	id := func(n uint64) wire.Header {
		return wire.Header{Type: wire.Response, Serializer: 3, ID: n<<slotBits | (n - 1)}
	}
	failed, checked, compressed := id(2), id(3), id(4)
	failed.Type, failed.Serializer, failed.Code = wire.Error, 0, uint8(spi.NotFound)
	checked.Flags, compressed.Flags, compressed.Code = wire.FlagChecksum, wire.FlagCompressed, 9
	frames := [][]byte{
		capable(),
		frameOf(id(1), wire.AppendUserPair(nil, "k", "v"), []byte("first")),
		frameOf(failed, nil, wire.AppendError(nil, wire.ErrorBody{Message: "no such thing"})),
		frameOf(wire.Header{Type: wire.Ping, ID: 77}, nil, nil),
		frameOf(checked, nil, wire.AppendChecksum([]byte("checked"), 0)),
		frameOf(wire.Header{Type: wire.Pong, ID: 3}, nil, nil),
		frameOf(compressed, nil, twice[:len(twice)/2]),
		frameOf(wire.Header{Type: 99, ID: 5}, []byte("of a later"), []byte("version")),
	}
	frames = append(frames, split(inParts(frameOf(id(5), nil, []byte("in several parts")), 5))...)
	return append(frames, frameOf(wire.Header{Type: wire.GoAway, Code: wire.GoAwayShutdown}, nil, wire.AppendGoAway(nil, wire.GoAwayBody{Message: "bye"})))
}

// split returns the frames of b.
func split(b []byte) (frames [][]byte) {
	for len(b) > 0 {
		n := wire.FrameSize(b)
		frames, b = append(frames, b[:n]), b[n:]
	}
	return frames
}

// segmentations calls f with the frames as a network may deliver them.
func segmentations(frames [][]byte, f func(name string, pieces [][]byte)) {
	all := slices.Concat(frames...)
	f("frame by frame", frames)
	f("all together", [][]byte{all})
	f("byte by byte", every(all, 1))
	for at := 1; at < len(all); at++ {
		f(fmt.Sprint("cut at ", at), cutAt(all, at))
	}
}

func TestProviderReadsAnySegmentation(t *testing.T) {
	p := newEchoProvider(t, &echo{}, func(cfg *ProviderConfig, _ *Service) {
		cfg.Serializers, cfg.Compressors = map[string]spi.Serializer{"sealed": raw{}}, map[string]spi.Compressor{"doubling": doubling{}}
	})
	defer shutdown(t, p)
	want := map[string]string{
		"RESPONSE 1": "first", "RESPONSE 2": "in a list", "RESPONSE 3": "checked", "RESPONSE 4": string(twice), "PONG 77": "",
		"ERROR 6": "UNIMPLEMENTED", "RESPONSE 7": "in several parts", "HELLO 0": "",
	}
	for _, by := range transports(t) {
		t.Run(by.name, func(t *testing.T) {
			segmentations(everyRequest(), func(name string, pieces [][]byte) {
				near, far := by.pair(t)
				p.adopt(far)
				k := newTalker(t, near)
				got := make(map[string]string)
				var reading sync.WaitGroup
				reading.Go(func() {
					for f, err := k.hear(); err == nil; f, err = k.hear() {
						got[answerName(f)] = answerText(f)
					}
				})
				for _, b := range pieces {
					k.send(b)
				}
				reading.Wait() // the provider closes after its last answer
				k.close()
				if !maps.Equal(got, want) {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			})
		})
	}
}

func answerName(f told) string {
	if f.Type == wire.Response || f.Type == wire.Error {
		return fmt.Sprint(f.Type, " ", f.ID>>slotBits)
	}
	return fmt.Sprint(f.Type, " ", f.ID)
}

func answerText(f told) string {
	switch {
	case f.Type == wire.Hello:
		return ""
	case f.Type == wire.Error:
		return spi.Code(f.Code).String()
	case f.Flags&wire.FlagCompressed != 0: // by the provider, which numbers from 1
		b, _ := doubling{}.Decompress(nil, f.payload, 1<<20)
		return string(b)
	}
	return string(f.payload)
}

func TestConsumerReadsAnySegmentation(t *testing.T) {
	want := []string{"first", "NOT_FOUND", "checked", string(twice), "in several parts"}
	for _, by := range transports(t) {
		t.Run(by.name, func(t *testing.T) {
			segmentations(everyAnswer(), func(name string, pieces [][]byte) {
				if got := answersInPieces(t, by, pieces); !slices.Equal(got, want) {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			})
		})
	}
}

// answersInPieces makes five calls to a provider that says HELLO and the answers in
// pieces, and returns what came of them.
func answersInPieces(t *testing.T, by transport, pieces [][]byte) []string {
	t.Helper()
	near, far := by.pair(t)
	k := newTalker(t, far)
	dialled := false
	c := newEchoConsumer(t, func(cfg *ConsumerConfig) {
		cfg.Serializer, cfg.CompressorName, cfg.Compressor = raw{}, "doubling", doubling{}
		cfg.Dial = func(context.Context, string) (net.Conn, error) {
			if dialled {
				return nil, errNoRoute
			}
			dialled = true
			return near, nil
		}
	}, nil)
	k.expect(wire.Hello)
	said, hello := 0, len(capable())
	for said < hello { // the rest of a piece that HELLO shares comes later
		n := min(len(pieces[0]), hello-said)
		k.send(pieces[0][:n])
		said += n
		if pieces[0] = pieces[0][n:]; len(pieces[0]) == 0 {
			pieces = pieces[1:]
		}
	}
	outcomes := make([]string, 5)
	var calls sync.WaitGroup
	for i := range outcomes {
		calls.Go(func() {
			var reply []byte
			err := c.Invoke(context.Background(), &spi.Call{Method: c.Method("Echo", "Say"), Args: spi.Values{[]byte("x")}, Reply: &reply, Timeout: time.Minute})
			outcomes[i] = string(reply)
			var e *spi.Error
			if errors.As(err, &e) {
				outcomes[i] = e.Code.String()
			}
		})
		k.expect(wire.Request)
	}
	var reading sync.WaitGroup
	reading.Go(k.drain)
	for _, b := range pieces {
		k.send(b)
	}
	calls.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	k.close()
	reading.Wait()
	return outcomes
}
