package loadbalancer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/extensions/loadbalancer"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is every load balancer of the package.
var names = []string{"p2c", "random", "round-robin", "weighted-random"}

// open opens a load balancer with a configuration in JSON, "" for none.
func open(t testing.TB, log logrus.FieldLogger, use, with string) (spi.LoadBalancer, error) {
	t.Helper()
	cat := spi.NewCatalog()
	if err := loadbalancer.Register(cat); err != nil {
		t.Fatal(err)
	}
	return cat.LoadBalancers.Open(context.Background(), spi.Env{Log: log}, spi.Ref{Use: use, With: spi.Raw{JSON: []byte(with)}})
}

// build opens and builds, for endpoints named a, b, c, … of weight 1.
func build(t testing.TB, use, with string, n int) spi.Picker {
	t.Helper()
	return buildFor(t, use, with, endpoints(n))
}

func buildFor(t testing.TB, use, with string, set []spi.Endpoint) spi.Picker {
	t.Helper()
	lb, err := open(t, nil, use, with)
	if err != nil {
		t.Fatal(err)
	}
	p, err := lb.Build(set)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func endpoints(n int) []spi.Endpoint {
	set := make([]spi.Endpoint, n)
	for i := range set {
		set[i] = spi.Endpoint{Address: fmt.Sprintf("%c:1", 'a'+i), Weight: 1, Load: new(spi.Load)}
	}
	return set
}

// usable returns the set of the given indices.
func usable(n int, held ...int) spi.Bitmap {
	set := spi.NewBitmap(n)
	for _, i := range held {
		set.Set(i)
	}
	return set
}

// shares picks and returns how often each of n was picked.
func shares(t testing.TB, p spi.Picker, n, picks int, held spi.Bitmap) []int {
	t.Helper()
	count := make([]int, n)
	info := &spi.CallInfo{Usable: held}
	for range picks {
		i, err := p.Pick(info)
		if err != nil {
			t.Fatal(err)
		}
		count[i]++
	}
	return count
}

// even reports counts that stray from their shares by more than chance allows: six
// standard deviations of a binomial distribution, one in 500 million.
func even(t *testing.T, got []int, want []float64) {
	t.Helper()
	picks, sum := 0, 0.0
	for i := range got {
		picks += got[i]
		sum += want[i]
	}
	for i := range got {
		share := want[i] / sum
		mean := share * float64(picks)
		if off := math.Abs(float64(got[i]) - mean); off > 6*math.Sqrt(mean*(1-share)) {
			t.Errorf("picks of endpoint %d: got %d of %d, want about %.0f (all: %v)", i, got[i], picks, mean, got)
		}
	}
}

// Where some endpoints are not usable, the others share their picks evenly; the one
// that follows a hole gets no more.
func TestSharesAreFair(t *testing.T) {
	for _, name := range names {
		for _, tt := range []struct {
			name string
			n    int
			held []int // nil: all
		}{
			{"all of 1", 1, nil}, {"all of 2", 2, nil}, {"all of 5", 5, nil}, {"all but one", 5, []int{0, 1, 3, 4}}, {"after a long hole", 10, []int{0, 1, 9}},
			{"two of 100", 100, []int{3, 4}}, {"three across words", 200, []int{0, 63, 199}}, {"one of 200", 200, []int{128}},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				want, held := make([]float64, tt.n), spi.Bitmap(nil)
				for i := range want {
					want[i] = 1
				}
				if tt.held != nil {
					held = usable(tt.n, tt.held...)
					clear(want)
					for _, i := range tt.held {
						want[i] = 1
					}
				}
				even(t, shares(t, build(t, name, "", tt.n), tt.n, 20_000, held), want)
			})
		}
	}
}

// A consumer may leave bits beyond the last endpoint set.
func TestBitsBeyondTheEnd(t *testing.T) {
	for _, name := range names {
		got := shares(t, build(t, name, "", 3), 3, 100, spi.Bitmap{^uint64(3), ^uint64(0)})
		if got[2] != 100 {
			t.Errorf("%s, picks: got %v, want 100 of the only usable one", name, got)
		}
	}
}

