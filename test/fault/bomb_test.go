//go:build fault && linux

package fault_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/klauspost/compress/gzip"
)

// bombHello is what a peer says that sends bombs: the number of a compressor is its
// place.
var bombHello = coretest.Hello{Serializers: []string{"json"}, Compressors: []string{"gzip", "zstd"}}

// bombSize is what a bomb becomes, and bombLie what it says, if it lies: as much as
// a receiver takes.
const (
	bombSize = 1 << 30
	bombLie  = 15 * mib
)

// bomb is a small body that becomes a large one.
type bomb struct {
	name   string
	number uint8 // of the compressor
	body   []byte
	want   spi.Code
}

func bombs(t *testing.T) []bomb {
	honest := gzipBomb(t)
	liar := slices.Clone(honest)
	binary.LittleEndian.PutUint32(liar[len(liar)-4:], bombLie) // RFC 1952, ISIZE
	return []bomb{
		{"gzip", 1, honest, spi.ResourceExhausted},
		{"gzip that lies", 1, liar, spi.DataLoss},
		{"zstd", 2, zstdBomb(bombSize), spi.ResourceExhausted},
		{"zstd that lies", 2, zstdBomb(bombLie), spi.DataLoss},
	}
}

// gzipBomb is bombSize zeros.
func gzipBomb(t *testing.T) []byte {
	t.Helper()
	return gzipped(t, slices.Repeat([][]byte{make([]byte, mib)}, bombSize/mib)...)
}

func gzipped(t *testing.T, parts ...[]byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	must(t, err)
	for _, part := range parts {
		_, err := w.Write(part)
		must(t, err)
	}
	must(t, w.Close())
	return packed.Bytes()
}

// zstdBomb is bombSize zeros in blocks that say "this byte, 128 KiB times", after a
// header that says size; RFC 8878, sections 3.1.1.1 and 3.1.1.2.
func zstdBomb(size uint64) []byte {
	const (
		block    = 128 * kib
		repeat   = 1 << 1      // block type
		eight    = 3<<6 | 1<<5 // bytes of the size; a single segment
		blocks   = bombSize / block
		lastFlag = 1
	)
	b := binary.LittleEndian.AppendUint64([]byte{0x28, 0xb5, 0x2f, 0xfd, eight}, size)
	for i := range blocks {
		header := uint32(block<<3 | repeat)
		if i == blocks-1 {
			header |= lastFlag
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return b
}

// bombMost is what bombs may cost beyond what is resident anyhow: the largest message
// a few times over, for one that is garbage is not collected at once.
const (
	bombTimes = 25
	bombMost  = 10 * 16 * mib
)

// TestBombsAtProvider: a request that would become far larger than the limit fails
// its own call, whether it says so or lies, and memory stays within the limit.
func TestBombsAtProvider(t *testing.T) {
	provider, address := startProvider(t, providerArgs{})
	all := bombs(t)
	h := startHealthy(t, address)
	nc, err := net.Dial("tcp", address)
	must(t, err)
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(patience)))
	peer := coretest.NewPeer(nc)
	_, err = peer.BeConsumer(bombHello)
	must(t, err)
	idle := provider.figures()
	id := uint64(0)
	ask := func(f coretest.Frame) coretest.Frame {
		must(t, peer.Write(f))
		answer, err := nextOf(peer)
		must(t, err)
		if answer.ID != f.ID {
			t.Errorf("got %s, want the answer to call %d", answer, f.ID)
		}
		return answer
	}
	for range bombTimes {
		for _, b := range all {
			id += 1 << 20
			f := coretest.Request(id, "Till", "Echo", b.body)
			f.Flags, f.Code = coretest.FlagCompressed, b.number
			if answer := ask(f); answer.Type != coretest.TypeError || spi.Code(answer.Code) != b.want {
				t.Errorf("%s: got %s, want %v", b.name, answer, b.want)
			}
			id += 1 << 20
			if answer := ask(coretest.Request(id, "Till", "Echo", []byte(`"x"`))); answer.Type != coretest.TypeResponse {
				t.Errorf("%s: got %s for the next call, want it answered", b.name, answer)
			}
		}
	}
	cost := provider.figures().since(idle)
	if cost.Peak > bombMost {
		t.Errorf("got %d bytes more resident, want at most %d", cost.Peak, bombMost)
	}
	before, during := h.judge()
	row(t, "14", "%d requests that become 1 GiB (gzip of %d KiB, zstd of %d KiB): RESOURCE_EXHAUSTED, or DATA_LOSS where they say %d MiB, and the connection lives; %.1f MiB more resident at most; healthy p99 %v → %v",
		bombTimes*len(all), len(all[0].body)/kib, len(all[2].body)/kib, bombLie/mib, float64(cost.Peak)/mib, before, during)
}

