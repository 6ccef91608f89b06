package spitest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// LoadBalancer tests that lb keeps the contract of [spi.LoadBalancer]. It builds
// pickers for up to 10,000 endpoints and picks some hundred thousand times. lb stays
// the caller's to close.
func LoadBalancer(t *testing.T, lb spi.LoadBalancer) {
	t.Helper()
	run(t, loadBalancerRules, lb)
}

var loadBalancerRules = []rule[spi.LoadBalancer]{
	{"index-in-range", "Pick returns an index into the endpoints given to Build: 0 to n-1.", checkRange},
	{"nil-usable", "A nil Usable holds every endpoint.", checkNilUsable},
	{"only-usable", "Pick returns an endpoint that Usable holds, however few those are and wherever they stand.", checkUsable},
	{"endpoints-unmodified", "Build must not modify the endpoints: other balancers see the same slice.", checkEndpointsUnmodified},
	{"usable-unmodified", "Pick must not modify Usable, nor the call: they are the consumer's.", checkUsableUnmodified},
	{"older-pickers", "A picker works on after Build was called again, on the endpoints it was built for.", checkOlderPickers},
	{"concurrent", "A LoadBalancer builds while its pickers pick, all of them from many goroutines.", checkConcurrent},
	{"allocations", "A pick should not allocate: it is on the path of every call.", noteAllocations},
}

// sizes of endpoint sets: the smallest, both sides of a bitmap's word, large ones.
var sizes = []int{1, 2, 3, 63, 64, 65, 100, 128, 129, 10_000}

// endpoints returns n endpoints of various weights, labels and loads.
func endpoints(n int) []spi.Endpoint {
	set := make([]spi.Endpoint, n)
	for i := range set {
		set[i] = spi.Endpoint{Address: fmt.Sprintf("10.%d.%d.%d:7070", i>>16, i>>8&255, i&255), Weight: 1 + i%7, Load: new(spi.Load)}
		if i%2 == 0 {
			set[i].Labels = map[string]string{"zone": fmt.Sprintf("z%d", i%3)}
		}
		for range i % 4 {
			set[i].Load.Begin()
		}
		if i%3 > 0 { // a third has not answered yet
			set[i].Load.Begin()
			set[i].Load.End(time.Second, time.Duration(1+i%100)*time.Millisecond, i%50 == 1)
		}
	}
	return set
}

// info returns what a picker sees of call number i.
func info(i int, usable spi.Bitmap) *spi.CallInfo {
	call := &spi.Call{Method: &spi.Method{Service: "Greeter", Name: "Say"}}
	switch i % 3 { // no arguments, a value, a pointer
	case 1:
		call.Args = spi.Values{fmt.Sprintf("key-%d", i)}
	case 2:
		call.Args = spi.Values{&i}
	}
	return &spi.CallInfo{Call: call, Usable: usable, Now: time.Second + time.Duration(i)*time.Millisecond}
}

// pick picks once and reports what is wrong with the answer.
func pick(r *report, p spi.Picker, n, i int, usable spi.Bitmap) {
	at, err := p.Pick(info(i, usable))
	switch {
	case err != nil:
		r.faultf("Pick among %d endpoints, %s usable: got error %v, want an index", n, describe(usable, n), err)
	case at < 0 || at >= n:
		r.faultf("Pick among %d endpoints, %s usable: got index %d, want one from 0 to %d", n, describe(usable, n), at, n-1)
	case !usable.Has(at):
		r.faultf("Pick among %d endpoints, %s usable: got index %d, want a usable one", n, describe(usable, n), at)
	}
}

// describe names the indices of a set, the first few of many.
func describe(usable spi.Bitmap, n int) string {
	if usable == nil {
		return "all"
	}
	var held []int
	for i := range n {
		if usable.Has(i) {
			held = append(held, i)
		}
	}
	if len(held) > 5 {
		return fmt.Sprintf("%v and %d more", held[:5], len(held)-5)
	}
	return fmt.Sprint(held)
}

// build builds for n endpoints; ok is false, and the violation reported, if that
// fails.
func build(r *report, lb spi.LoadBalancer, n int) (p spi.Picker, ok bool) {
	p, err := lb.Build(endpoints(n))
	if err != nil || p == nil {
		r.faultf("Build for %d endpoints: got picker %v, error %v, want a picker", n, p, err)
	}
	return p, err == nil && p != nil
}

func checkRange(r *report, lb spi.LoadBalancer) {
	for _, n := range sizes {
		p, ok := build(r, lb, n)
		all := only(n, func(int) bool { return true })
		for i := 0; ok && i < 1000 && !r.broken(); i++ {
			pick(r, p, n, i, all)
		}
	}
}

