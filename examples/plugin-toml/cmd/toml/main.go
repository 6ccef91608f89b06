package main

import (
	"log"

	toml "github.com/bhrpc/bhrpc/examples/plugin-toml"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

func main() {
	cat := spi.NewCatalog()
	if err := toml.Register(cat); err != nil {
		log.Fatal(err)
	}
	if err := plugins.Serve(cat); err != nil {
		log.Fatal(err)
	}
}
