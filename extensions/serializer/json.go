package serializer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bhrpc/bhrpc/spi"
	jsoniter "github.com/json-iterator/go"
)

func openJSON(context.Context, spi.Env, none) (spi.Serializer, error) {
	// jsoniter.ConfigCompatibleWithStandardLibrary, as a value of our own because
	// registering an extension changes it, and without its check of raw messages,
	// which corrections replaces.
	api := jsoniter.Config{EscapeHTML: true, SortMapKeys: true}.Froze()
	api.RegisterExtension(&corrections{})
	return iteratorJSON{api}, nil
}

// iteratorJSON is JSON by json-iterator, with its dangerous faults corrected.
type iteratorJSON struct{ api jsoniter.API }

func (s iteratorJSON) Append(dst []byte, v any) ([]byte, error) {
	stream := s.api.BorrowStream(nil)
	own := stream.Buffer()
	stream.SetBuffer(dst) // so that the encoding is written where it belongs
	stream.WriteVal(v)
	out, err := stream.Buffer(), stream.Error
	if n, ok := stream.Attachment.(*nesting); ok && n.exceeded {
		err = errNesting
	}
	stream.SetBuffer(own)
	s.api.ReturnStream(stream)
	if err != nil {
		return nil, fmt.Errorf("encode %T as json: %w", v, shorten(err))
	}
	return out, nil
}

func (s iteratorJSON) Decode(data []byte, v any) error {
	iter := s.api.BorrowIterator(data)
	iter.ReadVal(v)
	if iter.Error == nil {
		iter.WhatIsNext() // sets io.EOF if nothing is
	}
	switch iter.Error {
	case io.EOF:
		iter.Error = nil
	case nil:
		iter.ReportError("decode", "something follows the value")
	}
	err := iter.Error
	n, _ := iter.Attachment.(*nesting)
	iter.ResetBytes(nil) // data is the caller's
	s.api.ReturnIterator(iter)
	switch {
	case err != nil:
		return fmt.Errorf("decode json into %T: %w", v, shorten(err))
	case n != nil && n.wide && beyondUint64(data):
		return json.Unmarshal(data, v)
	}
	return nil
}

// longest is how much of json-iterator's error is kept, in bytes. It names every
// level of nesting from the outside in; the cause is at the end.
const longest = 400

func shorten(err error) error {
	text := err.Error()
	if len(text) <= longest {
		return err
	}
	return errors.New("… " + text[len(text)-longest:])
}
