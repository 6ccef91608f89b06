//go:build unix && !race

package core_test

import (
	"net"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/sirupsen/logrus"
)

// idleCrowd is connections to a Provider that keep no memory here but descriptors.
type idleCrowd struct {
	*world
	address     string
	descriptors []int
}

// connect adds n connections, which shake hands and make so many calls.
func (c *idleCrowd) connect(n, calls int) {
	c.Helper()
	for range n {
		nc, err := net.Dial("tcp", c.address)
		c.must(err)
		peer := coretest.NewPeer(nc)
		_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json"}, Features: []string{"chunks", "checksum"}, Agent: "bhrpc-go/0.1"})
		c.must(err)
		for id := range uint64(calls) {
			c.must(peer.Write(coretest.Request((id+1)<<20, "echo", "Say", []byte(`"x"`))))
			c.readAs(peer, coretest.TypeResponse)
		}
		rc, err := nc.(syscall.Conn).SyscallConn()
		c.must(err)
		var fd int
		c.must(rc.Control(func(own uintptr) { fd, err = syscall.Dup(int(own)) }))
		c.must(err)
		c.descriptors = append(c.descriptors, fd)
		c.must(peer.Close())
	}
}

// ping makes every connection answer a PING.
func (c *idleCrowd) ping() {
	c.Helper()
	b := coretest.AppendFrame(nil, coretest.Frame{Type: coretest.TypePing, ID: 1})
	for _, fd := range c.descriptors {
		_, err := syscall.Write(fd, b)
		c.must(err)
		pong := make([]byte, coretest.HeaderSize)
		c.must(syscall.SetNonblock(fd, false))
		_, err = syscall.Read(fd, pong)
		c.must(err)
	}
}

// idleConnCost returns the bytes of heap and stack that an idle connection costs a
// Provider, after so many calls, and, if it rested, a rest and a PING. What the kernel
// and the runtime's poller keep is not in it.
func idleConnCost(tb testing.TB, conns, calls int, rested bool) (heap, stack float64) {
	w := newWorld(tb)
	w.log.SetLevel(logrus.PanicLevel) // the hook keeps every line
	p := w.newProvider(func(cfg *core.ProviderConfig) { cfg.Heartbeat = w.strikes(10 * time.Minute) }, echo{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.serve(p, l)
	c := &idleCrowd{world: w, address: l.Addr().String()}
	defer func() {
		for _, fd := range c.descriptors {
			_ = syscall.Close(fd)
		}
	}()
	c.connect(conns/2, calls) // what there is once, and what the runtime learns of the stacks that readers need
	before := memory()
	c.connect(conns, calls)
	if rested {
		time.Sleep(time.Second)
		c.ping()
	}
	after := memory()
	if got := p.ConnCount(); got != len(c.descriptors) {
		tb.Fatalf("got %d connections, want %d", got, len(c.descriptors))
	}
	perConn := func(after, before uint64) float64 { return float64(int64(after)-int64(before)) / float64(conns) }
	return perConn(after.HeapAlloc, before.HeapAlloc), perConn(after.StackInuse, before.StackInuse)
}

// memory is what is in use after a collection, the least of a few: goroutines that have
// just ended leave their stacks a little later.
func memory() runtime.MemStats {
	all := make([]runtime.MemStats, 5)
	for i := range all {
		runtime.GC()
		runtime.ReadMemStats(&all[i])
	}
	return slices.MinFunc(all, func(a, b runtime.MemStats) int {
		return int(int64(a.HeapAlloc+a.StackInuse) - int64(b.HeapAlloc+b.StackInuse))
	})
}

// A connection that has shaken hands and is idle costs its reader's smallest stack and
// somewhat more heap: 5.1 KiB with a heartbeat, a tenth less after its first rest.
func TestIdleConnCost(t *testing.T) {
	const most = 5<<10 + 512
	if heap, stack := idleConnCost(t, 500, 0, false); heap+stack > most {
		t.Errorf("got %.0f bytes of heap and %.0f of stack for an idle connection, want at most %d", heap, stack, most)
	}
}

// BenchmarkIdleConn reports the same for 2,000 connections, after calls too: at once,
// and when they have rested and answered a PING.
func BenchmarkIdleConn(b *testing.B) {
	for _, bb := range []struct {
		name   string
		calls  int
		rested bool
	}{{"hello", 0, false}, {"call", 1, false}, {"call and rest", 1, true}, {"calls and rest", 100, true}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				heap, stack := idleConnCost(b, 2000, bb.calls, bb.rested)
				b.ReportMetric(heap, "heap-B/conn")
				b.ReportMetric(stack, "stack-B/conn")
			}
		})
	}
}