func TestRoundRobinIsExact(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int
		held spi.Bitmap
		each int
	}{{"all", 7, nil, 100}, {"holes", 7, usable(7, 1, 2, 6), 100}, {"one", 3, usable(3, 2), 100}, {"across words", 130, usable(130, 0, 64, 129), 100}} {
		t.Run(tt.name, func(t *testing.T) {
			members := 0
			for i := range tt.n {
				if tt.held.Has(i) {
					members++
				}
			}
			got := shares(t, build(t, "round-robin", "", tt.n), tt.n, members*tt.each, tt.held)
			for i, c := range got {
				// The first pick may fall into a hole.
				if want := tt.each; tt.held.Has(i) && (c < want-1 || c > want+1) || !tt.held.Has(i) && c > 0 {
					t.Errorf("picks: got %v, want %d for each usable one", got, tt.each)
				}
			}
		})
	}
}

func TestRoundRobinOrder(t *testing.T) {
	p := build(t, "round-robin", "", 4)
	info := &spi.CallInfo{}
	last, _ := p.Pick(info)
	for range 10 {
		i, _ := p.Pick(info)
		if want := (last + 1) % 4; i != want {
			t.Fatalf("pick after %d: got %d, want %d", last, i, want)
		}
		last = i
	}
}

// Consumers that start together must not all begin with the first endpoint.
func TestRoundRobinStartsAnywhere(t *testing.T) {
	firsts := map[int]bool{}
	for range 200 {
		i, _ := build(t, "round-robin", "", 4).Pick(&spi.CallInfo{})
		firsts[i] = true
	}
	if len(firsts) != 4 {
		t.Errorf("first picks of 200 pickers: got %v, want all of 4", firsts)
	}
}

func TestRoundRobinConcurrently(t *testing.T) {
	const n, goroutines, each = 5, 8, 3000
	p := build(t, "round-robin", "", n)
	held := usable(n, 0, 2, 3)
	var mu sync.Mutex
	total := make([]int, n)
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			count := make([]int, n)
			info := &spi.CallInfo{Usable: held}
			for range each {
				i, _ := p.Pick(info)
				count[i]++
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range count {
				total[i] += count[i]
			}
		})
	}
	all.Wait()
	for i, c := range total {
		want := 0
		if held.Has(i) {
			want = goroutines * each / 3
		}
		if c < want*9/10 || c > want*11/10 {
			t.Errorf("picks: got %v, want about %d for 0, 2 and 3", total, goroutines*each/3)
		}
	}
}

func TestWeightedRandomShares(t *testing.T) {
	weighted := endpoints(3)
	weighted[1].Weight, weighted[2].Weight = 2, 5
	for _, tt := range []struct {
		name string
		with string
		held spi.Bitmap
		want []float64
	}{
		{"own weights", ``, nil, []float64{1, 2, 5}},
		{"overridden", `{"weights":{"a:1":7}}`, nil, []float64{7, 2, 5}},
		{"not usable", ``, usable(3, 0, 1), []float64{1, 2, 0}},
		{"weight 0", `{"weights":{"c:1":0}}`, nil, []float64{1, 2, 0}},
		{"only weight 0 is usable", `{"weights":{"c:1":0}}`, usable(3, 2), []float64{0, 0, 1}},
		{"all weight 0", `{"weights":{"a:1":0,"b:1":0,"c:1":0}}`, nil, []float64{1, 1, 1}},
		{"large", `{"weights":{"a:1":1000000,"b:1":1000000,"c:1":0}}`, nil, []float64{1, 1, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			even(t, shares(t, buildFor(t, "weighted-random", tt.with, weighted), 3, 20_000, tt.held), tt.want)
		})
	}
}

// A registry can say what it likes.
func TestWeightedRandomWithStrangeEndpoints(t *testing.T) {
	set := endpoints(2)
	set[0].Weight, set[1].Weight = math.MaxInt, -3
	got := shares(t, buildFor(t, "weighted-random", "", set), 2, 100, usable(2, 1))
	if got[1] != 100 {
		t.Errorf("picks: got %v, want 100 of the usable one", got)
	}
}

func TestWeightedRandomValidates(t *testing.T) {
	for _, tt := range []struct {
		name, with string
		want       []string // none: no error
	}{
		{"good", `{"weights":{"a:1":0,"b:1":1000000}}`, nil},
		{"negative", `{"weights":{"a:1":-1,"b:1":2,"c:1":-7}}`, []string{`-1 for "a:1" is not between 0 and 1000000`, `-7 for "c:1"`}},
		{"too large", `{"weights":{"a:1":1000001}}`, []string{`1000001 for "a:1"`}},
		{"unknown key", `{"wieghts":{}}`, []string{`did you mean "weights"?`}},
		{"wrong type", `{"weights":{"a:1":"3"}}`, []string{"weights"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := open(t, nil, "weighted-random", tt.with)
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("Open: got error %v, want %q", err, tt.want)
			}
			for _, text := range tt.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("Open: got %v, want it to contain %q", err, text)
				}
			}
			if configErr := new(spi.ConfigError); err != nil && !errors.As(err, &configErr) {
				t.Errorf("Open: got a %T, want a *spi.ConfigError", err)
			}
		})
	}
}

