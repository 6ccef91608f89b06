package spi

import "errors"

// ErrTooLarge is a body that would be larger than its limit.
var ErrTooLarge = errors.New("larger than the limit")

// Compressor makes the bodies of requests and answers smaller on their way. It is
// safe for concurrent use.
type Compressor interface {
	// Compress appends the compressed form of src to dst and returns the extended
	// slice. It neither keeps nor modifies src. An error leaves the body as it is.
	Compress(dst, src []byte) ([]byte, error)

	// Decompress appends what src was made of to dst and returns the extended slice.
	// It neither keeps nor modifies src, which may come from anybody: more than limit
	// bytes are [ErrTooLarge], damaged data is another error, and neither costs memory
	// beyond the limit. Who calls it tries a small limit first, and larger ones after
	// ErrTooLarge: where the data says its size, that is best looked at before any work.
	Decompress(dst, src []byte, limit int) ([]byte, error)
}
