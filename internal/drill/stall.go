package drill

import (
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// slowest is how many bytes a slow reader takes in a second: too few for a PONG
// within three heartbeats.
const slowest = 1

var slowReader = Kind{
	Name:  "slow-reader",
	Short: "the consumer's side takes one byte in a second",
	Long: `What provider a sends passes at one byte in a second, while answers of 256 KiB are
asked for.

Expected: a gives the connection up because it takes no bytes (write_stalled), or the
consumer finds a dead by its heartbeat, within the same bound or the write timeout,
whichever is longer; memory stays bounded; calls go on at b.`,
	plan: func(c Config) plan {
		p := pair(c)
		p.bodies = bodies
		return p
	},
	run: func(d *drill) {
		d.phase()
		d.doing("what a sends passes at one byte in a second", func() { d.link.ToConsumer.Slow(slowest) })
		d.stalled()
		d.heal()
		d.back()
	},
}

// bodies is how large the answers are that a slow reader does not take.
const bodies = 256 << 10

// mostMemory is what a stalled connection may cost: its two write queues, of 4 MiB each,
// and as much for the answers that are made and read meanwhile.
const mostMemory = 2 * 2 * (4 << 20)

// writeTimeout is how long a peer may take no bytes: two intervals, a second at least.
func (c Config) writeTimeout() time.Duration { return max(2*c.Interval, time.Second) }

// stalled waits until either side gives up a connection that hardly takes bytes, and
// watches the memory meanwhile.
func (d *drill) stalled() {
	heap := watchHeap(d.cfg.Interval / 2)
	latest := max(d.cfg.latest(), d.cfg.writeTimeout()+100*time.Millisecond)
	met := func() bool {
		_, _, ours := d.lost("consumer")
		_, _, theirs := d.lost("a")
		return ours || theirs
	}
	ok := d.await(2*latest, met)
	grown := heap.stop()
	if !ok {
		d.fault("a reader of %d byte in a second was not noticed within %v", slowest, 2*latest)
		return
	}
	d.await(d.cfg.Interval, func() bool { // the other side sees a reset, and may tell it first
		_, _, ours := d.lost("consumer")
		_, _, theirs := d.lost("a")
		return ours && theirs
	})
	e, end, ok := d.lost("a")
	if at, ours, found := d.lost("consumer"); !ok || found && end.Reason == spi.ReasonReset {
		e, end = at, ours
	}
	took := e.at.Sub(d.link.ToConsumer.LastFrame())
	switch {
	case end.Reason != spi.ReasonWriteStalled && end.Reason != spi.ReasonHeartbeatTimeout:
		d.fault("%s: the connection ended by %s", side(e.who), end.Reason)
	case took > latest:
		d.fault("%s: noticed after %v, later than %v", side(e.who), short(took), latest)
	}
	d.found = fmt.Sprintf("%s in %v at %s (bound %v)   heap +%.1f MiB (bound %d MiB)", end.Reason, short(took), side(e.who), latest, float64(grown)/(1<<20), mostMemory>>20)
	if grown > mostMemory {
		d.fault("memory grew by more than %d MiB", mostMemory>>20)
	}
}

// heap watches how much memory is in use.
type heap struct {
	over    chan struct{} // closed by stop
	running sync.WaitGroup
	first   uint64
	most    uint64 // of the goroutine, until it has ended
}

func watchHeap(every time.Duration) *heap {
	h := &heap{over: make(chan struct{}), first: inUse()}
	h.running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			h.most = max(h.most, inUse())
			select {
			case <-tick.C:
			case <-h.over:
				return
			}
		}
	})
	return h
}

// stop returns by how many bytes the use has grown at most.
func (h *heap) stop() int64 {
	close(h.over)
	h.running.Wait()
	return max(0, int64(h.most)-int64(h.first))
}

// inUse is what is alive.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
