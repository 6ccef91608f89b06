package coretest_test

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

// introduce returns two Peers that have shaken hands.
func introduce(t *testing.T, consumer, provider coretest.Hello) (c, p *coretest.Peer) {
	t.Helper()
	_, a, b := connect(t)
	c, p = coretest.NewPeer(a), coretest.NewPeer(b)
	heard := make(chan error, 1)
	go func() { _, err := p.BeProvider(provider); heard <- err }()
	if _, err := c.BeConsumer(consumer); err != nil {
		t.Fatal(err)
	}
	if err := <-heard; err != nil {
		t.Fatal(err)
	}
	return c, p
}

func TestPeerShakesHands(t *testing.T) {
	full := coretest.Hello{Serializers: []string{"json", "raw"}, MinVersion: 1, MaxVersion: 3, MaxMessage: 1 << 20, MaxMetadata: 2048,
		MaxMethods: 7, Heartbeat: 5 * time.Second, Agent: "test"}
	for _, tt := range []struct {
		name       string
		sent, want coretest.Hello
	}{
		{"everything said", full, full},
		{"defaults", coretest.Hello{Serializers: []string{"json"}},
			coretest.Hello{Serializers: []string{"json"}, MinVersion: 1, MaxVersion: 1, MaxMessage: 16 << 20, MaxMetadata: 64 << 10, MaxMethods: 4096}},
		{"no methods", coretest.Hello{MaxMethods: -1},
			coretest.Hello{MinVersion: 1, MaxVersion: 1, MaxMessage: 16 << 20, MaxMetadata: 64 << 10}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := connect(t)
				consumer, provider := coretest.NewPeer(a), coretest.NewPeer(b)
				heard := make(chan coretest.Hello)
				go func() {
					h, err := provider.BeProvider(tt.sent)
					if err != nil {
						t.Error(err)
					}
					heard <- h
				}()
				want := tt.want
				want.Token[0] = 2 // the default
				toConsumer, err := consumer.BeConsumer(tt.sent)
				if err != nil {
					t.Error(err)
				}
				if toProvider := <-heard; !reflect.DeepEqual(toProvider, want) {
					t.Errorf("provider: got %+v, want %+v", toProvider, want)
				}
				if !reflect.DeepEqual(toConsumer, want) {
					t.Errorf("consumer: got %+v, want %+v", toConsumer, want)
				}
			})
		})
	}
}

func TestPeerIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply func(p *coretest.Peer)
		want  string
	}{
		{"goaway", func(p *coretest.Peer) { p.Write(coretest.GoAway(coretest.GoAwayIncompatible, "only version 2")) }, "GOAWAY id=0 code=2 \"only version 2\""},
		{"closed", func(p *coretest.Peer) { p.Close() }, "wait for HELLO: EOF"},
		{"half a frame", func(p *coretest.Peer) { p.WriteRaw([]byte("HTTP")); p.Close() }, "unexpected EOF"},
		{"other bytes", func(p *coretest.Peer) { p.WriteRaw([]byte("HTTP/1.1 400 Bad Request\r\n")) }, "not a bhrpc frame"},
		{"malformed", func(p *coretest.Peer) { p.Write(coretest.Frame{Type: coretest.TypeHello, Body: []byte{1}}) }, "HELLO"},
		{"too large", func(p *coretest.Peer) {
			p.WriteRaw(wire.AppendHeader(nil, wire.Header{Type: wire.Hello, Body: 64<<20 + 1}))
		}, "67108865 bytes are more than 67108864"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a, b := connect(t)
				consumer, provider := coretest.NewPeer(a), coretest.NewPeer(b)
				go func() {
					provider.ReadHello()
					tt.reply(provider)
				}()
				_, err := consumer.BeConsumer(coretest.Hello{})
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
				consumer.Close()
			})
		})
	}
}

