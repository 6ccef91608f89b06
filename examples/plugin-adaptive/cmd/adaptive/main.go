package main

import (
	"log"

	adaptive "github.com/bhrpc/bhrpc/examples/plugin-adaptive"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

func main() {
	cat := spi.NewCatalog()
	if err := adaptive.Register(cat); err != nil {
		log.Fatal(err)
	}
	if err := plugins.Serve(cat); err != nil {
		log.Fatal(err)
	}
}
