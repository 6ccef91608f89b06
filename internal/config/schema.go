package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

var (
	refType    = reflect.TypeFor[spi.Ref]()
	parserType = reflect.TypeFor[json.Unmarshaler]()
)

// field is one key of a struct.
type field struct {
	key   string
	index []int // for reflect.Value.FieldByIndex
}

// fieldsOf returns the keys of a struct: its exported fields with a json tag, those
// of embedded structs among them, in declaration order, as [spi.Fields] sees them.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		key, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		switch {
		case sf.Anonymous && key == "" && sf.Type.Kind() == reflect.Struct:
			for _, f := range fieldsOf(sf.Type) {
				fields = append(fields, field{f.key, append([]int{i}, f.index...)})
			}
		case sf.IsExported() && key != "" && key != "-":
			fields = append(fields, field{key, []int{i}})
		}
	}
	return fields
}

// find returns the field with that key.
func find(fields []field, key string) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

// isObject reports whether t is a struct of keys, rather than a value that is
// written as one.
func isObject(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(parserType)
}

// visit calls f for every key under v that holds a value of its own, in schema
// order and names of maps sorted. An empty map counts as a value.
func visit(v reflect.Value, key string, f func(key string, v reflect.Value)) {
	switch {
	case isObject(v.Type()):
		for _, inner := range fieldsOf(v.Type()) {
			visit(v.FieldByIndex(inner.index), join(key, inner.key), f)
		}
	case v.Kind() == reflect.Map && v.Len() > 0:
		byName := make(map[string]reflect.Value, v.Len())
		for _, name := range v.MapKeys() {
			byName[name.String()] = v.MapIndex(name)
		}
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			visit(byName[name], join(key, name), f)
		}
	default:
		f(key, v)
	}
}

// split takes the first part off a full key below a value of type t, which is nil
// where keys are free, and returns the type below that part. Dots divide, but a name
// in a map may hold dots itself: there the first one divides that a key of the map's
// elements follows.
func split(t reflect.Type, key string) (head, rest string, inner reflect.Type) {
	switch {
	case t != nil && t.Kind() == reflect.Map:
		for i := range len(key) {
			if key[i] == '.' && leads(t.Elem(), key[i+1:]) {
				return key[:i], key[i+1:], t.Elem()
			}
		}
		return key, "", t.Elem()
	case t != nil && isObject(t):
		head, rest, _ = strings.Cut(key, ".")
		if f, ok := find(fieldsOf(t), head); ok {
			inner = t.FieldByIndex(f.index).Type
		}
		return head, rest, inner
	}
	head, rest, _ = strings.Cut(key, ".")
	return head, rest, nil
}

// leads reports whether key is one of an object of type t, or lies in a map of it.
func leads(t reflect.Type, key string) bool {
	if !isObject(t) {
		return false
	}
	head, rest, inner := strings.Cut(key, ".")
	f, ok := find(fieldsOf(t), head)
	if !ok || !inner {
		return ok
	}
	below := t.FieldByIndex(f.index).Type
	return below.Kind() == reflect.Map || leads(below, rest)
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// wrap returns the tree of a whole configuration in which only key, which lies in
// the struct type t, has a value: n.
func wrap(t reflect.Type, key string, n *yaml.Node) *yaml.Node {
	head, rest, inner := split(t, key)
	if rest != "" {
		n = wrap(inner, rest, n)
	}
	name := &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: head}
	return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{name, n}}
}
