package all

import (
	"github.com/bhrpc/bhrpc/extensions/serializer/protobuf"
	"github.com/bhrpc/bhrpc/spi"
)

// Extensions adds everything to the catalog that package extensions, whose light
// built-ins are always there, leaves to the program. The errors are those of
// [spi.Register].
func Extensions(cat *spi.Catalog) error {
	return protobuf.Register(cat)
}
