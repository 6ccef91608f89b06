package compressor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/klauspost/compress/gzip"
)

// GzipConfig configures gzip.
type GzipConfig struct {
	Level int `json:"level" doc:"from 1, fastest, to 9, smallest"`
}

// Validate reports a level that there is not.
func (c GzipConfig) Validate() error {
	if c.Level < gzip.BestSpeed || c.Level > gzip.BestCompression {
		return fmt.Errorf("level: %d is not between %d and %d", c.Level, gzip.BestSpeed, gzip.BestCompression)
	}
	return nil
}

func openGzip(_ context.Context, _ spi.Env, cfg GzipConfig) (spi.Compressor, error) {
	c := new(gzipCompressor)
	c.writers.New = func() any {
		w, _ := gzip.NewWriterLevel(nil, cfg.Level) // the level was validated
		return &gzipWriter{Writer: w}
	}
	c.readers.New = func() any { return new(gzipReader) }
	return c, nil
}

// gzipCompressor writes one gzip member.
type gzipCompressor struct {
	writers sync.Pool // of *gzipWriter
	readers sync.Pool // of *gzipReader
}

// gzipWriter appends what it compresses to out.
type gzipWriter struct {
	*gzip.Writer
	out appender
}

// appender is a writer that appends.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func (c *gzipCompressor) Compress(dst, src []byte) ([]byte, error) {
	w := c.writers.Get().(*gzipWriter)
	defer c.writers.Put(w)
	w.out = dst
	w.Reset(&w.out)
	_, err := w.Write(src)
	err = errors.Join(err, w.Close())
	out := w.out
	w.out = nil // it is the caller's
	if err != nil {
		return nil, fmt.Errorf("compress gzip: %w", err)
	}
	return out, nil
}

const (
	gzipLeast = 18   // bytes of a member without content
	gzipRatio = 1032 // deflate makes at most so many bytes of one
)

func (c *gzipCompressor) Decompress(dst, src []byte, limit int) ([]byte, error) {
	r := c.readers.Get().(*gzipReader)
	out, err := r.decompress(dst, src, limit)
	r.src.Reset(nil) // it is the caller's
	c.readers.Put(r)
	if err != nil && !errors.Is(err, spi.ErrTooLarge) {
		err = fmt.Errorf("decompress gzip: %w: %w", errDamaged, err)
	}
	return out, err
}

// gzipReader decompresses src.
type gzipReader struct {
	src bytes.Reader
	gzip.Reader
	extra [1]byte
}

// decompress believes the size at the end of src, because gzip itself compares it in
// the end: if it lies, the data is damaged whatever it holds.
func (r *gzipReader) decompress(dst, src []byte, limit int) ([]byte, error) {
	r.src.Reset(src)
	if err := r.Reset(&r.src); err != nil {
		return nil, err
	}
	r.Multistream(false)
	if len(src) < gzipLeast {
		return nil, io.ErrUnexpectedEOF
	}
	size := uint64(binary.LittleEndian.Uint32(src[len(src)-4:]))
	switch {
	case size > gzipRatio*uint64(len(src)):
		return nil, errors.New("it says that it is larger than it can be")
	case size > uint64(max(limit, 0)):
		return nil, tooLarge("gzip", size, limit)
	}
	out := room(dst, int(size))
	out = out[:len(dst)+int(size)]
	if _, err := io.ReadFull(r, out[len(dst):]); err != nil {
		return nil, err
	}
	switch _, err := io.ReadFull(r, r.extra[:]); { // what is left is the checksum
	case err == nil:
		return nil, errors.New("it is larger than it says")
	case err != io.EOF:
		return nil, err
	case r.src.Len() > 0:
		return nil, errors.New("something follows")
	}
	return out, nil
}
