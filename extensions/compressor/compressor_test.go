package compressor_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/compressor"
	"github.com/bhrpc/bhrpc/spi"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a compressor with configuration in JSON, "" for none.
func open(t testing.TB, name, with string) spi.Compressor {
	t.Helper()
	c, err := tryOpen(t, name, with)
	if err != nil {
		t.Fatal(err)
	}
	if closer, ok := c.(io.Closer); ok {
		t.Cleanup(func() {
			if err := closer.Close(); err != nil {
				t.Errorf("Close: got %v, want no error", err)
			}
		})
	}
	return c
}

func tryOpen(t testing.TB, name, with string) (spi.Compressor, error) {
	t.Helper()
	cat := spi.NewCatalog()
	if err := compressor.Register(cat); err != nil {
		t.Fatal(err)
	}
	return cat.Compressors.Open(context.Background(), spi.Env{}, spi.Ref{Use: name, With: spi.Raw{JSON: []byte(with)}})
}

// What one level writes another reads.
func TestLevels(t *testing.T) {
	for name, levels := range map[string][]string{"gzip": {"1", "9"}, "zstd": {`"fastest"`, `"better"`, `"best"`}, "s2": {`"better"`, `"best"`}} {
		usual := open(t, name, "")
		for _, level := range levels {
			t.Run(name+" "+strings.Trim(level, `"`), func(t *testing.T) {
				c := open(t, name, `{"level":`+level+`}`)
				body := bytes.Repeat([]byte("some text, "), 1000)
				data, err := c.Compress(nil, body)
				if err != nil {
					t.Fatal(err)
				}
				if back, err := usual.Decompress(nil, data, len(body)); err != nil || !bytes.Equal(back, body) {
					t.Errorf("Decompress by the usual level: got %d bytes, error %v, want %d", len(back), err, len(body))
				}
			})
		}
	}
}

