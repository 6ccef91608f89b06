package core

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// TestRanOf goes over every combination of what decides.
func TestRanOf(t *testing.T) {
	lostAs := func(sent spi.Sent) *spi.Error { return lost(errGoAway, sent) }
	tests := []struct {
		name string
		e    *spi.Error
		want ran
	}{
		{"not sent", lostAs(spi.SentNo), notSent},
		{"perhaps sent", lostAs(spi.SentMaybe), perhaps},
		{"in the middle of the answer", lostAs(spi.SentPartial), itself},
		{"lost, without a word on that", lostAs(""), itself},
		{"not sent, but not lost", &spi.Error{Code: spi.Unavailable, Sent: spi.SentNo}, itself},
		{"an unusable serializer there", &spi.Error{Code: spi.Unimplemented, Sent: spi.SentNo, Cause: spi.ErrConnLost}, notSent},
		{"deadline", contextError(fmt.Errorf("over"), spi.PhaseWait, spi.SentMaybe), itself},
		{"deadline before it was sent", contextError(fmt.Errorf("over"), spi.PhaseQueue, spi.SentNo), itself},
		{"a handler that lost a connection of its own", &spi.Error{Code: spi.Unavailable, Sent: spi.SentNo, Remote: true, Cause: spi.ErrConnLost}, itself},
	}
	for code := spi.Canceled; code <= spi.Unauthenticated; code++ {
		for _, reason := range []string{"", spi.ReasonOverloaded, "other"} {
			for _, phase := range []spi.Phase{"", spi.PhaseDispatch, spi.PhaseDecode, spi.PhaseHandler} {
				want := itself
				if phase == spi.PhaseDispatch && (code == spi.Unavailable || code == spi.ResourceExhausted && reason == spi.ReasonOverloaded) {
					want = turnedAway
				}
				e := &spi.Error{Code: code, Reason: reason, Phase: phase, Remote: true}
				tests = append(tests, struct {
					name string
					e    *spi.Error
					want ran
				}{fmt.Sprintf("%s %q %q", code, reason, phase), e, want})
			}
		}
	}
	for _, tt := range tests {
		if got := ranOf(tt.e); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestWorse(t *testing.T) {
	order := []spi.Sent{"", spi.SentNo, spi.SentMaybe, spi.SentPartial}
	for i, a := range order {
		for j, b := range order {
			if got, want := worse(a, b), order[max(i, j)]; got != want {
				t.Errorf("%q and %q: got %q, want %q", a, b, got, want)
			}
		}
	}
}

// TestUnsentIsBounded: connections that end before anything is sent do not keep a
// call for ever.
func TestUnsentIsBounded(t *testing.T) {
	for _, n := range []int{1, 3, 100} {
		now := &snapshot{listing: &listing{endpoints: make([]*endpoint, n)}}
		ended := &consumerConn{}
		ended.ended = make(chan struct{})
		close(ended.ended)
		s := &callState{endpoint: new(endpoint), conn: ended}
		got := 1
		for s.goOn(t.Context(), now, 0) {
			got++
		}
		if want := n + maxUnsent + 1; got != want {
			t.Errorf("%d endpoints: got %d attempts, want %d", n, got, want)
		}
	}
}

// TestWithout: a call goes where it has not failed while there is such a place among
// the usable ones.
func TestWithout(t *testing.T) {
	all := []*endpoint{new(endpoint), new(endpoint), new(endpoint)}
	all[0].address, all[1].address, all[2].address = "a", "b", "c"
	now := &snapshot{listing: &listing{endpoints: all}}
	of := func(indices ...int) spi.Bitmap {
		b := spi.NewBitmap(len(all))
		for _, i := range indices {
			b.Set(i)
		}
		return b
	}
	for _, tt := range []struct {
		name   string
		avoid  []*endpoint
		usable spi.Bitmap
		want   spi.Bitmap
		found  bool
	}{
		{"it failed nowhere", nil, of(0, 2), of(0, 2), true},
		{"all usable", all[:1], nil, of(1, 2), true},
		{"some usable", all[:1], of(0, 2), of(2), true},
		{"nothing else usable", all[:1], of(0), of(0), false},
		{"everywhere", all, nil, of(0, 1, 2), false},
		{"somewhere that is gone", []*endpoint{new(endpoint)}, of(1), of(1), true},
	} {
		got, found := (&history{avoid: tt.avoid}).without(now, tt.usable)
		for i := range all {
			if got.Has(i) != tt.want.Has(i) || found != tt.found {
				t.Errorf("%s: got %v, %v for endpoint %d, want %v, %v", tt.name, got.Has(i), found, i, tt.want.Has(i), tt.found)
			}
		}
	}
}

// TestBudget: of many who take at once as many succeed as there are tokens, and
// what is earned stops at the burst.
func TestBudget(t *testing.T) {
	for _, burst := range []int{0, 1, 50} {
		var b budget
		b.init(RetryBudget{Ratio: 0.001, Burst: burst})
		var taken atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 25 {
					if b.take() {
						taken.Add(1)
					}
				}
			})
		}
		all.Wait()
		if got := int(taken.Load()); got != burst {
			t.Errorf("got %d tokens, want %d", got, burst)
		}
		for range 999 {
			b.earn()
		}
		if b.take() {
			t.Errorf("burst %d: got a token for 999 calls, want it for 1000", burst)
		}
		for range 1000 * (burst + 2) {
			b.earn()
		}
		for range burst {
			if !b.take() {
				t.Errorf("burst %d: got no token, want all back", burst)
			}
		}
		if b.take() {
			t.Errorf("got a token beyond a burst of %d", burst)
		}
	}
}
