package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// Shop is the service that every provider offers.
type Shop struct{ zone string }

// Order is what a customer wants.
type Order struct {
	Name string `json:"name"`
	Cups int    `json:"cups"`
}

// Buy returns what was bought, and in which zone.
func (s Shop) Buy(o Order) (string, error) { return o.Name + " from " + s.zone, nil }

// Refund gives money back.
func (s Shop) Refund(o Order) (string, error) { return "money for " + o.Name, nil }

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "bhrpc")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // a plugin's path holds no links
	}
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("--- four plugins, each a module of its own")
	if err := build(dir); err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := write("provider.yaml", providerFile, addresses{}); err != nil {
		return err
	}
	eu, err := provide(ctx, "eu1", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, eu.Close()) }()
	us, err := provide(ctx, "us1", time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, us.Close()) }()
	if err := write("consumer.yaml", consumerFile, addresses{dir, eu.Addr(), us.Addr()}); err != nil {
		return err
	}
	return errors.Join(consume(ctx, eu, us), audited("audit.jsonl"))
}

// place is a provider, and the way there.
type place struct {
	*relay
	app *bhrpc.App
}

// Close ends the provider.
func (p place) Close() error { return errors.Join(p.relay.Close(), p.app.Close()) }

// provide serves a shop that is delay away.
func provide(ctx context.Context, zone string, delay time.Duration) (place, error) {
	app, err := bhrpc.Open(ctx, "provider.yaml", plugins.Loader)
	if err != nil {
		return place{}, err
	}
	p, err := app.Provide(ctx, Shop{zone})
	if err != nil {
		return place{}, errors.Join(err, app.Close())
	}
	r, err := newRelay(p.Addr().String(), delay)
	if err != nil {
		return place{}, errors.Join(err, app.Close())
	}
	return place{r, app}, nil
}

// consume opens the consumer's file and shows what each plugin does.
func consume(ctx context.Context, eu, us place) (err error) {
	cfg, err := bhrpc.Load("consumer.yaml")
	if err != nil {
		return err
	}
	connected, lost := make(chan string, 100), make(chan core.Disconnected, 100) // from the observer, which is told far less
	cfg.Observers = []*core.Observer{{
		Connected:    func(c core.Connected) { connected <- c.Peer },
		Disconnected: func(d core.Disconnected) { lost <- d },
	}}
	app, err := cfg.Open(ctx, plugins.Loader) // the one line that lets the file name plugins
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()

	fmt.Println("--- consumer.yaml chooses them")
	if err := app.Explain(os.Stdout); err != nil {
		return err
	}

	fmt.Println("--- loadbalancer zone-aware: calls stay in eu1; us1 is 2s away")
	if err := buy(ctx, app, 1); err != nil { // and begin to connect
		return err
	}
	for range 2 {
		<-connected
	}
	if err := buy(ctx, app, 100); err != nil {
		return err
	}

	fmt.Println("--- serializer toml: what a call's argument is on the wire")
	fmt.Print(eu.lastDocument())

	fmt.Println("--- proxy audit: a rule refuses")
	for _, role := range []string{"guest", "admin"} {
		answer, err := bhrpc.Call[string](spi.WithMetadata(ctx, "role", role), app, "Shop.Refund", Order{"tea", 2})
		var refused *spi.Error
		if errors.As(err, &refused) {
			answer = refused.Code.String() + ", " + refused.Message
		} else if err != nil {
			return err
		}
		fmt.Printf("%s: %s\n", role, answer)
	}

	fmt.Println("--- heartbeat adaptive: a PING every 300ms, and it has learnt that answers from us1 take 2s")
	time.Sleep(3 * time.Second) // three-strike would have given us1 up
	fmt.Println("connections lost:", len(lost))
	eu.fallSilent()
	fmt.Println("eu1 falls silent")
	for d := range lost {
		if d.Peer == eu.Addr() {
			fmt.Printf("eu1 is dead: %d strikes, %s\n", d.Strikes, d.Reason)
			break
		}
	}
	if err := buy(ctx, app, 2); err != nil {
		return err
	}

	fmt.Println("--- the plugins")
	for _, p := range app.Plugins() {
		fmt.Printf("%-10s%s, generation %d, %s %s\n", p.Name, p.State, p.Generation, p.Extensions[0].Kind, p.Extensions[0].Name)
	}
	return nil
}

// buy makes calls and counts the answers.
func buy(ctx context.Context, app *bhrpc.App, calls int) error {
	found := make(map[string]int)
	for range calls {
		answer, err := bhrpc.Call[string](ctx, app, "Shop.Buy", Order{"tea", 2})
		if err != nil {
			return err
		}
		found[answer]++
	}
	for _, answer := range slices.Sorted(maps.Keys(found)) {
		fmt.Printf("%3d x %s\n", found[answer], answer)
	}
	return nil
}

// audited prints how many lines there are, and those of refunds.
func audited(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	fmt.Println("--- proxy audit: its file")
	var all int
	lines := bufio.NewScanner(file)
	for ; lines.Scan(); all++ {
		if strings.Contains(lines.Text(), "Refund") {
			fmt.Println(lines.Text())
		}
	}
	fmt.Printf("and %d lines of Buy\n", all-2)
	return lines.Err()
}
