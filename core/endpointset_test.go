package core

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// chooser is a load balancer and its own picker. It takes the first usable
// endpoint, or the one whose number the call's metadata names.
type chooser struct {
	err        error
	builds     int
	byMetadata bool
}

func (c *chooser) Build([]spi.Endpoint) (spi.Picker, error) {
	c.builds++
	if c.err != nil {
		return nil, c.err
	}
	return c, nil
}

func (c *chooser) Pick(info *spi.CallInfo) (int, error) {
	if c.byMetadata {
		to, _ := info.Call.Metadata.Get("to")
		return strconv.Atoi(to)
	}
	return info.Usable.Next(0, 1<<20), nil
}

func TestNormalize(t *testing.T) {
	for _, test := range []struct {
		name       string
		listed     []spi.Endpoint
		want       []string
		wantWeight []int
	}{
		{name: "none"},
		{"sorted", []spi.Endpoint{{Address: "b:1", Weight: 3}, {Address: "a:1", Weight: 2}}, []string{"a:1", "b:1"}, []int{2, 3}},
		{"the first of two stays", []spi.Endpoint{{Address: "a:1", Weight: 7}, {Address: "b:1"}, {Address: "a:1", Weight: 9}}, []string{"a:1", "b:1"}, []int{7, 1}},
		{"no weight is 1", []spi.Endpoint{{Address: "a:1", Weight: -5}}, []string{"a:1"}, []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := slices.Clone(test.listed)
			got := normalize(test.listed)
			if len(got) != len(test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			for i, e := range got {
				if e.Address != test.want[i] || e.Weight != test.wantWeight[i] {
					t.Errorf("endpoint %d: got %s with weight %d, want %s with %d", i, e.Address, e.Weight, test.want[i], test.wantWeight[i])
				}
			}
			for i := range before {
				if before[i].Address != test.listed[i].Address || before[i].Weight != test.listed[i].Weight {
					t.Error("the registry's own list was changed")
				}
			}
		})
	}
}

// Whatever the order and the repetitions, a set means the same.
func TestNormalizeOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		var listed []spi.Endpoint
		for i := range random.IntN(60) {
			listed = append(listed, spi.Endpoint{Address: fmt.Sprint(random.IntN(20)), Weight: i%3 + 1})
		}
		weights := make(map[string]int) // of the first by that name
		for _, e := range slices.Backward(listed) {
			weights[e.Address] = e.Weight
		}
		got := normalize(listed)
		random.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
		again := normalize(listed)
		if len(got) != len(weights) || len(again) != len(weights) {
			t.Fatalf("got %d and %d endpoints, want %d", len(got), len(again), len(weights))
		}
		for i := range got {
			if got[i].Address != again[i].Address || weights[got[i].Address] != got[i].Weight || i > 0 && got[i-1].Address >= got[i].Address {
				t.Fatalf("got %v and %v, want the same, sorted", got, again)
			}
		}
	}
}

// still is a Consumer whose endpoints are never run: a test sets their states.
type still struct {
	*Consumer
	t        *testing.T
	balancer *chooser
	states   map[string]endpointState
}

func newStill(t *testing.T) *still {
	c := &Consumer{endpoints: make(map[string]*endpoint), sets: make(map[string]*endpointSet)}
	c.cfg.Log = silent()
	balancer := &chooser{}
	c.cfg.LoadBalancer = balancer
	c.ctx, c.cancel = context.WithCancel(t.Context())
	c.active, c.leave = context.WithCancel(c.ctx)
	return &still{Consumer: c, t: t, balancer: balancer, states: make(map[string]endpointState)}
}

// list updates a set. What is new gets its endpoint here, so that enlist starts
// nothing.
func (s *still) list(set *endpointSet, addresses []string) {
	s.t.Helper()
	var listed []spi.Endpoint
	for _, a := range addresses {
		listed = append(listed, spi.Endpoint{Address: a})
		if s.endpoints[a] == nil {
			s.endpoints[a] = newEndpoint(s.Consumer, a)
			s.states[a] = connecting
		}
	}
	if err := s.update(set, listed); !errors.Is(err, s.balancer.err) {
		s.t.Fatalf("got %v, want %v", err, s.balancer.err)
	}
}

// become changes the state of an endpoint as its goroutine would.
func (s *still) become(address string, state endpointState) {
	e := s.endpoints[address]
	e.mu.Lock()
	e.state = state
	e.mu.Unlock()
	s.states[address] = state
	s.stateChanged(e)
}

