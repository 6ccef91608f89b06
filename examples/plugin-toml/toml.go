package toml

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/pelletier/go-toml/v2"
)

// Config is what stands under `with:`. Start from [DefaultConfig].
type Config struct {
	MaxKeys int `json:"max_keys" doc:"keys of a document, those of its tables included; reading takes time in proportion to their square"`
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config { return Config{MaxKeys: 2000} }

// Validate refuses a bound that lets nothing through.
func (c *Config) Validate() error {
	if c.MaxKeys < 1 {
		return fmt.Errorf("max_keys: %d lets no document through; write 1 or more", c.MaxKeys)
	}
	return nil
}

// Register adds the serializer "toml" to a catalog.
func Register(cat *spi.Catalog) error {
	return spi.Register(cat.Serializers, "toml", "TOML 1.0, for people who read what is sent. Types and struct tags are those of encoding/json.", DefaultConfig(), open)
}

func open(_ context.Context, _ spi.Env, cfg Config) (spi.Serializer, error) {
	return serializer{cfg.MaxKeys}, nil
}

type serializer struct{ maxKeys int }

// Append implements [spi.Serializer].
func (s serializer) Append(dst []byte, v any) ([]byte, error) {
	document, err := json.Marshal(v)
	if err == nil {
		document, err = s.fromJSON(document)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %T as toml: %w", v, err)
	}
	return append(dst, document...), nil
}

// Decode implements [spi.Serializer]. What it reads into an any is what TOML holds:
// int64 and float64, and a json.Number for a number that is neither.
func (s serializer) Decode(data []byte, v any) error {
	tree, err := s.read(data)
	if err == nil {
		if target, ok := v.(*any); ok {
			*target = tree
			return nil
		}
		err = throughJSON(tree, v)
	}
	if err != nil {
		return fmt.Errorf("decode toml into %T: %w", v, err)
	}
	return nil
}

// throughJSON gives v the value of tree.
func throughJSON(tree, v any) error {
	document, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return json.Unmarshal(document, v)
}

// fromJSON writes a JSON document as TOML. Tables within are inline, so that one
// document after the other is never a third one.
func (s serializer) fromJSON(document []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber() // an int64 is not a float64
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return nil, err
	}
	c := converter{keys: s.maxKeys}
	table, err := c.wrap(tree)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = toml.NewEncoder(&out).SetTablesInline(true).Encode(table)
	return out.Bytes(), err
}

// read returns what a TOML document holds, as JSON has it.
func (s serializer) read(document []byte) (any, error) {
	if err := checkKeys(document, s.maxKeys); err != nil {
		return nil, err
	}
	var table map[string]any
	if err := toml.Unmarshal(document, &table); err != nil {
		return nil, err
	}
	return unwrap(table)
}