func TestUnknownLevels(t *testing.T) {
	for _, tt := range []struct{ name, with, want string }{
		{"gzip", `{"level":0}`, "level: 0 is not between 1 and 9"},
		{"gzip", `{"level":10}`, "level: 10 is not between 1 and 9"},
		{"zstd", `{"level":"fast"}`, "level: unknown value \"fast\"\n  known: fastest, default, better, best"},
		{"s2", `{"level":"bets"}`, "level: unknown value \"bets\"; did you mean \"best\"?\n  known: fast, better, best"},
		{"s2", `{"level":""}`, "level: unknown value \"\"\n  known: fast, better, best"},
	} {
		t.Run(tt.name+" "+tt.with, func(t *testing.T) {
			if _, err := tryOpen(t, tt.name, tt.with); !errors.Is(err, spi.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

// What other programs may send that is not what these compressors write.
func TestForeignData(t *testing.T) {
	crc := func(block string) string {
		return string(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(block), crc32.MakeTable(crc32.Castagnoli)))) + block
	}
	member := func(t *testing.T, body string) string {
		data, err := open(t, "gzip", "").Compress(nil, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	zeros := member(t, strings.Repeat("\x00", 100_000))
	for _, tt := range []struct {
		name, use, data, want string
	}{
		{"nothing", "gzip", "", "EOF"},
		{"no gzip", "gzip", "hello, world, hello", "invalid header"},
		{"two members", "gzip", member(t, "ab") + member(t, "cd"), "something follows"},
		{"a member that says less", "gzip", zeros[:len(zeros)-4] + "\x10\x00\x00\x00", "larger than it says"},
		{"a member that says more", "gzip", zeros[:len(zeros)-4] + "\xff\xff\x01\x00", "checksum"},
		{"a member that says the impossible", "gzip", zeros[:len(zeros)-4] + "\xff\xff\xff\x00", "larger than it can be"},
		{"a frame without its size", "zstd", "\x28\xb5\x2f\xfd\x00\x58\x19\x00\x00abc", "does not say its size"},
		{"a frame to skip", "zstd", "\x50\x2a\x4d\x18\x01\x00\x00\x00x", "does not say its size"},
		{"a frame that says more", "zstd", "\x28\xb5\x2f\xfd\x20\x09\x19\x00\x00abc", "does not match"},
		{"a frame that says less", "zstd", "\x28\xb5\x2f\xfd\x20\x01\x19\x00\x00abc", ""},
		{"two frames", "zstd", strings.Repeat("\x28\xb5\x2f\xfd\x20\x03\x19\x00\x00abc", 2), "exceed"},
		{"an empty frame and another", "zstd", "\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00\x28\xb5\x2f\xfd\x20\x03\x19\x00\x00abc", "exceed"},
		{"a frame and one to skip", "zstd", "\x28\xb5\x2f\xfd\x20\x03\x19\x00\x00abc\x50\x2a\x4d\x18\x01\x00\x00\x00x", ""},
		{"a dictionary", "zstd", "\x28\xb5\x2f\xfd\x21\x07\x03\x19\x00\x00abc", "dict"},
		{"a block without its checksum", "s2", "\x03\x08abc", "checksum"},
		{"a block that says more", "s2", crc("\x09\x08abc"), "corrupt"},
		{"a block that says less", "s2", crc("\x01\x08abc"), "corrupt"},
		{"an empty block and more", "s2", crc("\x00\x08abc"), "corrupt"},
		{"a size of five bytes and more", "s2", crc("\xff\xff\xff\xff\xff\x01"), "corrupt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := open(t, tt.use, "").Decompress(nil, []byte(tt.data), 1<<20)
			if tt.name == "a frame and one to skip" { // part of the format
				if err != nil || string(out) != "abc" {
					t.Errorf("got %q, error %v, want abc", out, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "decompress "+tt.use+": damaged data: ") || errors.Is(err, spi.ErrTooLarge) {
				t.Errorf("got %q, error %v, want one with %q", out, err, tt.want)
			}
		})
	}
}

// The formats of docs/compressors.md.
func TestFormats(t *testing.T) {
	for use, data := range map[string]string{
		"zstd": "\x28\xb5\x2f\xfd\x20\x03\x19\x00\x00abc",
		"s2":   "\xad\x2a\x39\xea\x03\x08abc",
		"gzip": "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x4b\x4c\x4a\x06\x00\xc2\x41\x24\x35\x03\x00\x00\x00",
	} {
		if out, err := open(t, use, "").Decompress(nil, []byte(data), 3); err != nil || string(out) != "abc" {
			t.Errorf("%s: got %q, error %v, want abc", use, out, err)
		}
	}
}

func TestNegativeLimit(t *testing.T) {
	for _, use := range []string{"gzip", "zstd", "s2"} {
		c := open(t, use, "")
		data, err := c.Compress(nil, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := c.Decompress(nil, data, -1); !errors.Is(err, spi.ErrTooLarge) {
			t.Errorf("%s: got %q, error %v, want ErrTooLarge", use, out, err)
		}
	}
}

// FuzzDecompress decompresses whatever it is given: no panic, never more than the
// limit, and what came out goes in again.
func FuzzDecompress(f *testing.F) {
	names := []string{"gzip", "zstd", "s2"}
	var all []spi.Compressor
	random := make([]byte, 300)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for i, name := range names {
		c := open(f, name, "")
		all = append(all, c)
		for _, body := range [][]byte{nil, []byte("a"), random, bytes.Repeat([]byte("abc"), 1000), make([]byte, 200_000)} {
			data, err := c.Compress(nil, body)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), data, uint32(len(body)))
			f.Add(uint8(i), data, uint32(len(body)/2))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte, most uint32) {
		if name := names[int(which)%len(names)]; name == "s2" && len(data) > 4 && which >= 128 { // with a checksum that fits
			data = slices.Concat(binary.BigEndian.AppendUint32(nil, crc32.Checksum(data[4:], crc32.MakeTable(crc32.Castagnoli))), data[4:])
		}
		c, limit := all[int(which)%len(all)], int(most%(1<<22))
		given, prefix := bytes.Clone(data), []byte("prefix")
		out, err := c.Decompress(slices.Clip(bytes.Clone(prefix)), given, limit)
		if !bytes.Equal(given, data) {
			t.Errorf("src after Decompress: got %x, want %x", given, data)
		}
		if err != nil {
			return
		}
		if !bytes.HasPrefix(out, prefix) || len(out)-len(prefix) > limit || cap(out) > 2*(len(prefix)+limit)+4096 {
			t.Fatalf("Decompress(%x, %d): got %.40q with %d bytes and capacity %d", data, limit, out, len(out), cap(out))
		}
		body := out[len(prefix):]
		again, err := c.Compress(nil, body)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := c.Decompress(nil, again, len(body)); err != nil || !bytes.Equal(back, body) {
			t.Errorf("round trip of %.40q: got %.40q, error %v", body, back, err)
		}
	})
}