// What many bodies at once may cost beyond themselves: what limits.unpacked lets be
// there, as much that is decoded of it or that a library takes, as much as both in
// garbage before that is collected, and half of that again. Unbounded it was 5 GiB.
const (
	manyBombs    = 200
	manyBombMost = 6 * 64 * mib
)

// TestManyBombs: bombs that come all at once are unpacked a few at a time, and so are
// honest bodies that become as large as a message may be. Others go on meanwhile.
func TestManyBombs(t *testing.T) {
	text := gzipped(t, slices.Concat([]byte(`"`), bytes.Repeat([]byte("x"), bombLie-2), []byte(`"`)))
	all := append(bombs(t), bomb{"honest gzip", 1, text, 0})
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			provider, address := startProvider(t, providerArgs{})
			h := startHealthy(t, address)
			nc, err := net.Dial("tcp", address)
			must(t, err)
			defer nc.Close()
			must(t, nc.SetDeadline(time.Now().Add(patience)))
			peer := coretest.NewPeer(nc)
			_, err = peer.BeConsumer(bombHello)
			must(t, err)
			idle := provider.figures()
			var pipeline sync.WaitGroup
			pipeline.Go(func() {
				for id := range uint64(manyBombs) {
					f := coretest.Request((id+1)<<20, "Till", "Size", b.body)
					f.Flags, f.Code = coretest.FlagCompressed, b.number
					if err := peer.Write(f); err != nil {
						t.Error(err)
						return
					}
				}
			})
			begin := time.Now()
			for range manyBombs {
				answer, err := nextOf(peer)
				must(t, err)
				if spi.Code(answer.Code) != b.want {
					t.Errorf("got %s, want %v", answer, b.want)
				}
			}
			took := time.Since(begin)
			pipeline.Wait()
			pass(500 * time.Millisecond) // the healthy ones are to have some calls
			cost := provider.figures().since(idle)
			most := int64(manyBombMost + 2*manyBombs*len(b.body))
			if cost.Peak > most {
				t.Errorf("got %d bytes more resident, want at most %d", cost.Peak, most)
			}
			before, during := h.judge()
			row(t, "14", "%d requests at once, %s of %d KiB: %s each, after %v; %.1f MiB more resident at most; healthy p99 %v → %v",
				manyBombs, b.name, len(b.body)/kib, outcome(b.want), took.Round(time.Millisecond), float64(cost.Peak)/mib, before, during)
		})
	}
}

// TestBombsAtConsumer is TestBombsAtProvider for answers.
func TestBombsAtConsumer(t *testing.T) {
	s := startScript(t, bombHello)
	all := bombs(t)
	for _, name := range bombHello.Compressors {
		t.Run(name, func(t *testing.T) {
			proxy, through := startProxy(t, s.address)
			consumer := startConsumer(t, map[string]any{"consumer.compressor": name}, through)
			call := func(answer coretest.Frame) (r record) {
				s.answerWith(answer)
				consumer.ask("call", healthyLoad, &r)
				return r
			}
			small := coretest.Failure(0, spi.NotFound, "as asked for")
			call(small)
			idle := consumer.figures()
			n := 0
			for range bombTimes {
				for _, b := range all {
					if bombHello.Compressors[b.number-1] != name {
						continue
					}
					n++
					f := coretest.Frame{Type: coretest.TypeResponse, Serializer: 1, Flags: coretest.FlagCompressed, Code: b.number, Body: b.body}
					if r := call(f); r.Code != b.want || r.Lost {
						t.Errorf("%s: got %s, want %v", b.name, r.Message, b.want)
					}
					if r := call(small); r.Code != spi.NotFound {
						t.Errorf("%s: got %s for the next call, want its answer", b.name, r.Message)
					}
				}
			}
			cost := consumer.figures().since(idle)
			if cost.Peak > bombMost {
				t.Errorf("got %d bytes more resident, want at most %d", cost.Peak, bombMost)
			}
			if got := proxy.connections(); got != 1 {
				t.Errorf("got %d connections, want one for all calls", got)
			}
			row(t, "14", "%d answers that become 1 GiB (%s): their own calls fail, and the connection lives; %.1f MiB more resident at most", n, name, float64(cost.Peak)/mib)
		})
	}
}

// outcome is a code, or OK for none.
func outcome(code spi.Code) string {
	if code == 0 {
		return "OK"
	}
	return code.String()
}
