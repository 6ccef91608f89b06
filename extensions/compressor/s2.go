package compressor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/klauspost/compress/s2"
)

// S2Config configures s2.
type S2Config struct {
	Level string `json:"level" doc:"fast, better or best"`
}

// Validate reports a level that there is not.
func (c S2Config) Validate() error {
	if s2Encoder(c.Level) == nil {
		return unknownLevel(c.Level, []string{"fast", "better", "best"})
	}
	return nil
}

// s2Encoder returns the function of a level, nil if there is no such level.
func s2Encoder(level string) func(dst, src []byte) []byte {
	switch level {
	case "fast":
		return s2.Encode
	case "better":
		return s2.EncodeBetter
	case "best":
		return s2.EncodeBest
	}
	return nil
}

func openS2(_ context.Context, _ spi.Env, cfg S2Config) (spi.Compressor, error) {
	return s2Compressor{encode: s2Encoder(cfg.Level), table: crc32.MakeTable(crc32.Castagnoli)}, nil
}

// s2Compressor writes the CRC-32C of a block, big-endian, and the block, which has
// no checksum of its own and can otherwise be damaged unnoticed.
type s2Compressor struct {
	encode func(dst, src []byte) []byte
	table  *crc32.Table
}

const s2Check = 4 // bytes of the checksum

func (c s2Compressor) Compress(dst, src []byte) ([]byte, error) {
	most := s2.MaxEncodedLen(len(src))
	if most < 0 {
		return nil, fmt.Errorf("compress s2: %d bytes are more than a block can hold", len(src))
	}
	out := room(dst, s2Check+most)
	begin := len(dst) + s2Check
	block := c.encode(out[begin:cap(out)], src)
	out = out[:begin+len(block)]
	binary.BigEndian.PutUint32(out[len(dst):], crc32.Checksum(block, c.table))
	return out, nil
}

func (c s2Compressor) Decompress(dst, src []byte, limit int) ([]byte, error) {
	fail := func(err error) error { return fmt.Errorf("decompress s2: %w: %w", errDamaged, err) }
	if len(src) < s2Check {
		return nil, fail(errors.New("it is too short"))
	}
	block := src[s2Check:]
	if binary.BigEndian.Uint32(src) != crc32.Checksum(block, c.table) {
		return nil, fail(errors.New("wrong checksum"))
	}
	size, err := s2.DecodedLen(block)
	switch {
	case err != nil:
		return nil, fail(err)
	case size > max(limit, 0):
		return nil, tooLarge("s2", uint64(size), limit)
	}
	out := room(dst, size)
	out = out[:len(dst)+size]
	if size == 0 { // the library writes nothing, and would check nothing
		if len(block) != 1 {
			return nil, fail(s2.ErrCorrupt)
		}
		return out, nil
	}
	if _, err := s2.Decode(out[len(dst):], block); err != nil {
		return nil, fail(err)
	}
	return out, nil
}
