package config

import (
	"reflect"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// Entry is one key of a configuration and its value.
type Entry struct {
	Key   string  // in full, such as "consumer.reconnect.cap"
	Value string  // as the file would write it, on one line
	From  spi.Pos // where it was set; zero: the default
}

// Entries returns every key that holds a value of its own, with what is in force,
// in the order of [Fields]. A list, or an extension with its configuration, is one
// value; references are listed by their keys, sorted by name.
func (c *Config) Entries() []Entry {
	var entries []Entry
	visit(reflect.ValueOf(c.File), "", func(key string, v reflect.Value) {
		entries = append(entries, Entry{key, inYAML(v), c.Origin(key)})
	})
	return entries
}

// inYAML returns v on one line as a file would hold it.
func inYAML(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Map: // visit leaves only the empty one
		return "{}"
	case reflect.Slice:
		if v.Len() == 0 {
			return "[]"
		}
	}
	n, err := fromGo(v.Interface())
	var text []byte
	if err == nil {
		flow(n)
		text, err = yaml.Marshal(n)
	}
	if err != nil { // a Ref that code filled with what is no JSON
		return "(" + err.Error() + ")"
	}
	return strings.TrimSuffix(string(text), "\n")
}

// flow makes a tree from Go look as people write it: on one line, with quotes only
// where the text would be taken for something else.
func flow(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	} else if kind, _ := resolve(&yaml.Node{Value: n.Value}); kind == isText && !strings.Contains(n.Value, "\n") {
		n.Style = 0
	}
	for _, inner := range n.Content {
		flow(inner)
	}
}
