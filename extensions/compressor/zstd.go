package compressor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/klauspost/compress/zstd"
)

// ZstdConfig configures zstd.
type ZstdConfig struct {
	Level string `json:"level" doc:"fastest, default, better or best"`
}

var zstdLevels = []string{"fastest", "default", "better", "best"}

// Validate reports a level that there is not.
func (c ZstdConfig) Validate() error {
	if !slices.Contains(zstdLevels, c.Level) {
		return unknownLevel(c.Level, zstdLevels)
	}
	return nil
}

// zstdWindow is how far back a repetition is found, in bytes. An encoder keeps twice
// as much; the library's own 8 MiB are for files.
const zstdWindow = 1 << 20

func openZstd(_ context.Context, _ spi.Env, cfg ZstdConfig) (spi.Compressor, error) {
	_, level := zstd.EncoderLevelFromString(cfg.Level) // it was validated
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true), zstd.WithSingleSegment(true))
	if err != nil {
		return nil, err
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, err
	}
	return &zstdCompressor{encoder, decoder}, nil
}

// zstdCompressor writes one Zstandard frame with its size and checksum. As many
// calls as there are processors run at once; more wait.
type zstdCompressor struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// Close implements [io.Closer].
func (c *zstdCompressor) Close() error {
	c.decoder.Close()
	return c.encoder.Close()
}

func (c *zstdCompressor) Compress(dst, src []byte) ([]byte, error) {
	return c.encoder.EncodeAll(src, dst), nil
}

func (c *zstdCompressor) Decompress(dst, src []byte, limit int) ([]byte, error) {
	size, err := zstdSize(src, limit)
	if errors.Is(err, spi.ErrTooLarge) {
		return nil, err
	}
	if err == nil {
		out := room(dst, size)
		space := out[len(dst) : len(dst) : len(dst)+size] // its capacity bounds DecodeAll
		var body []byte
		if body, err = c.decoder.DecodeAll(src, space); err == nil { // what was said, or it would be an error
			return out[:len(dst)+len(body)], nil
		}
	}
	return nil, fmt.Errorf("decompress zstd: %w: %w", errDamaged, err)
}

// zstdSize returns what the frame in src says that it holds.
func zstdSize(src []byte, limit int) (int, error) {
	var header zstd.Header
	if err := header.Decode(src); errors.Is(err, io.EOF) {
		return 0, io.ErrUnexpectedEOF
	} else if err != nil {
		return 0, err
	}
	if !header.HasFCS {
		return 0, errors.New("it does not say its size")
	}
	if header.FrameContentSize > uint64(max(limit, 0)) {
		return 0, tooLarge("zstd", header.FrameContentSize, limit)
	}
	return int(header.FrameContentSize), nil
}
