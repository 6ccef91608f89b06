package registry

import "github.com/bhrpc/bhrpc/spi"

// Register adds the built-in registries to the catalog. The errors are those of
// [spi.Register].
func Register(cat *spi.Catalog) error {
	return spi.Register(cat.Registries, "static", "Finds services at addresses that the configuration lists. Providers cannot announce themselves.", StaticConfig{}, openStatic)
}
