package main

import (
	"log"

	audit "github.com/bhrpc/bhrpc/examples/plugin-audit"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

func main() {
	cat := spi.NewCatalog()
	if err := audit.Register(cat); err != nil {
		log.Fatal(err)
	}
	if err := plugins.Serve(cat); err != nil {
		log.Fatal(err)
	}
}
