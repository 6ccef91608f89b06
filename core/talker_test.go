package core

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/google/uuid"
)

// sealed is a serializer of byte slices that notices damage: a checksum and the
// bytes.
type sealed struct{}

var errDamaged = errors.New("damaged")

func seal(text string) []byte {
	b, _ := sealed{}.Append(nil, []byte(text))
	return b
}

// Append implements [spi.Serializer].
func (sealed) Append(dst []byte, v any) ([]byte, error) {
	b, ok := v.([]byte)
	if p, pointer := v.(*[]byte); pointer {
		b, ok = *p, true
	}
	if !ok {
		return dst, fmt.Errorf("a %T is no []byte", v)
	}
	dst = binary.BigEndian.AppendUint32(dst, crc32.ChecksumIEEE(b))
	return append(dst, b...), nil
}

// Decode implements [spi.Serializer].
func (sealed) Decode(data []byte, v any) error {
	if len(data) < 4 || binary.BigEndian.Uint32(data) != crc32.ChecksumIEEE(data[4:]) {
		return errDamaged
	}
	p := v.(*[]byte)
	*p = append((*p)[:0], data[4:]...)
	return nil
}

// talker is a peer that says exactly what a test wants, over a net.Pipe.
type talker struct {
	t  testing.TB
	nc net.Conn
	in *frameReader
}

func newTalker(t testing.TB, nc net.Conn) *talker {
	return &talker{t, nc, newFrameReader(nc, nil, Limits{Message: 1 << 30, Metadata: 1 << 30})}
}

// say sends one frame.
func (k *talker) say(h wire.Header, metadata, body []byte) {
	k.t.Helper()
	k.send(frameOf(h, metadata, body))
}

func frameOf(h wire.Header, metadata, body []byte) []byte {
	h.Metadata, h.Body = uint32(len(metadata)), uint32(len(body))
	return append(append(wire.AppendHeader(nil, h), metadata...), body...)
}

// send sends bytes. That the other side has closed is no failure of the test.
func (k *talker) send(b []byte) {
	k.t.Helper()
	if _, err := k.nc.Write(b); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		k.t.Errorf("write: %v", err)
	}
}

// hear returns the next frame, with a payload of its own, or an error.
func (k *talker) hear() (told, error) {
	f, err := k.in.next()
	if err != nil {
		k.in.close()
		return told{}, err
	}
	said := told{Header: f.Header, payload: append([]byte(nil), f.payload...)}
	f.owned.release()
	k.in.release()
	return said, nil
}

// expect returns the next frame, which must be of that type.
func (k *talker) expect(want wire.Type) told {
	k.t.Helper()
	f, err := k.hear()
	if err != nil || f.Type != want {
		k.t.Fatalf("got %v, %v, want %v", f.Type, err, want)
	}
	return f
}

// drain reads and forgets until the connection ends.
func (k *talker) drain() {
	for {
		if _, err := k.hear(); err != nil {
			return
		}
	}
}

// close ends the connection. Whoever hears, hears of it.
func (k *talker) close() { _ = k.nc.Close() }

// helloBody is a HELLO with one serializer, called sealed and numbered 3.
func helloBody() wire.HelloBody {
	return wire.HelloBody{MaxVersion: 1, MinVersion: 1, Instance: uuid.UUID{1}, Token: uuid.UUID{2}, Serializers: []wire.Name{{Number: 3, Name: "sealed"}},
		MaxMessage: minMessage, MaxMetadata: minMetadata, MaxName: maxName, MaxMethods: 100, Agent: "talker"}
}

func helloFrame() []byte {
	return frameOf(wire.Header{Type: wire.Hello}, nil, wire.AppendHello(nil, helloBody()))
}

// callFrame is the REQUEST number sequence; with a name it defines method number.
func callFrame(sequence uint64, number uint64, name string, body []byte) []byte {
	meta := wire.AppendMethod(nil, number)
	if name != "" {
		meta = wire.AppendDefine(nil, number, "Echo", name)
	}
	meta = wire.AppendTimeout(meta, uint64(time.Minute/time.Microsecond))
	return frameOf(wire.Header{Type: wire.Request, Serializer: 3, ID: sequence << slotBits}, meta, body)
}

// echo is the service that tests call.
type echo struct {
	block chan struct{} // Wait waits for it, or for its context
	ran   func(method, text string)
}

func (e *echo) note(method string, b []byte) {
	if e.ran != nil {
		e.ran(method, string(b))
	}
}

// Say returns what it is told.
func (e *echo) Say(_ context.Context, b []byte) ([]byte, error) {
	e.note("Say", b)
	return b, nil
}

// Wait returns what it is told when it is let go.
func (e *echo) Wait(ctx context.Context, b []byte) ([]byte, error) {
	e.note("Wait", b)
	select {
	case <-e.block:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Much returns a thousand times what it is told.
func (e *echo) Much(_ context.Context, b []byte) ([]byte, error) {
	e.note("Much", b)
	return bytes.Repeat(b, 1000), nil
}

// newEchoProvider returns a Provider of the service Echo.
func newEchoProvider(t testing.TB, e *echo, change func(*ProviderConfig, *Service)) *Provider {
	t.Helper()
	service, err := NewService("Echo", e)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultProviderConfig()
	cfg.Serializers = map[string]spi.Serializer{"sealed": sealed{}}
	if change != nil {
		change(&cfg, service)
	}
	p, err := NewProvider(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Register(service); err != nil {
		t.Fatal(err)
	}
	return p
}

// shutdown stops a Provider at once; nothing may be left of it.
func shutdown(t testing.TB, p *Provider) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.Shutdown(ctx)
	if n := p.admitted.Load(); n != 0 {
		t.Errorf("got %d requests still counted after Shutdown, want 0", n)
	}
}

// connect returns a talker that shook hands with a Provider.
func connect(t testing.TB, p *Provider) *talker {
	t.Helper()
	k := connectRaw(t, p)
	k.send(helloFrame())
	k.expect(wire.Hello)
	return k
}

// connectRaw returns a talker that has said nothing yet.
func connectRaw(t testing.TB, p *Provider) *talker {
	near, far := net.Pipe()
	p.adopt(far)
	return newTalker(t, near)
}

// newEchoConsumer returns a Consumer whose connections, over net.Pipe, are handed to
// accept, each in a goroutine of its own.
func newEchoConsumer(t testing.TB, change func(*ConsumerConfig), accept func(k *talker)) *Consumer {
	t.Helper()
	cfg := DefaultConsumerConfig()
	cfg.Endpoints, cfg.SerializerName, cfg.Serializer, cfg.LoadBalancer = []spi.Endpoint{{Address: "provider:1"}}, "sealed", sealed{}, &chooser{}
	cfg.Dial = func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		go accept(newTalker(t, far))
		return near, nil
	}
	if change != nil {
		change(&cfg)
	}
	c, err := NewConsumer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// welcome shakes hands as a provider.
func (k *talker) welcome() {
	k.t.Helper()
	if _, err := k.hear(); err == nil {
		k.send(helloFrame())
	}
}
