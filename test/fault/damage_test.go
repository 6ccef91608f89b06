//go:build fault && linux

package fault_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// closedWithin is how soon a damaged header ends its connection: 50 ms by design,
// and what the machine adds.
func closedWithin() time.Duration { return 50*time.Millisecond + endSlack + lag() }

// everyType is a frame of each type, with a body where it may have one.
var everyType = []coretest.Frame{
	{Type: coretest.TypeHello},
	coretest.Request(7<<20, "Till", "Echo", []byte(`"x"`)),
	{Type: coretest.TypeResponse, Serializer: 1, ID: 7 << 20, Body: []byte(`"x"`)},
	coretest.Failure(7<<20, spi.Internal, "broken"),
	{Type: coretest.TypeCancel, ID: 7 << 20},
	{Type: coretest.TypePing, ID: 7},
	{Type: coretest.TypePong, ID: 7},
	coretest.GoAway(coretest.GoAwayShutdown, "bye"),
}

// eachBit calls f for every bit of a header, until the test has failed.
func eachBit(t *testing.T, f func(at int64, bit byte)) {
	for at := range int64(coretest.HeaderSize) {
		for i := range 8 {
			if t.Failed() {
				return
			}
			f(at, 1<<i)
		}
	}
}

// helloSize is how many bytes that takes.
func helloSize(t *testing.T) int64 {
	t.Helper()
	a, b := net.Pipe()
	var written bytes.Buffer
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(&written, b) })
	must(t, coretest.NewPeer(a).SayHello(jsonHello))
	_ = a.Close()
	reader.Wait()
	return int64(written.Len())
}

// TestDamagedHeadersAtProvider flips every bit of the header of a frame of every
// type on its way to a provider: the connection ends, and nobody else notices.
func TestDamagedHeadersAtProvider(t *testing.T) {
	provider, address := startProvider(t, providerArgs{})
	proxy, damaged := startProxy(t, address)
	h := startHealthy(t, address)
	leaks := leakCheck(t, 10, provider)
	hello := helloSize(t)
	var slowest time.Duration
	n := 0
	begin := time.Now()
	for _, f := range everyType {
		eachBit(t, func(at int64, bit byte) {
			n++
			if f.Type != coretest.TypeHello {
				at += hello
			}
			proxy.toProvider.damageAt(at, bit)
			took, err := offer(damaged, f)
			if slowest = max(slowest, took); err != nil || took > closedWithin() {
				t.Errorf("%s with bits %#02x of byte %d flipped: got %v after %v, want the end", f.Type, bit, at, err, took)
			}
		})
	}
	took := time.Since(begin)
	before, during := h.judge()
	leaks()
	said := provider.log.count("disconnected a consumer")
	if other := said - provider.log.count("disconnected a consumer", "reason=protocol_error"); said == 0 || other != 0 {
		t.Errorf("got %d disconnections logged, %d of them for another reason than protocol_error", said, other)
	}
	if most := 10 * (int(took.Seconds()) + 2); said > most {
		t.Errorf("got %d lines logged in %v, want at most %d", said, took, most)
	}
	row(t, "14", "%d damaged headers at a provider: all disconnected, within %v; %d lines logged; healthy p99 %v → %v", n, slowest.Round(100*time.Microsecond), said, before, during)
}

// offer sends f as a consumer and waits for the end of the connection.
func offer(address string, f coretest.Frame) (took time.Duration, err error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * closedWithin()))
	peer := coretest.NewPeer(nc)
	if f.Type == coretest.TypeHello {
		err = peer.SayHello(jsonHello)
	} else if _, err = peer.BeConsumer(jsonHello); err == nil {
		err = peer.Write(f)
	}
	begin := time.Now()
	if err != nil {
		return 0, err
	}
	err = peer.AwaitEnd()
	return time.Since(begin), err
}

// TestMalformedFields: what is within a frame whose header is right is not trusted
// either.
func TestMalformedFields(t *testing.T) {
	provider, address := startProvider(t, providerArgs{})
	overflow := []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	request := func(metadata ...byte) coretest.Frame {
		return coretest.Frame{Type: coretest.TypeRequest, Serializer: 1, ID: 7 << 20, Metadata: metadata, Body: []byte(`"x"`)}
	}
	for _, tt := range []struct {
		name  string
		frame coretest.Frame
	}{
		{"no metadata", request()},
		{"a length that overflows", request(append([]byte{2}, overflow...)...)},
		{"a length beyond the end", request(2, 100)},
		{"a number that overflows", request(append([]byte{1, byte(len(overflow))}, overflow...)...)},
		{"a length within a field beyond its end", request(2, 3, 1, 200, 1)},
		{"a timeout that overflows", request(append([]byte{2, 4, 1, 1, 'a', 'b', 3, byte(len(overflow))}, overflow...)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines := provider.log.count("disconnected a consumer", "reason=protocol_error")
			took, err := offer(address, tt.frame)
			if err != nil || took > closedWithin() {
				t.Errorf("got %v after %v, want the end", err, took)
			}
			if !within(backWithin, func() bool { return provider.log.count("disconnected a consumer", "reason=protocol_error") > lines }) {
				t.Error("got nothing logged, want a protocol_error")
			}
		})
	}
}

// TestDamagedHeadersAtConsumer flips every bit on the way to a consumer: the call that
// waits for an answer fails with what happened, and the next one may go on.
func TestDamagedHeadersAtConsumer(t *testing.T) {
	s := startScript(t, jsonHello)
	proxy, damaged := startProxy(t, s.address)
	_, address := startProvider(t, providerArgs{})
	h := startHealthy(t, address)
	hello := helloSize(t)
	consumer := startConsumer(t, hastyReconnect(), damaged)
	s.answerWith(coretest.Frame{Type: coretest.TypeResponse})
	consumer.ask("call", healthyLoad, nil)
	leaks := leakCheck(t, 100, consumer)
	n := 0
	proxy.toConsumer.damageAt(0, 1)
	proxy.reset()
	for _, f := range everyType { // HELLO first: none of its connections lives
		s.answerWith(f)
		phase, sent := spi.PhaseWait, spi.SentMaybe
		if f.Type == coretest.TypeHello {
			phase, sent = spi.PhaseHandshake, spi.SentNo
		}
		eachBit(t, func(at int64, bit byte) {
			n++
			if f.Type != coretest.TypeHello {
				at += hello
			}
			proxy.toConsumer.damageAt(at, bit)
			var r record
			consumer.ask("call", healthyLoad, &r)
			if r.Code != spi.Unavailable || r.Reason != spi.ReasonProtocolError || !r.Lost || r.Phase != phase || r.Sent != sent {
				t.Errorf("%s with bits %#02x of byte %d flipped: got %s, want UNAVAILABLE, protocol_error, phase: %s, sent: %s", f.Type, bit, at, r.Message, phase, sent)
			}
		})
	}
	proxy.toConsumer.damageAt(0, 0)
	s.answerWith(coretest.Frame{Type: coretest.TypeResponse})
	var healed record
	if !within(backWithin, func() bool { consumer.ask("call", healthyLoad, &healed); return healed.Code != spi.Unavailable }) {
		t.Errorf("got %s after the damage, want an answer", healed.Message)
	}
	before, during := h.judge()
	leaks()
	row(t, "14", "%d damaged headers at a consumer: all disconnected, every call UNAVAILABLE, protocol_error; healthy p99 %v → %v", n, before, during)
}
