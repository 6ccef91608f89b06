package spi

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// LoadBalancer chooses the endpoint of each call, in two steps: it builds a
// picker when the set of endpoints changes, and the picker picks, for every call,
// without a lock or an allocation.
type LoadBalancer interface {
	// Build returns a picker for a set of endpoints, which is never empty, must not
	// be modified, and stays valid as long as the picker is used. Builds of one
	// LoadBalancer may overlap, and pickers of older sets may still be in use. An
	// error fails every call until the set changes again.
	Build(endpoints []Endpoint) (Picker, error)
}

// Picker chooses one of the endpoints it was built for. It is safe for
// concurrent use.
type Picker interface {
	// Pick returns an index into the endpoints given to Build, one that
	// info.Usable holds. info is valid during the call only.
	Pick(info *CallInfo) (int, error)
}

// CallInfo is what a picker may look at.
type CallInfo struct {
	Call   *Call         // the call; its arguments are not encoded yet
	Usable Bitmap        // endpoints to choose from; never empty
	Now    time.Duration // on the clock of [Load]
}

// Endpoint is one provider address as a consumer sees it.
type Endpoint struct {
	Address string            // "host:port", unique within a set
	Weight  int               // share of calls relative to others; at least 1 when given to Build
	Labels  map[string]string // such as zone=eu1; may be nil; must not be modified
	Load    *Load             // what the consumer has seen of it; nil from a registry, never nil in Build
}

// Bitmap is a set of indices into a list of endpoints; what it holds beyond the list
// means nothing. The nil Bitmap holds every index. It must not be modified by a picker.
type Bitmap []uint64

// Has reports whether the set holds i.
func (b Bitmap) Has(i int) bool {
	return b == nil || i>>6 < len(b) && b[i>>6]&(1<<(i&63)) != 0
}

// Next returns the first index of the set at or after i, going round at n, the
// number of endpoints; i is in [0, n). It returns i if the set is empty.
func (b Bitmap) Next(i, n int) int {
	if b == nil {
		return i
	}
	word, mask := i>>6, ^uint64(0)<<(i&63)
	for range len(b) + 1 {
		if word < len(b) {
			if rest := b[word] & mask; rest != 0 {
				if at := word<<6 + bits.TrailingZeros64(rest); at < n {
					return at
				}
			}
		}
		if word++; word >= len(b) {
			word = 0
		}
		mask = ^uint64(0)
	}
	return i
}

// Set adds i, which is below 64·len(b).
func (b Bitmap) Set(i int) { b[i>>6] |= 1 << (i & 63) }

// Clear removes i, which is below 64·len(b).
func (b Bitmap) Clear(i int) { b[i>>6] &^= 1 << (i & 63) }

// NewBitmap returns an empty set for n endpoints; it is not nil.
func NewBitmap(n int) Bitmap { return make(Bitmap, n>>6+1) }

const (
	// loadWindow is the time over which a Load forgets. Traffic within it decides.
	loadWindow = 5 * time.Second

	// failurePenalty is added to the latency of a failed call, so that an endpoint
	// that fails at once does not look fast.
	failurePenalty = time.Second
)

// Load is what a consumer has seen of one endpoint. The consumer owns and updates
// it; it outlives pickers, so a Build does not forget. All methods are safe for
// concurrent use. Times are on the consumer's clock, see [CallInfo.Now].
type Load struct {
	inFlight atomic.Int64
	failures atomic.Uint64
	latency  atomic.Uint64 // moving average, ns, the bits of a float64; 0 until the first answer
	at       atomic.Int64  // when latency was last updated, ns
}

// InFlight returns the number of calls without an answer yet.
func (l *Load) InFlight() int { return int(l.inFlight.Load()) }

// Failures returns the number of calls that failed for reasons of the endpoint or
// the way there.
func (l *Load) Failures() uint64 { return l.failures.Load() }

// Latency returns the moving average of the time to the answer, fading while no
// answers come, so that a once slow endpoint is tried again. It is 0 before the
// first answer.
func (l *Load) Latency(now time.Duration) time.Duration {
	average := math.Float64frombits(l.latency.Load())
	idle := max(int64(now)-l.at.Load(), 0)
	return time.Duration(average * float64(loadWindow) / float64(int64(loadWindow)+idle))
}

// Renew forgets the latency, as before the first answer: the endpoint was lost and is
// there again, and what made it slow is most likely over.
func (l *Load) Renew() { l.latency.Store(0) }

// Begin counts a call that was sent.
func (l *Load) Begin() { l.inFlight.Add(1) }

// End counts the end of a call that began took ago. failed is true if the endpoint
// or the way there is to blame; an error that the handler chose is not.
func (l *Load) End(now, took time.Duration, failed bool) {
	l.inFlight.Add(-1)
	if failed {
		l.failures.Add(1)
		took += failurePenalty
	}
	old, last := l.latency.Load(), l.at.Load()
	next := float64(max(took, 1))
	if old != 0 {
		// The weight of a sample is the share of the window since the last one,
		// so that the average depends on time, not on the number of calls. Under
		// much traffic a sample moves it by less than a nanosecond: hence floats.
		passed := float64(max(int64(now)-last, 1))
		average := math.Float64frombits(old)
		next = average + (next-average)*passed/(passed+float64(loadWindow))
	}
	if l.latency.CompareAndSwap(old, math.Float64bits(next)) { // a sample lost to a race is no loss
		l.at.Store(max(int64(now), last))
	}
}

// Abandon ends a call without an answer to learn from: the caller gave up.
func (l *Load) Abandon() { l.inFlight.Add(-1) }
