package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync/atomic"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
)

// Hello is the service.
type Hello struct{}

// Say greets.
func (Hello) Say(ctx context.Context, name string) (string, error) { return "hello, " + name, nil }

// One command starts both processes: it runs itself again in each role.
func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch role := os.Getenv("HEARTBEAT_ROLE"); role {
	case "provider":
		err = provide(ctx)
	case "consumer":
		err = consume(ctx, os.Getenv("HEARTBEAT_PROVIDER"))
	default:
		err = both()
	}
	if err != nil {
		log.Fatal(err)
	}
}

// provide serves Hello on a free port until it is interrupted.
func provide(ctx context.Context) error {
	cfg, err := configure(map[string]any{"provider.listen": "127.0.0.1:0", "provider.heartbeat": often})
	if err != nil {
		return err
	}
	app, err := cfg.Open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(app.Serve(ctx, Hello{}), app.Close())
}

// consume calls the provider, stays connected until it is interrupted, and calls
// again.
func consume(ctx context.Context, address string) error {
	cfg, err := configure(map[string]any{"consumer.addresses": []string{address}, "consumer.heartbeat": often})
	if err != nil {
		return err
	}
	var reconnects atomic.Int32
	cfg.Observers = []*core.Observer{{Reconnected: func(core.Reconnected) { reconnects.Add(1) }}}
	app, err := cfg.Open(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"world", "again"} {
		greeting, err := bhrpc.Call[string](context.Background(), app, "Hello.Say", name)
		if err != nil {
			return errors.Join(err, app.Close())
		}
		fmt.Println(greeting)
		<-ctx.Done()
	}
	err = app.Close()
	fmt.Println("reconnects:", reconnects.Load())
	return err
}

// often is a heartbeat for those who do not want to wait: the default is 5s, and 10s at
// a provider.
var often = map[string]any{"use": "three-strike", "with": map[string]any{"interval": "300ms"}}

func configure(keys map[string]any) (*bhrpc.Config, error) {
	cfg, err := bhrpc.Load("")
	if err != nil {
		return nil, err
	}
	errs := []error{cfg.Set("control", "off")}
	for key, value := range keys {
		errs = append(errs, cfg.Set(key, value))
	}
	return cfg, errors.Join(errs...)
}
