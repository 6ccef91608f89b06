package serializer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bhrpc/bhrpc/spi"
)

func openStandardJSON(context.Context, spi.Env, none) (spi.Serializer, error) {
	return standardJSON{}, nil
}

// standardJSON is JSON by encoding/json.
type standardJSON struct{}

func (standardJSON) Append(dst []byte, v any) ([]byte, error) {
	out := appender(dst)
	if err := json.NewEncoder(&out).Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T as json: %w", v, err)
	}
	return out[:len(out)-1], nil // without the newline that Encode adds
}

func (standardJSON) Decode(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode json into %T: %w", v, err)
	}
	return nil
}

// appender is a writer that appends.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}
