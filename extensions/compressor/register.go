package compressor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// Register adds the built-in compressors to the catalog. The errors are those of
// [spi.Register].
func Register(cat *spi.Catalog) error {
	p := cat.Compressors
	return errors.Join(
		spi.Register(p, "gzip", "gzip (RFC 1952), which every language has.", GzipConfig{Level: 6}, openGzip),
		spi.Register(p, "zstd", "Zstandard (RFC 8878): smaller than gzip, and faster both ways.", ZstdConfig{Level: "default"}, openZstd),
		spi.Register(p, "s2", "S2, a faster Snappy, with a checksum: the least work for the processor, and the largest result.", S2Config{Level: "fast"}, openS2),
	)
}

// errDamaged is in the error of Decompress for data that no compressor wrote.
var errDamaged = errors.New("damaged data")

// room returns dst with space for n more bytes, and not more than is needed.
func room(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	return append(make([]byte, 0, len(dst)+n), dst...)
}

// tooLarge is the error for a body of a declared size.
func tooLarge(format string, size uint64, limit int) error {
	return fmt.Errorf("decompress %s: %d bytes are %w of %d", format, size, spi.ErrTooLarge, limit)
}

// unknownLevel is the error for a level that is none of known.
func unknownLevel(level string, known []string) error {
	hint := ""
	if near := spi.Nearest(level, known); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	return fmt.Errorf("level: unknown value %q%s\n  known: %s", level, hint, strings.Join(known, ", "))
}
