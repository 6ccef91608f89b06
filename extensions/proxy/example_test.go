package proxy_test

import (
	"context"
	"fmt"

	"github.com/bhrpc/bhrpc/extensions/proxy"
	"github.com/bhrpc/bhrpc/spi"
)

// echo is an invoker that answers by itself.
type echo struct{}

func (echo) Method(service, name string) *spi.Method {
	return &spi.Method{Service: service, Name: name}
}

func (echo) Invoke(_ context.Context, call *spi.Call) error {
	*call.Reply.(*string) = fmt.Sprintf("%s of %d", call.Method, call.Args.Len())
	return nil
}

// A struct of func fields; the framework's Bind does this with its Consumer as the
// invoker.
func ExampleRegister() {
	cat := spi.NewCatalog()
	if err := proxy.Register(cat); err != nil {
		fmt.Println(err)
		return
	}
	p, err := cat.Proxies.Open(context.Background(), spi.Env{}, spi.Ref{Use: "reflect"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var client struct {
		_ struct{} `bhrpc:"service=Greeter"`

		Say  func(ctx context.Context, name string) (string, error)
		Wave func(hands int) (string, error) `bhrpc:"method=WaveHands,timeout=2s"`
	}
	if err := p.Bind(&client, echo{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(client.Say(context.Background(), "ann"))
	fmt.Println(client.Wave(2))
	// Output:
	// Greeter.Say of 1 <nil>
	// Greeter.WaveHands of 1 <nil>
}

func ExampleDynamic() {
	cat := spi.NewCatalog()
	if err := proxy.Register(cat); err != nil {
		fmt.Println(err)
		return
	}
	p, err := cat.Proxies.Open(context.Background(), spi.Env{}, spi.Ref{Use: "dynamic"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var call proxy.Dynamic
	if err := p.Bind(&call, echo{}); err != nil {
		fmt.Println(err)
		return
	}
	var reply string
	err = call(context.Background(), "Greeter.Say", &reply, "ann")
	fmt.Println(reply, err)
	fmt.Println(call(context.Background(), "Say", &reply, "ann"))
	// Output:
	// Greeter.Say of 1 <nil>
	// INVALID_ARGUMENT (phase: resolve, sent: no): method "Say": want "Service.Method"
}