func checkNilUsable(r *report, lb spi.LoadBalancer) {
	for _, n := range sizes {
		p, ok := build(r, lb, n)
		for i := 0; ok && i < 1000 && !r.broken(); i++ {
			pick(r, p, n, i, nil)
		}
	}
}

// only returns the set of the indices for which hold is true.
func only(n int, hold func(i int) bool) spi.Bitmap {
	set := spi.NewBitmap(n)
	for i := range n {
		if hold(i) {
			set.Set(i)
		}
	}
	return set
}

func checkUsable(r *report, lb spi.LoadBalancer) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range sizes {
		p, ok := build(r, lb, n)
		if !ok {
			continue
		}
		var sets []spi.Bitmap
		for at := range n { // a single one; of many, those where something begins or ends
			if n <= 129 || at < 2 || at >= n-2 || at%64 == 0 && at < 300 || at%64 == 63 && at < 300 {
				sets = append(sets, only(n, func(i int) bool { return i == at }))
			}
		}
		if n > 1 {
			first := random.IntN(n)
			sets = append(sets,
				only(n, func(i int) bool { return i != first }),
				only(n, func(i int) bool { return i%2 == 1 }),
				only(n, func(i int) bool { return i == 0 || i == n-1 }),
				only(n, func(i int) bool { return i == first || random.IntN(2) == 0 }),
				only(n, func(i int) bool { return i == first || random.IntN(20) == 0 }))
		}
		for _, set := range sets {
			for i := 0; i < 50 && !r.broken(); i++ {
				pick(r, p, n, i, set)
			}
		}
	}
}

func checkEndpointsUnmodified(r *report, lb spi.LoadBalancer) {
	for _, n := range []int{1, 3, 100} {
		given := endpoints(n)
		before := slices.Clone(given)
		for i := range before {
			before[i].Labels = maps.Clone(before[i].Labels)
		}
		p, err := lb.Build(given)
		if err != nil {
			r.faultf("Build for %d endpoints: got error %v", n, err)
			continue
		}
		for i := range 100 {
			pick(r, p, n, i, nil)
		}
		for i := range given {
			got, want := given[i], before[i]
			if got.Address != want.Address || got.Weight != want.Weight || got.Load != want.Load || !maps.Equal(got.Labels, want.Labels) {
				r.faultf("endpoint %d of %d after Build and picks: got %+v, want %+v", i, n, got, want)
			}
		}
	}
}

func checkUsableUnmodified(r *report, lb spi.LoadBalancer) {
	const n = 130
	p, ok := build(r, lb, n)
	if !ok {
		return
	}
	usable := only(n, func(i int) bool { return i%3 == 0 })
	want := slices.Clone(usable)
	for i := range 200 {
		in := info(i, usable)
		call := *in.Call
		_, _ = p.Pick(in)
		if !slices.Equal(usable, want) {
			r.faultf("Usable after Pick: got %x, want %x", usable, want)
			return
		}
		if got := *in.Call; got.Method != call.Method || got.Timeout != call.Timeout || got.Peer != call.Peer || len(got.Metadata) != 0 {
			r.faultf("call after Pick: got %+v, want %+v", got, call)
			return
		}
	}
}

func checkOlderPickers(r *report, lb spi.LoadBalancer) {
	large, ok := build(r, lb, 100)
	if !ok {
		return
	}
	small, ok := build(r, lb, 2)
	if !ok {
		return
	}
	few := only(100, func(i int) bool { return i > 90 })
	for i := range 200 {
		pick(r, large, 100, i, few)
		pick(r, large, 100, i, nil)
		pick(r, small, 2, i, nil)
	}
}

func checkConcurrent(r *report, lb spi.LoadBalancer) {
	shared, ok := build(r, lb, 100)
	if !ok {
		return
	}
	usable := only(100, func(i int) bool { return i%5 == 0 })
	r.concurrently(8, func(g int) {
		if g%4 == 0 {
			for round := range 50 {
				n := 1 + round%7
				if own, ok := build(r, lb, n); ok {
					pick(r, own, n, round, nil)
				}
			}
			return
		}
		for i := range 2000 {
			pick(r, shared, 100, i, nil)
			pick(r, shared, 100, i, usable)
		}
	})
}

func noteAllocations(r *report, lb spi.LoadBalancer) {
	p, ok := build(r, lb, 10)
	if !ok {
		return
	}
	defer func() {
		if why := recover(); why != nil { // not possible beside parallel tests
			r.notef("allocations not counted: %v", why)
		}
	}()
	in := info(0, nil)
	if n := testing.AllocsPerRun(1000, func() { _, _ = p.Pick(in) }); n > 0 {
		r.notef("a pick allocates %v times; none is better", n)
	}
}
