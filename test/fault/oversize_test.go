//go:build fault && linux

package fault_test

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// declare returns a header that promises more than follows it, as docs/protocol.md
// §1 lays it out.
func declare(t coretest.Type, id uint64, metadata, body uint32) []byte {
	b := []byte{0xb4, 0x52, byte(t), 0, 1, 0, 0, 0}
	b = binary.BigEndian.AppendUint64(b, id)
	b = binary.BigEndian.AppendUint32(b, metadata)
	b = binary.BigEndian.AppendUint32(b, body)
	sum := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint16(b[6:], uint16(sum>>16)^uint16(sum))
	return b
}

// oversized is what a frame may not have: more than is skipped.
var oversized = []struct {
	name           string
	metadata, body uint32
}{
	{"4 GiB", 0, 1<<32 - 1},
	{"a byte more than the limit", 0, 16*mib + 1},
	{"4 GiB of metadata", 1<<32 - 1, 0},
}

// What refusing frames may cost.
const (
	mostAllocated = 256 * kib // for each, the connection that it comes on included
	mostResident  = 4 * mib   // for all: what Go lets garbage grow to before it collects
)

// TestOversizedAtProvider: what is too large is refused before memory is taken for
// it, and nobody else notices.
func TestOversizedAtProvider(t *testing.T) {
	const times = 25
	provider, address := startProvider(t, providerArgs{})
	attempt := func() {
		for _, tt := range oversized {
			if took, err := promise(address, tt.metadata, tt.body); err != nil || took > closedWithin() {
				t.Errorf("%s: got %v after %v, want the end", tt.name, err, took)
			}
		}
	}
	attempt()
	idle := provider.figures()
	for range times {
		attempt()
	}
	cost := provider.figures().since(idle)
	n := times * len(oversized)
	if each := cost.Allocated / int64(n); each > mostAllocated || cost.Resident > mostResident {
		t.Errorf("got %d bytes allocated for each refusal, %d bytes more resident; want at most %d and %d", each, cost.Resident, mostAllocated, mostResident)
	}
	h := startHealthy(t, address)
	leaks := leakCheck(t, 10, provider)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		attempt()
	}
	before, during := h.judge()
	leaks()
	row(t, "15", "%d oversized frames at a provider: refused, %.1f KiB allocated for each, %.1f MiB more resident; healthy p99 %v → %v",
		n, float64(cost.Allocated)/float64(n)/kib, float64(cost.Resident)/mib, before, during)
}

// promise declares a request and waits for the end of the connection.
func promise(address string, metadata, body uint32) (took time.Duration, err error) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * closedWithin()))
	peer := coretest.NewPeer(nc)
	if _, err = peer.BeConsumer(jsonHello); err == nil {
		err = peer.WriteRaw(declare(coretest.TypeRequest, 7<<20, metadata, body))
	}
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	err = peer.AwaitEnd()
	return time.Since(begin), err
}

// TestOversizedAtConsumer is the same for answers.
func TestOversizedAtConsumer(t *testing.T) {
	const times = 25
	s := startScript(t, jsonHello)
	consumer := startConsumer(t, hastyReconnect(), s.address)
	s.answerWith(coretest.Frame{Type: coretest.TypeResponse})
	consumer.ask("call", healthyLoad, nil)
	leaks := leakCheck(t, 10, consumer)
	attempt := func() {
		for _, tt := range oversized {
			s.answerRaw(declare(coretest.TypeResponse, 1<<20, tt.metadata, tt.body))
			var r record
			consumer.ask("call", healthyLoad, &r)
			if r.Code != spi.Unavailable || r.Reason != spi.ReasonProtocolError || r.Sent != spi.SentMaybe {
				t.Errorf("%s: got %s, want UNAVAILABLE, protocol_error, sent: maybe", tt.name, r.Message)
			}
		}
	}
	attempt()
	idle := consumer.figures()
	for range times {
		attempt()
	}
	cost := consumer.figures().since(idle)
	n := times * len(oversized)
	if each := cost.Allocated / int64(n); each > mostAllocated || cost.Resident > mostResident {
		t.Errorf("got %d bytes allocated for each refusal, %d bytes more resident; want at most %d and %d", each, cost.Resident, mostAllocated, mostResident)
	}
	leaks()
	row(t, "15", "%d oversized answers at a consumer: refused, %.1f KiB allocated for each, %.1f MiB more resident", n, float64(cost.Allocated)/float64(n)/kib, float64(cost.Resident)/mib)
}

// skipped is what a frame may not have either, small enough to be read and dropped:
// at the other side with limits.message of a MiB.
var skipped = []struct {
	name           string
	metadata, body int
}{
	{"16 MiB", 0, 16*mib - kib},
	{"a byte more than the limit", 0, mib + 1},
	{"1 MiB of metadata", mib, 0},
}

