//go:build !linux

package plugins

import "github.com/bhrpc/bhrpc/spi"

// usage is not known here.
func usage(int) (rss spi.Size, cpu spi.Duration, files int) { return 0, 0, 0 }
