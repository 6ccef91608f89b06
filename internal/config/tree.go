package config

import (
	"bytes"
	"encoding/json"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// fromGo returns a Go value as the tree that a file with that value would have. The
// way there is the value's JSON, so that types may say how they are written.
func fromGo(value any) (*yaml.Node, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return fromJSON(decoder)
}

// fromJSON reads one value. The keys of an object are tokens as its values are.
func fromJSON(decoder *json.Decoder) (*yaml.Node, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch token := token.(type) {
	case string:
		n.Value, n.Style, n.Tag = token, yaml.DoubleQuotedStyle, "!!str"
	case json.Number:
		n.Value = token.String()
	case bool:
		n.Value = strconv.FormatBool(token)
	case json.Delim:
		n.Kind = yaml.MappingNode
		if token == '[' {
			n.Kind = yaml.SequenceNode
		}
		for decoder.More() {
			inner, err := fromJSON(decoder)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, inner)
		}
		_, err = decoder.Token()
	default:
		n.Value = "null"
	}
	return n, err
}
