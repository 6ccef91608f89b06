// Package compressor holds the built-in compressors:
//
//   - gzip: smallest common ground with other languages.
//   - zstd: smaller and faster than gzip.
//   - s2: fastest, for networks that are nearly as fast as the processor.
//
// Each works within the call that uses it: no goroutine, no stream. What they keep
// between calls belongs to the opened extension. docs/compressors.md has their
// formats and compares them.
//
// Only package extensions imports this one.
package compressor