// TestSkippedAtProvider: what is too large costs its own call only, and no memory.
func TestSkippedAtProvider(t *testing.T) {
	const atLeast = 10
	provider, address := startProvider(t, providerArgs{Keys: map[string]any{"provider.limits.message": "1MiB"}})
	h := startHealthy(t, address)
	nc, err := net.Dial("tcp", address)
	must(t, err)
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(patience)))
	peer := coretest.NewPeer(nc)
	_, err = peer.BeConsumer(jsonHello)
	must(t, err)
	idle := provider.figures()
	id, rounds := uint64(0), 0
	for ; rounds < atLeast || h.tooShort(); rounds++ {
		for _, tt := range skipped {
			id += 1 << 20
			f := coretest.Request(id, "Till", "Echo", make([]byte, tt.body))
			f.Metadata = append(f.Metadata, make([]byte, tt.metadata)...)
			must(t, peer.Write(f))
			id += 1 << 20
			must(t, peer.Write(coretest.Request(id, "Till", "Echo", []byte(`"x"`))))
			refusal, err := nextOf(peer)
			must(t, err)
			if refusal.Type != coretest.TypeError || spi.Code(refusal.Code) != spi.ResourceExhausted || refusal.ID != id-1<<20 {
				t.Errorf("%s: got %s, want RESOURCE_EXHAUSTED for call %d", tt.name, refusal, id-1<<20)
			}
			answer, err := nextOf(peer)
			must(t, err)
			if answer.Type != coretest.TypeResponse || string(answer.Body) != `"x"` {
				t.Errorf("%s: got %s for the next call, want it answered", tt.name, answer)
			}
		}
	}
	cost := provider.figures().since(idle)
	if cost.Peak > mostResident {
		t.Errorf("got %d bytes more resident, want at most %d", cost.Peak, mostResident)
	}
	before, during := h.judge()
	row(t, "15", "%d requests of 1 to 16 MiB, beyond the limits of a provider: RESOURCE_EXHAUSTED, and the next call on the connection OK; %.1f MiB more resident at most; healthy p99 %v → %v",
		rounds*len(skipped), float64(cost.Peak)/mib, before, during)
}

// TestSkippedAtConsumer is the same for answers.
func TestSkippedAtConsumer(t *testing.T) {
	const times = 10
	s := startScript(t, jsonHello)
	proxy, through := startProxy(t, s.address)
	consumer := startConsumer(t, map[string]any{"consumer.limits.message": "1MiB"}, through)
	call := func(answer coretest.Frame) (r record) {
		s.answerWith(answer)
		consumer.ask("call", healthyLoad, &r)
		return r
	}
	small := coretest.Failure(0, spi.NotFound, "as asked for")
	call(small)
	idle := consumer.figures()
	for range times {
		for _, tt := range skipped {
			if r := call(coretest.Frame{Type: coretest.TypeResponse, Serializer: 1, Metadata: make([]byte, tt.metadata), Body: make([]byte, tt.body)}); r.Code != spi.ResourceExhausted || r.Sent != "" && r.Sent != spi.SentMaybe {
				t.Errorf("%s: got %s, want RESOURCE_EXHAUSTED", tt.name, r.Message)
			}
			if r := call(small); r.Code != spi.NotFound {
				t.Errorf("%s: got %s for the next call, want its answer", tt.name, r.Message)
			}
		}
	}
	cost := consumer.figures().since(idle)
	if cost.Peak > mostResident {
		t.Errorf("got %d bytes more resident, want at most %d", cost.Peak, mostResident)
	}
	if got := proxy.connections(); got != 1 {
		t.Errorf("got %d connections, want one for all calls", got)
	}
	row(t, "15", "%d answers of 1 to 16 MiB, beyond the limits of a consumer: RESOURCE_EXHAUSTED, and the connection lives; %.1f MiB more resident at most", times*len(skipped), float64(cost.Peak)/mib)
}

// TestTooLargeToSend: what is beyond the other side's limits fails its own call, on
// the side that would send it, and the connection lives.
func TestTooLargeToSend(t *testing.T) {
	_, address := startProvider(t, providerArgs{})
	proxy, through := startProxy(t, address)
	consumer := startConsumer(t, nil, through)
	for _, tt := range []struct {
		name  string
		load  loadArgs
		phase spi.Phase
		sent  spi.Sent
	}{
		{"request", loadArgs{Methods: []string{"Till.Size"}, Size: 16 * mib}, spi.PhaseEncode, spi.SentNo},
		{"metadata", loadArgs{Methods: []string{"Till.Size"}, Metadata: mib}, spi.PhaseEncode, spi.SentNo},
		{"answer", loadArgs{Methods: []string{"Till.Print"}, Size: 16 * mib}, spi.PhaseEncode, ""},
		{"largest request", loadArgs{Methods: []string{"Till.Size"}, Size: 16*mib - kib}, "", ""},
	} {
		tt.load.Timeout = 20 * time.Second
		var r record
		consumer.ask("call", tt.load, &r)
		want := spi.ResourceExhausted
		if tt.phase == "" {
			want = 0
		}
		if r.Code != want || r.Phase != tt.phase || r.Sent != tt.sent {
			t.Errorf("%s: got %v %s, want %v in phase %q, sent: %q", tt.name, r.Code, r.Message, want, tt.phase, tt.sent)
		}
	}
	if got := proxy.connections(); got != 1 {
		t.Errorf("got %d connections, want one for all calls", got)
	}
}
