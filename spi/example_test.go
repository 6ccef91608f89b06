package spi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/bhrpc/bhrpc/spi"
)

// firstConfig is what stands under `with:` in the configuration file.
type firstConfig struct {
	Skip uint `json:"skip" doc:"endpoints to leave out at the front of the list"`
}

func openFirst(_ context.Context, _ spi.Env, cfg firstConfig) (spi.LoadBalancer, error) {
	return firstBalancer{cfg.Skip}, nil
}

type firstBalancer struct{ skip uint }

func (b firstBalancer) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	n := uint(len(endpoints))
	return firstPicker{n: int(n), from: int(b.skip % n)}, nil
}

type firstPicker struct{ n, from int }

func (p firstPicker) Pick(info *spi.CallInfo) (int, error) {
	return info.Usable.Next(p.from, p.n), nil
}

// The extension of the package documentation, from its registration to a pick.
func ExampleRegister() {
	cat := spi.NewCatalog()
	if err := spi.Register(cat.LoadBalancers, "first", "Takes the first usable endpoint.", firstConfig{}, openFirst); err != nil {
		fmt.Println(err)
		return
	}

	var ref spi.Ref
	if err := json.Unmarshal([]byte(`{"use": "first", "with": {"skip": 1}}`), &ref); err != nil {
		fmt.Println(err)
		return
	}
	balancer, err := cat.LoadBalancers.Open(context.Background(), spi.Env{}, ref)
	if err != nil {
		fmt.Println(err)
		return
	}
	picker, err := balancer.Build([]spi.Endpoint{{Address: "a:7070"}, {Address: "b:7070"}, {Address: "c:7070"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	usable := spi.NewBitmap(3)
	usable.Set(0)
	usable.Set(2)
	fmt.Println(picker.Pick(&spi.CallInfo{}))
	fmt.Println(picker.Pick(&spi.CallInfo{Usable: usable}))

	_, err = cat.LoadBalancers.Open(context.Background(), spi.Env{}, spi.Ref{Use: "frist", Key: "consumer.loadbalancer"})
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// 2 <nil>
	// consumer.loadbalancer: no loadbalancer named "frist"; did you mean "first"?
	//   known: first      plugins loaded: none
}

// halves gives everything to endpoints of one zone.
type halves struct{ zone string }

func (h halves) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	weights := make([]int, len(stats.Endpoints))
	for i, e := range stats.Endpoints {
		if e.Labels["zone"] == h.zone {
			weights[i] = e.Weight
		}
	}
	return spi.Plan{Weights: weights}, nil
}

// A load balancer that answers with a plan can also run in another process.
func ExampleFromPlanner() {
	balancer := spi.FromPlanner(halves{"eu1"}, spi.Env{})
	picker, err := balancer.Build([]spi.Endpoint{
		{Address: "a:7070", Weight: 1, Labels: map[string]string{"zone": "us2"}, Load: new(spi.Load)},
		{Address: "b:7070", Weight: 1, Labels: map[string]string{"zone": "eu1"}, Load: new(spi.Load)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(picker.Pick(&spi.CallInfo{}))
	// Output: 1 <nil>
}

// An interceptor is a plain function; the first is the outermost.
func ExampleCompose() {
	say := func(word string) spi.Interceptor {
		return func(next spi.InvokeFunc) spi.InvokeFunc {
			return func(ctx context.Context, call *spi.Call) error {
				fmt.Println(word)
				return next(ctx, call)
			}
		}
	}
	invoke := spi.Compose(func(context.Context, *spi.Call) error {
		return spi.Errorf(spi.NotFound, "user %d", 7)
	}, say("outer"), say("inner"))
	fmt.Println(invoke(context.Background(), &spi.Call{}))
	// Output:
	// outer
	// inner
	// NOT_FOUND: user 7
}

// The reference page of extensions is made from the catalog.
func ExampleWriteMarkdown() {
	cat := spi.NewCatalog()
	if err := cat.LoadBalancers.Add(spi.Info{
		Name: "first", Doc: "Takes the first usable endpoint.", Source: "plugin acme",
		Fields: []spi.Field{{Key: "skip", Type: "uint", Default: "0", Doc: "endpoints to leave out"}},
	}, func(context.Context, spi.Env, []byte) (spi.LoadBalancer, error) { return firstBalancer{}, nil }); err != nil {
		fmt.Println(err)
		return
	}
	if err := spi.WriteMarkdown(os.Stdout, cat.List()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// ## loadbalancer
	//
	// ### `first`
	//
	// Takes the first usable endpoint. (plugin acme)
	//
	// | key | type | default | meaning |
	// |---|---|---|---|
	// | `skip` | uint | `0` | endpoints to leave out |
}