func TestWeightedRandomComplainsOnce(t *testing.T) {
	var out bytes.Buffer
	log := logrus.New()
	log.Out, log.Formatter = &out, &logrus.JSONFormatter{}
	lb, err := open(t, log, "weighted-random", `{"weights":{"a:1":1,"late:1":2,"typo:1":3,"gone:1":4}}`)
	if err != nil {
		t.Fatal(err)
	}
	set := endpoints(2)
	set[1].Address = "gone:1"
	for _, s := range [][]spi.Endpoint{set, set[:1], append(endpoints(1), spi.Endpoint{Address: "late:1", Weight: 1}), set} {
		if _, err := lb.Build(s); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for dec := json.NewDecoder(&out); dec.More(); {
		var entry struct{ Level, Address, Name string }
		if err := dec.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		got = append(got, entry.Level+" "+entry.Name+" "+entry.Address)
	}
	want := "warning weighted-random late:1, warning weighted-random typo:1" // gone:1 has been an endpoint
	if strings.Join(got, ", ") != want {
		t.Errorf("log: got %q, want %q", got, want)
	}
}

// busy returns a load of calls in flight and, unless it is 0, a latency.
func busy(inFlight int, latency time.Duration) *spi.Load {
	l := new(spi.Load)
	if latency > 0 {
		l.Begin()
		l.End(0, latency, false)
	}
	for range inFlight {
		l.Begin()
	}
	return l
}

func TestP2CPrefers(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name          string
		better, worse spi.Endpoint
	}{
		{"the faster", spi.Endpoint{Weight: 1, Load: busy(0, ms)}, spi.Endpoint{Weight: 1, Load: busy(0, 2*ms)}},
		{"the less loaded", spi.Endpoint{Weight: 1, Load: busy(1, ms)}, spi.Endpoint{Weight: 1, Load: busy(2, ms)}},
		{"the heavier", spi.Endpoint{Weight: 3, Load: busy(0, ms)}, spi.Endpoint{Weight: 2, Load: busy(0, ms)}},
		{"the heavier, loaded in proportion", spi.Endpoint{Weight: 4, Load: busy(1, ms)}, spi.Endpoint{Weight: 1, Load: busy(0, ms)}},
		{"the product of latency and load", spi.Endpoint{Weight: 1, Load: busy(2, ms)}, spi.Endpoint{Weight: 1, Load: busy(0, 4*ms)}},
		{"the one that has not answered yet", spi.Endpoint{Weight: 1, Load: busy(20, 0)}, spi.Endpoint{Weight: 1, Load: busy(0, ms)}},
		{"not the one that never answers", spi.Endpoint{Weight: 1, Load: busy(0, ms)}, spi.Endpoint{Weight: 1, Load: busy(2000, 0)}},
		{"the less loaded before any answer", spi.Endpoint{Weight: 1, Load: busy(0, 0)}, spi.Endpoint{Weight: 1, Load: busy(1, 0)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.better.Address, tt.worse.Address = "a:1", "b:1"
			if got := shares(t, buildFor(t, "p2c", "", []spi.Endpoint{tt.better, tt.worse}), 2, 100, nil); got[0] != 100 {
				t.Errorf("picks: got %v, want 100 of the first", got)
			}
			if got := shares(t, buildFor(t, "p2c", "", []spi.Endpoint{tt.worse, tt.better}), 2, 100, nil); got[1] != 100 {
				t.Errorf("picks: got %v, want 100 of the second", got)
			}
		})
	}
}

// A latency fades while no answers come, so that a once slow endpoint is tried
// again.
func TestP2CForgives(t *testing.T) {
	slow, fast := busy(0, 3*time.Millisecond), busy(0, time.Millisecond)
	p := buildFor(t, "p2c", "", []spi.Endpoint{{Address: "a:1", Weight: 1, Load: slow}, {Address: "b:1", Weight: 1, Load: fast}})
	if i, _ := p.Pick(&spi.CallInfo{Now: 0}); i != 1 {
		t.Errorf("pick at once: got %d, want 1", i)
	}
	later := time.Minute
	fast.Begin()
	fast.End(later, time.Millisecond, false)
	if i, _ := p.Pick(&spi.CallInfo{Now: later}); i != 0 {
		t.Errorf("pick a minute later: got %d, want 0", i)
	}
}

