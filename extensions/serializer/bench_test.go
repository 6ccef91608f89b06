package serializer_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// A message of the size of the benchmark's, 34 fields.
type message struct {
	F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11, F12 string
	I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12 int64
	B1, B2, B3, B4, B5, B6, B7, B8, B9, B10           bool
}

func newMessage() *message {
	m := &message{}
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(strings.Repeat("x", i+1))
		case reflect.Int64:
			f.SetInt(int64(i) * 1e9)
		}
	}
	return m
}

func BenchmarkAppend(b *testing.B) {
	m, dst := newMessage(), make([]byte, 0, 4096)
	for name, s := range map[string]spi.Serializer{"json": iterator, "json-std": standard, "gob": gobs} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Append(dst, m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, s := range map[string]spi.Serializer{"json": iterator, "json-std": standard, "gob": gobs} {
		data, err := s.Append(nil, newMessage())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				var m message
				if err := s.Decode(data, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