// check compares what a call would see with the plainest reading of
// docs/connections.md §3.
func (s *still) check(set *endpointSet, addresses []string) {
	s.t.Helper()
	addresses = slices.Compact(slices.Sorted(slices.Values(addresses)))
	now := set.current.Load()
	if now == nil {
		s.t.Fatal("got no snapshot")
	}
	var going, doubted, trying []int
	for i, a := range addresses {
		if now.endpoints[i].address != a || now.listed[i].Address != a || now.listed[i].Load != &now.endpoints[i].load {
			s.t.Fatalf("endpoint %d: got %s, want %s with its load", i, now.endpoints[i].address, a)
		}
		if got := now.index(a); got != i {
			s.t.Fatalf("index of %s: got %d, want %d", a, got, i)
		}
		switch s.states[a] {
		case up:
			going = append(going, i)
		case suspected:
			doubted = append(doubted, i)
		case connecting:
			trying = append(trying, i)
		}
	}
	if len(now.endpoints) != len(addresses) || now.index("?") != -1 {
		s.t.Fatalf("got %d endpoints, want %d", len(now.endpoints), len(addresses))
	}
	if len(going) == len(addresses) && now.usable != nil {
		s.t.Fatal("got a bitmap where all are up, want nil, which costs pickers nothing")
	}
	want := going
	if len(want) == 0 {
		want = doubted
	}
	if len(want) == 0 {
		want = trying
	}
	for i := range addresses {
		if got, wanted := now.usable.Has(i), len(want) == 0 || slices.Contains(want, i); got != wanted {
			s.t.Fatalf("endpoint %d of %d: got usable %v, want %v; up %v, suspected %v, connecting %v", i, len(addresses), got, wanted, going, doubted, trying)
		}
	}
}

func TestEndpointSetModel(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	for range 40 {
		s := newStill(t)
		sets := []*endpointSet{newEndpointSet("a"), newEndpointSet("b")}
		lists := make([][]string, 2)
		for i := range sets {
			s.list(sets[i], nil)
		}
		for range 100 {
			seen := sets[0].current.Load()
			before := slices.Clone(seen.usable)
			switch random.IntN(3) {
			case 0:
				i := random.IntN(2)
				lists[i] = nil
				for range random.IntN(80) {
					lists[i] = append(lists[i], fmt.Sprintf("host-%d:1", random.IntN(100)))
				}
				s.list(sets[i], lists[i])
			default:
				for address := range s.endpoints { // any one
					s.become(address, endpointState(random.IntN(4)))
					break
				}
			}
			for i := range sets {
				s.check(sets[i], lists[i])
			}
			s.checkEndpoints(lists)
			if !slices.Equal(seen.usable, before) {
				t.Fatal("a snapshot changed in the hands of a call")
			}
		}
	}
}

// checkEndpoints: there is an endpoint exactly for what some set lists, and those
// that went are closed.
func (s *still) checkEndpoints(lists [][]string) {
	s.t.Helper()
	want := make(map[string]bool)
	for _, a := range slices.Concat(lists...) {
		want[a] = true
	}
	for address, e := range s.endpoints {
		if !want[address] {
			s.t.Fatalf("got an endpoint %s that nobody lists", address)
		}
		if e.ctx.Err() != nil {
			s.t.Fatalf("endpoint %s is listed and closed", address)
		}
		if len(e.sets) > 2 || len(e.sets) == 2 && e.sets[0] == e.sets[1] {
			s.t.Fatalf("endpoint %s is in %d sets, want each once", address, len(e.sets))
		}
	}
	if len(s.endpoints) != len(want) {
		s.t.Fatalf("got %d endpoints, want %d", len(s.endpoints), len(want))
	}
	for a := range s.states {
		if !want[a] {
			delete(s.states, a)
		}
	}
}

