package plugins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"google.golang.org/grpc"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// serializers lets a host use the serializers of a catalog.
type serializers struct {
	pluginv1.UnimplementedSerializerServer
	shelf *shelf[spi.Serializer]
}

// Transcode answers each blob until the host ends the stream.
func (s *serializers) Transcode(stream grpc.BidiStreamingServer[pluginv1.Blob, pluginv1.Blob]) error {
	var serializer spi.Serializer
	for {
		blob, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && serializer == nil {
			serializer, err = s.shelf.open(stream.Context(), blob.GetName(), blob.GetWith(), "")
		}
		if err != nil {
			return err
		}
		answer := &pluginv1.Blob{Generation: blob.GetGeneration(), Number: blob.GetNumber()}
		switch blob.GetDirection() {
		case pluginv1.Blob_ENCODE:
			answer.Data, err = fromNeutral(serializer, blob.GetData())
		case pluginv1.Blob_DECODE:
			answer.Data, err = toNeutral(serializer, blob.GetData())
		default:
			err = fmt.Errorf("direction %v is unknown", blob.GetDirection())
		}
		if err != nil {
			answer.Error = text(err.Error())
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// fromNeutral encodes a neutral document.
func fromNeutral(s spi.Serializer, document []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("neutral document: %w", err)
	}
	v, err := numbers(v)
	if err != nil {
		return nil, fmt.Errorf("neutral document: %w", err)
	}
	return s.Append(nil, v)
}

// toNeutral decodes data into a neutral document.
func toNeutral(s spi.Serializer, data []byte) ([]byte, error) {
	var v any
	if err := s.Decode(data, &v); err != nil {
		return nil, err
	}
	document, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("what was decoded has no neutral form: %w", err)
	}
	return document, nil
}

// numbers replaces every json.Number within v, in place, by what [number] makes of
// it.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for key := range v {
			if v[key], err = numbers(v[key]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// number returns an int64 for an integer that fits, or else a uint64, and a float64
// for every other number, minus zero included. Large floats are written without an
// exponent; an integer that is none of them is an error.
func number(text string) (any, error) {
	integer := !strings.ContainsAny(text, ".eE")
	if integer && text != "-0" {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			return n, nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the number %.50s does not fit in a float64", text)
	case integer && strconv.FormatFloat(f, 'f', -1, 64) != text:
		return nil, fmt.Errorf("the integer %.50s does not fit in 64 bits", text)
	}
	return f, nil
}
