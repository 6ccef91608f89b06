package config

import (
	"strconv"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// raw turns the configuration of an extension into JSON.
func (r reader) raw(n *yaml.Node, key string) spi.Raw {
	switch {
	case isEmpty(n):
		return spi.Raw{}
	case n.Kind != yaml.MappingNode:
		r.wrong(n, key, "keys and values")
		return spi.Raw{}
	}
	raw := spi.Raw{At: make(map[string]spi.Pos)}
	r.appendJSON(&raw, n, key, "")
	return raw
}

// appendJSON appends n, which stands at the dotted path below key, to raw.
func (r reader) appendJSON(raw *spi.Raw, n *yaml.Node, key, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		raw.JSON = append(raw.JSON, '{')
		for i := 0; i < len(n.Content); i += 2 {
			if i > 0 {
				raw.JSON = append(raw.JSON, ',')
			}
			name := n.Content[i]
			raw.JSON = append(append(raw.JSON, quote(name.Value)...), ':')
			inner := join(path, name.Value)
			raw.At[inner] = r.src.at(name)
			r.appendJSON(raw, n.Content[i+1], key, inner)
		}
		raw.JSON = append(raw.JSON, '}')
	case yaml.SequenceNode:
		raw.JSON = append(raw.JSON, '[')
		for i, item := range n.Content {
			if i > 0 {
				raw.JSON = append(raw.JSON, ',')
			}
			inner := join(path, strconv.Itoa(i))
			raw.At[inner] = r.src.at(item)
			r.appendJSON(raw, item, key, inner)
		}
		raw.JSON = append(raw.JSON, ']')
	default:
		_, text := resolve(n)
		if text == "" {
			r.fault(n, join(key, path), "%s is no number that an extension can be told", clip(n.Value))
		}
		raw.JSON = append(raw.JSON, text...)
	}
}