func TestCutFrame(t *testing.T) {
	whole := coretest.Request(5, "Stock", "Count", []byte("0123456789"))
	for _, tt := range []struct {
		name string
		n    int
		want []string
	}{{"with a rest", 4, []string{"0123", "4567", "89"}}, {"even", 5, []string{"01234", "56789"}}, {"one", 10, []string{"0123456789"}}} {
		t.Run(tt.name, func(t *testing.T) {
			frames := coretest.Cut(whole, tt.n)
			if got, want := frames[0].Metadata, append(slices.Clone(whole.Metadata), 5, 1, 10); !slices.Equal(got, want) || frames[0].Flags != coretest.FlagMore {
				t.Errorf("first frame: got metadata %x, flags %#x, want %x, MORE", got, frames[0].Flags, want)
			}
			var got []string
			for i, f := range frames[1:] {
				got = append(got, string(f.Body))
				if more := f.Flags == coretest.FlagMore; f.Type != coretest.TypeChunk || f.ID != 5 || more != (i < len(tt.want)-1) {
					t.Errorf("part %d: got %s, flags %#x", i, f, f.Flags)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPeersCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The two number the serializers differently.
		consumer, provider := introduce(t, coretest.Hello{Serializers: []string{"raw", "json"}}, coretest.Hello{Serializers: []string{"json", "raw"}})
		define := []byte("\x02\x0f\x01\x05Stock\x07Reserve\x03\x02\xe8\x07\x04\x04\x01kab") // 1 ms left, k=ab
		define[1] = byte(len("\x01\x05Stock\x07Reserve"))
		for _, tt := range []struct {
			name string
			send coretest.Frame
			want coretest.Frame // as read
			text string
		}{
			{"unnumbered request", coretest.Request(1<<20, "Stock", "Count", []byte("3")),
				coretest.Frame{Type: coretest.TypeRequest, Serializer: 1, ID: 1 << 20, Service: "Stock", Method: "Count", Body: []byte("3")}, "REQUEST id=1048576 Stock.Count (1 bytes)"},
			{"definition", coretest.Frame{Type: coretest.TypeRequest, Flags: coretest.FlagList, Serializer: 2, ID: 2, Metadata: define},
				coretest.Frame{Type: coretest.TypeRequest, Flags: coretest.FlagList, Serializer: 2, ID: 2, Service: "Stock", Method: "Reserve", Timeout: time.Millisecond,
					Pairs: spi.Metadata{{Key: "k", Value: "ab"}}}, "REQUEST id=2 Stock.Reserve (0 bytes)"},
			{"by number", coretest.Frame{Type: coretest.TypeRequest, ID: 3, Metadata: []byte{1, 1, 1}},
				coretest.Frame{Type: coretest.TypeRequest, ID: 3, Service: "Stock", Method: "Reserve"}, "REQUEST id=3 Stock.Reserve (0 bytes)"},
			{"unknown number", coretest.Frame{Type: coretest.TypeRequest, ID: 4, Metadata: []byte{1, 1, 9}},
				coretest.Frame{Type: coretest.TypeRequest, ID: 4}, "REQUEST id=4 (0 bytes)"},
			{"cancel", coretest.Frame{Type: coretest.TypeCancel, ID: 4}, coretest.Frame{Type: coretest.TypeCancel, ID: 4}, "CANCEL id=4 (0 bytes)"},
			{"error", coretest.Failure(5, spi.NotFound, "no such thing"),
				coretest.Frame{Type: coretest.TypeError, Code: 5, ID: 5, Body: []byte("\x01\x0dno such thing"), Message: "no such thing"}, "ERROR id=5 code=5 \"no such thing\" (15 bytes)"},
			{"unknown type", coretest.Frame{Type: 77, Flags: 0xff, ID: 6, Body: []byte("?")}, coretest.Frame{Type: 77, Flags: 0xff, ID: 6, Body: []byte("?")}, "TYPE_77 id=6 (1 bytes)"},
		} {
			go consumer.Write(tt.send)
			got, err := provider.Read()
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if text := got.String(); text != tt.text {
				t.Errorf("%s: got %q, want %q", tt.name, text, tt.text)
			}
			if got.Metadata = nil; len(got.Body) == 0 {
				got.Body = nil
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
			}
			if got.Type != coretest.TypeRequest {
				continue
			}
			go provider.Answer(got, []byte("result"))
			answer, err := consumer.Read()
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			numbers := map[uint8]uint8{0: 0, 1: 2, 2: 1} // of the same name on the other side
			if answer.Type != coretest.TypeResponse || answer.ID != tt.send.ID || string(answer.Body) != "result" || answer.Serializer != numbers[tt.send.Serializer] {
				t.Errorf("%s: got answer %s in serializer %d, want the result in the same serializer", tt.name, answer, answer.Serializer)
			}
		}
		go provider.Answer(coretest.Frame{ID: 9}, nil)
		if answer, err := consumer.Read(); err != nil || answer.Flags != coretest.FlagVoid {
			t.Errorf("got %s with flags %d, %v, want a void answer", answer, answer.Flags, err)
		}
	})
}

func TestPeerAwaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		consumer, provider := introduce(t, coretest.Hello{}, coretest.Hello{})
		go func() {
			consumer.Write(coretest.Frame{Type: coretest.TypePing, ID: 1})
			consumer.Write(coretest.Request(2, "A", "B", nil))
			consumer.Write(coretest.Frame{Type: coretest.TypePing, ID: 3})
			consumer.Close()
		}()
		if f, err := provider.Await(coretest.TypeRequest); err != nil || f.ID != 2 {
			t.Errorf("got %s, %v, want the request", f, err)
		}
		if f, err := provider.Await(coretest.TypeGoAway); !errors.Is(err, io.EOF) {
			t.Errorf("got %s, %v, want EOF", f, err)
		}
		if err := provider.AwaitEnd(); err != nil {
			t.Errorf("got %v, want nil at the end", err)
		}
		provider.Close()
	})
}

func TestPeerAwaitsEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(link *coretest.Link, other net.Conn, mine net.Conn)
		want error
	}{
		{"closed", func(_ *coretest.Link, other, _ net.Conn) { other.Close() }, nil},
		{"reset", func(link *coretest.Link, _, _ net.Conn) { link.Cut() }, nil},
		{"torn", func(_ *coretest.Link, other, _ net.Conn) { other.Write([]byte{0xb4}); other.Close() }, nil},
		{"deadline", func(_ *coretest.Link, _, mine net.Conn) { mine.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				link, other, mine := connect(t)
				done := make(chan error)
				go func() { done <- coretest.NewPeer(mine).AwaitEnd() }()
				synctest.Wait()
				tt.end(link, other, mine)
				if err := <-done; !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			})
		})
	}
}
