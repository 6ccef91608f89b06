package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// Shop is the service that every provider offers.
type Shop struct{ name string }

// Item is what a shop sells.
type Item struct {
	Name  string
	Price int // cents
}

// Find returns an item, and in its name which provider found it.
func (s Shop) Find(name string) (Item, error) {
	return Item{Name: name + " from " + s.name, Price: 250}, nil
}

// Count takes its time.
func (s Shop) Count(ctx context.Context) (int, error) {
	select {
	case <-time.After(time.Second):
		return 42, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// The files live beside the program; they are embedded so that it runs from any
// directory.
//
//go:embed *.yaml
var files embed.FS

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	var addresses []string
	for _, name := range []string{"a", "b"} {
		address, stop, err := provide(ctx, Shop{name})
		if err != nil {
			log.Fatal(err)
		}
		defer stop()
		addresses = append(addresses, address)
	}
	dir, err := os.MkdirTemp("", "bhrpc-config")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := errors.Join(os.CopyFS(dir, files), os.Chdir(dir)); err != nil {
		log.Fatal(err)
	}
	for _, file := range []string{"defaults.yaml", "gob-round-robin.yaml", "impatient.yaml"} {
		fmt.Printf("--- %s\n", file)
		if err := use(ctx, file, addresses); err != nil {
			log.Fatal(err)
		}
	}
}

// provide serves a shop on a free port.
func provide(ctx context.Context, shop Shop) (address string, stop func(), err error) {
	cfg, err := bhrpc.Load("")
	if err != nil {
		return "", nil, err
	}
	for key, value := range map[string]string{"provider.listen": "127.0.0.1:0", "log.level": "warn"} {
		if err := cfg.Set(key, value); err != nil {
			return "", nil, err
		}
	}
	app, err := cfg.Open(ctx)
	if err != nil {
		return "", nil, err
	}
	p, err := app.Provide(ctx, shop)
	if err != nil {
		return "", nil, err
	}
	return p.Addr().String(), func() { _ = app.Close() }, nil
}

// use makes the same calls under one configuration file. The addresses are not
// known when the file is written here, so the program adds them.
func use(ctx context.Context, file string, addresses []string) error {
	cfg, err := bhrpc.Load(file)
	if err != nil {
		return err
	}
	if err := cfg.Set("consumer.addresses", addresses); err != nil {
		return err
	}
	app, err := cfg.Open(ctx)
	if err != nil {
		return err
	}
	defer app.Close()

	if err := app.Explain(os.Stdout); err != nil {
		return err
	}
	found := make(map[string]int)
	for range 100 {
		item, err := bhrpc.Call[Item](ctx, app, "Shop.Find", "tea")
		if err != nil {
			return err
		}
		found[item.Name]++
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		fmt.Printf("%3d x %s\n", found[name], name)
	}
	n, err := bhrpc.Call[int](ctx, app, "Shop.Count")
	if err != nil {
		fmt.Println("Count:", spi.CodeOf(err))
	} else {
		fmt.Println("Count:", n)
	}
	return nil
}