// An endpoint that is taken out of its last set is closed; its name may come back
// as a new one. An update keeps connections and load.
func TestEndpointSetKeepsWhatStays(t *testing.T) {
	s := newStill(t)
	set, other := newEndpointSet("a"), newEndpointSet("b")
	s.list(set, []string{"x", "y"})
	s.list(other, []string{"y"})
	x, y := s.endpoints["x"], s.endpoints["y"]
	s.become("y", up)
	s.list(set, []string{"z"})
	if x.ctx.Err() == nil || y.ctx.Err() != nil {
		t.Errorf("got closed %v and %v, want x closed and y not", x.ctx.Err(), y.ctx.Err())
	}
	s.list(set, []string{"x", "y"})
	now := set.current.Load()
	if s.endpoints["x"] == x || now.endpoints[1] != y {
		t.Error("got the old x or a new y, want a new x and the old y")
	}
	s.check(set, []string{"x", "y"})
	s.stateChanged(x) // the old one, late
	s.check(set, []string{"x", "y"})
}

// A balancer that cannot be built fails the calls, not the Consumer.
func TestEndpointSetBalancerFails(t *testing.T) {
	s := newStill(t)
	s.balancer.err = errors.New("no weights")
	set := newEndpointSet("a")
	s.list(set, []string{"x"})
	_, err := set.current.Load().picker.Pick(nil)
	if !errors.Is(err, s.balancer.err) || !strings.Contains(err.Error(), "1 endpoints") {
		t.Errorf("got %v, want %v", err, s.balancer.err)
	}
	s.balancer.err = nil
	s.list(set, []string{"x"})
	if got := set.current.Load().picker; got != spi.Picker(s.balancer) {
		t.Errorf("got %v, want the balancer's picker", got)
	}
}

func TestEndpointSetAfterClose(t *testing.T) {
	s := newStill(t)
	set := newEndpointSet("a")
	s.closed = true
	if err := s.update(set, []spi.Endpoint{{Address: "x"}}); err != nil || len(s.endpoints) != 0 {
		t.Errorf("got %v and %d endpoints, want nothing", err, len(s.endpoints))
	}
}

// Ten thousand endpoints change one after another.
func TestEndpointSetOfTenThousand(t *testing.T) {
	s := newStill(t)
	set := newEndpointSet("a")
	var addresses []string
	for i := range 10_000 {
		addresses = append(addresses, fmt.Sprintf("10.0.%d.%d:7070", i/256, i%256))
	}
	s.list(set, addresses)
	s.check(set, addresses)
	for i, state := range []endpointState{up, backoff, connecting, up} {
		for _, a := range addresses[i*100 : i*100+5000] {
			s.become(a, state)
		}
		s.check(set, addresses)
	}
	s.list(set, addresses[:5000])
	s.check(set, addresses[:5000])
	if s.balancer.builds != 2 {
		t.Errorf("got %d builds, want 2: states are none of the balancer's business", s.balancer.builds)
	}
}

// What a call has tried is compared with a plain list.
func TestTried(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 9))
	for _, n := range []int{1, 2, 63, 64, 65, 10_000} {
		now := &snapshot{listing: &listing{endpoints: make([]*endpoint, n)}}
		if n > 1 {
			now.usable = spi.NewBitmap(n)
			for i := range n {
				if random.IntN(3) == 0 {
					now.usable.Set(i)
				}
			}
		}
		var done tried
		seen := make([]bool, n)
		left := n
		for step, i := range random.Perm(n) {
			if step < 10 || left < 3 {
				checkSpare(t, done.spare(now), now, seen)
			}
			seen[i] = true
			left--
			if got := done.add(now, i); got != (left > 0) {
				t.Fatalf("%d endpoints, %d tried: got left %v, want %v", n, step+1, got, left > 0)
			}
			if got := done.add(now, i); got != (left > 0) {
				t.Fatalf("the same one again: got left %v, want %v", got, left > 0)
			}
		}
		next := &snapshot{listing: &listing{endpoints: make([]*endpoint, n)}}
		checkSpare(t, done.spare(next), next, make([]bool, n))
		if got := done.add(next, 0); got != (n > 1) {
			t.Errorf("of another listing: got left %v, want %v", got, n > 1)
		}
	}
}

func checkSpare(t *testing.T, spare spi.Bitmap, now *snapshot, seen []bool) {
	t.Helper()
	usableLeft, begun := false, slices.Contains(seen, true)
	for i := range seen {
		usableLeft = usableLeft || !seen[i] && now.usable.Has(i)
	}
	for i := range seen {
		want := !seen[i] && (now.usable.Has(i) || !usableLeft)
		if !begun {
			want = now.usable.Has(i)
		}
		if got := spare.Has(i); got != want {
			t.Fatalf("endpoint %d of %d: got %v, want %v", i, len(seen), got, want)
		}
	}
}
