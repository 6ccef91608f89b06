package main

import (
	"log"

	zone "github.com/bhrpc/bhrpc/examples/plugin-zone"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

func main() {
	cat := spi.NewCatalog()
	if err := zone.Register(cat); err != nil {
		log.Fatal(err)
	}
	if err := plugins.Serve(cat); err != nil {
		log.Fatal(err)
	}
}