// The load outlives the picker.
func TestP2CRemembersAcrossBuilds(t *testing.T) {
	lb, err := open(t, nil, "p2c", "")
	if err != nil {
		t.Fatal(err)
	}
	set := endpoints(3)
	set[0].Load, set[2].Load = busy(0, time.Second), busy(0, time.Second)
	set[1].Load = busy(0, time.Millisecond)
	for _, tt := range []struct {
		set  []spi.Endpoint
		fast int
	}{{set[:2], 1}, {set[1:], 0}} {
		p, err := lb.Build(tt.set)
		if err != nil {
			t.Fatal(err)
		}
		if got := shares(t, p, 2, 50, nil); got[tt.fast] != 50 {
			t.Errorf("picks: got %v, want 50 of %d, the fast one", got, tt.fast)
		}
	}
}

// Of many endpoints the slowest is never picked, being the worse of every pair.
func TestP2CNeverPicksTheWorst(t *testing.T) {
	set := endpoints(10)
	for i := range set {
		set[i].Load = busy(0, time.Millisecond<<i)
	}
	got := shares(t, buildFor(t, "p2c", "", set), 10, 5000, nil)
	if got[9] != 0 {
		t.Errorf("picks of the slowest: got %d, want 0", got[9])
	}
	for i := range 8 {
		if got[i] <= got[i+1]/2 || got[i] == 0 {
			t.Errorf("picks: got %v, want fewer the slower", got)
		}
	}
}

// Latencies that differ by some tenths count as equal: a single caller must not
// send everything to whichever happens to lead.
func TestP2CSpreadsOverEqualEndpoints(t *testing.T) {
	set := endpoints(2)
	set[0].Load, set[1].Load = busy(0, 100*time.Microsecond), busy(0, 140*time.Microsecond)
	for i, got := range shares(t, buildFor(t, "p2c", "", set), 2, 5000, nil) {
		if got < 2200 || got > 2800 { // 2500 expected, standard deviation 35
			t.Errorf("picks of endpoint %d: got %d, want about 2500", i, got)
		}
	}
}

// settings are the sets that picks are measured with.
var settings = []struct {
	name string
	n    int
	held func(n int) spi.Bitmap
}{
	{"1", 1, nil}, {"10", 10, nil}, {"1000", 1000, nil},
	{"10 and one is not usable", 10, func(n int) spi.Bitmap { return usable(n, 0, 1, 2, 3, 5, 6, 7, 8, 9) }},
	{"1000 and one is", 1000, func(n int) spi.Bitmap { return usable(n, 777) }},
}

func TestPicksDoNotAllocate(t *testing.T) {
	for _, name := range names {
		for _, s := range settings {
			p, info := build(t, name, "", s.n), &spi.CallInfo{}
			if s.held != nil {
				info.Usable = s.held(s.n)
			}
			if got := testing.AllocsPerRun(200, func() { _, _ = p.Pick(info) }); got != 0 {
				t.Errorf("%s of %s: got %v allocations, want 0", name, s.name, got)
			}
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range names {
		for _, s := range settings {
			b.Run(name+"/"+s.name, func(b *testing.B) {
				p, info := build(b, name, "", s.n), &spi.CallInfo{Now: time.Second}
				if s.held != nil {
					info.Usable = s.held(s.n)
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := p.Pick(info); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func ExampleRegister() {
	cat := spi.NewCatalog()
	if err := loadbalancer.Register(cat); err != nil {
		fmt.Println(err)
		return
	}
	lb, err := cat.LoadBalancers.Open(context.Background(), spi.Env{}, spi.Ref{
		Use: "weighted-random", With: spi.Raw{JSON: []byte(`{"weights": {"10.0.0.7:7070": 0}}`)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	picker, err := lb.Build([]spi.Endpoint{
		{Address: "10.0.0.7:7070", Weight: 1, Load: new(spi.Load)},
		{Address: "10.0.0.8:7070", Weight: 1, Load: new(spi.Load)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(picker.Pick(&spi.CallInfo{}))
	// Output: 1 <nil>
}
