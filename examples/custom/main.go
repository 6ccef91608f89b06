package main

import (
	"context"
	"fmt"
	"log"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/examples/custom/primary"
)

// Where is the service: it says which provider answered.
type Where struct{ name string }

// Am returns the provider's name.
func (w Where) Am() (string, error) { return w.name, nil }

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	a, stopA, err := provide(ctx, Where{"a"})
	if err != nil {
		return err
	}
	b, stopB, err := provide(ctx, Where{"b"})
	if err != nil {
		return err
	}
	defer stopB()

	cfg, err := bhrpc.Load("")
	if err != nil {
		return err
	}
	for key, value := range map[string]any{
		"consumer.addresses":    []string{a, b},
		"consumer.loadbalancer": map[string]any{"use": "primary", "with": map[string]any{"order": []string{b, a}}},
		"log.level":             "error",
	} {
		if err := cfg.Set(key, value); err != nil {
			return err
		}
	}
	app, err := cfg.Open(ctx, primary.Register) // the one line that links it in
	if err != nil {
		return err
	}
	defer app.Close()

	var where struct {
		_  struct{} `bhrpc:"service=Where"`
		Am func(context.Context) (string, error)
	}
	if err := app.Bind(&where); err != nil {
		return err
	}
	ask := func() error {
		name, err := where.Am(ctx)
		fmt.Println("answered by", name)
		return err
	}
	if err := ask(); err != nil {
		return err
	}
	fmt.Println("b stops")
	stopB()
	if err := ask(); err != nil {
		return err
	}
	stopA()

	fmt.Println("and a key that the extension does not have:")
	err = cfg.Set("consumer.loadbalancer", map[string]any{"use": "primary", "with": map[string]any{"oder": []string{b}}})
	if err != nil {
		return err
	}
	_, err = cfg.Open(ctx, primary.Register)
	fmt.Println(err)
	return nil
}

// provide serves w on a free port. stop is safe to call twice.
func provide(ctx context.Context, w Where) (address string, stop func(), err error) {
	cfg, err := bhrpc.Load("")
	if err != nil {
		return "", nil, err
	}
	for key, value := range map[string]string{"provider.listen": "127.0.0.1:0", "log.level": "error"} {
		if err := cfg.Set(key, value); err != nil {
			return "", nil, err
		}
	}
	app, err := cfg.Open(ctx)
	if err != nil {
		return "", nil, err
	}
	p, err := app.Provide(ctx, w)
	if err != nil {
		return "", nil, err
	}
	return p.Addr().String(), func() { _ = app.Close() }, nil
}
