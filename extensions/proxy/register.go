package proxy

import (
	"errors"

	"github.com/bhrpc/bhrpc/spi"
)

// none is the configuration of an extension that takes none.
type none struct{}

// Register adds the built-in proxies to the catalog. The errors are those of
// [spi.Register].
func Register(cat *spi.Catalog) error {
	p := cat.Proxies
	return errors.Join(
		spi.Register(p, "reflect", "Fills a struct of func fields; struct tags name service, method and timeout, and mark what is idempotent.", none{}, openStruct),
		p.Alias("reflect", "jdk"),
		spi.Register(p, "dynamic", "Calls by name of service and method, with arguments as values or JSON.", none{}, openDynamic),
	)
}
