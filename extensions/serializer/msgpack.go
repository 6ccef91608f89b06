package serializer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/vmihailenco/msgpack/v5"
)

func openMsgpack(context.Context, spi.Env, none) (spi.Serializer, error) {
	s := new(msgpackSerializer)
	s.writers.New = func() any { return &msgpackWriter{encoder: msgpack.NewEncoder(nil)} }
	s.readers.New = func() any { return &msgpackReader{decoder: msgpack.NewDecoder(nil)} }
	return s, nil
}

// msgpackSerializer is MessagePack by vmihailenco/msgpack, with json tags where a
// field has no msgpack tag.
type msgpackSerializer struct {
	writers sync.Pool // of *msgpackWriter
	readers sync.Pool // of *msgpackReader
}

func (s *msgpackSerializer) Append(dst []byte, v any) ([]byte, error) {
	w := s.writers.Get().(*msgpackWriter)
	err := w.encode(dst, v)
	if err != nil {
		if p := addressable(v); p != nil {
			err = w.encode(dst, p)
		}
	}
	out := w.appender
	w.appender = nil // it is the caller's
	s.writers.Put(w)
	if err != nil {
		return nil, fmt.Errorf("encode %T as msgpack: %w", v, err)
	}
	return out, nil
}

func (s *msgpackSerializer) Decode(data []byte, v any) error {
	r := s.readers.Get().(*msgpackReader)
	err := r.decode(data, v)
	if err != nil { // the decoder may have stopped anywhere, and is not used again
		return fmt.Errorf("decode msgpack into %T: %w", v, err)
	}
	r.data, r.at = nil, 0 // it is the caller's
	s.readers.Put(r)
	return nil
}

// msgpackWriter appends.
type msgpackWriter struct {
	appender
	encoder *msgpack.Encoder
}

// encode makes dst and v what the writer holds.
func (w *msgpackWriter) encode(dst []byte, v any) error {
	w.appender = dst
	w.encoder.Reset(w)
	w.encoder.SetCustomStructTag("json")
	w.encoder.UseCompactInts(true)
	return w.encoder.Encode(v)
}

// addressable returns a pointer to a copy of a struct or an array, nil for anything
// else. The library refuses values in them whose methods for encoding belong to the
// pointer, unless they can be pointed to.
func addressable(v any) any {
	given := reflect.ValueOf(v)
	if given.Kind() != reflect.Struct && given.Kind() != reflect.Array {
		return nil
	}
	p := reflect.New(given.Type())
	p.Elem().Set(given)
	return p.Interface()
}

// WriteByte implements [io.ByteWriter].
func (w *msgpackWriter) WriteByte(b byte) error {
	w.appender = append(w.appender, b)
	return nil
}

// msgpackReader reads data that was checked.
type msgpackReader struct {
	data    []byte
	at      int   // what comes next
	bodies  []int // where the content of an extension begins, rising
	decoder *msgpack.Decoder
}

// decode reads one value into v. The library panics where data does not fit a type
// in ways that it did not think of, such as a list as the key of a map.
func (r *msgpackReader) decode(data []byte, v any) (err error) {
	if r.bodies, err = checkMsgpack(data, r.bodies[:0]); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the data does not fit: %v", p)
		}
	}()
	r.data = data
	r.decoder.Reset(r)
	r.decoder.SetCustomStructTag("json")
	r.decoder.UseLooseInterfaceDecoding(true)
	if err := r.decoder.Decode(v); err != nil {
		return err
	}
	if r.at < len(r.data) {
		return errors.New("the data holds more than the type")
	}
	return nil
}

// errMsgpackExtension is for data that uses what only the library allows: a map
// inside an extension, which nobody has checked.
var errMsgpackExtension = errors.New("an extension stands where a value is wanted")

// ReadByte implements [io.ByteReader]. The decoder asks for a byte where a value
// begins and for many where a text, number or timestamp goes on.
func (r *msgpackReader) ReadByte() (byte, error) {
	for len(r.bodies) > 0 && r.bodies[0] <= r.at {
		if r.bodies[0] == r.at {
			return 0, errMsgpackExtension
		}
		r.bodies = r.bodies[1:]
	}
	if r.at >= len(r.data) {
		return 0, io.ErrUnexpectedEOF
	}
	r.at++
	return r.data[r.at-1], nil
}

// UnreadByte implements [io.ByteScanner].
func (r *msgpackReader) UnreadByte() error {
	r.at--
	return nil
}

// Read implements [io.Reader].
func (r *msgpackReader) Read(p []byte) (int, error) {
	if r.at >= len(r.data) && len(p) > 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, r.data[r.at:])
	r.at += n
	return n, nil
}
