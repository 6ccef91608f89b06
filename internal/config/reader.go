package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"strconv"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// reader lays a YAML tree over structs. What keys there are and what they hold is
// read off the structs, so that a new field is a new key without a change here. What
// it leaves behind where there are faults is not to be used.
type reader struct {
	src    source
	from   map[string]spi.Pos // where each value came from, by full key; added to
	faults *faults
}

// read lays n, the value of key, over v, which is addressable.
func (r reader) read(n *yaml.Node, key string, v reflect.Value) {
	switch t := v.Type(); {
	case t == refType:
		r.ref(n, key, v.Addr().Interface().(*spi.Ref))
	case isObject(t):
		r.object(n, key, v)
	case t.Kind() == reflect.Map:
		r.table(n, key, v)
	case t.Kind() == reflect.Slice:
		r.list(n, key, v)
	default:
		r.scalar(n, key, v)
	}
}

// object reads a struct of keys. A section without any, as one whose keys are all
// commented out, says nothing.
func (r reader) object(n *yaml.Node, key string, v reflect.Value) {
	if isEmpty(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, key, "keys and values")
		return
	}
	fields := fieldsOf(v.Type())
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		f, ok := find(fields, name.Value)
		if !ok {
			r.faults.unknown(r.src.at(name), key, name.Value, keysOf(fields))
			continue
		}
		r.read(value, join(key, f.key), v.FieldByIndex(f.index))
	}
}

// table reads a map, whose keys are free. What it names is laid over what the map
// holds by that name; other names keep what they have. The map itself is replaced,
// not modified.
func (r reader) table(n *yaml.Node, key string, v reflect.Value) {
	if isEmpty(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, key, "keys and values")
		return
	}
	t := v.Type()
	next := reflect.MakeMap(t)
	for _, name := range v.MapKeys() {
		next.SetMapIndex(name, v.MapIndex(name))
	}
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		k := reflect.ValueOf(name.Value).Convert(t.Key())
		element := reflect.New(t.Elem()).Elem()
		if old := next.MapIndex(k); old.IsValid() {
			element.Set(old)
		}
		r.from[join(key, name.Value)] = r.src.at(name)
		r.read(value, join(key, name.Value), element)
		next.SetMapIndex(k, element)
	}
	v.Set(next)
}

// list reads a list, which replaces the one before it.
func (r reader) list(n *yaml.Node, key string, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, key, "a list, as [a, b]")
		return
	}
	maps.DeleteFunc(r.from, func(other string, _ spi.Pos) bool { return strings.HasPrefix(other, key+".") })
	next := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		full := join(key, strconv.Itoa(i))
		r.from[full] = r.src.at(item)
		r.read(item, full, next.Index(i))
	}
	v.Set(next)
	r.from[key] = r.src.at(n)
}

// scalar reads a bool, a number, a text, or a type that reads its own form.
func (r reader) scalar(n *yaml.Node, key string, v reflect.Value) {
	next := reflect.New(v.Type())
	own, _ := next.Interface().(json.Unmarshaler)
	kind, text := resolve(n)
	switch {
	case n.Kind != yaml.ScalarNode || !fits(kind, v.Type()) || text == "":
		r.wrong(n, key, wanted(v.Type()))
		return
	case own != nil:
		if err := own.UnmarshalJSON([]byte(text)); err != nil {
			r.fault(n, key, "%v", err)
			return
		}
	default:
		if err := json.Unmarshal([]byte(text), next.Interface()); err != nil {
			r.fault(n, key, "%s is out of range", clip(n.Value))
			return
		}
	}
	v.Set(next.Elem())
	r.from[key] = r.src.at(n)
}

// ref reads the name of an extension, or {use: name, with: configuration}.
func (r reader) ref(n *yaml.Node, key string, ref *spi.Ref) {
	*ref = spi.Ref{Key: key, At: r.src.at(n)}
	r.from[key] = ref.At
	if n.Kind != yaml.MappingNode {
		ref.Use = r.name(n, key, "a name or {use: name, with: {…}}")
		return
	}
	named := false
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		switch full := join(key, name.Value); name.Value {
		case "use":
			named = true
			ref.Use = r.name(value, full, "a name")
		case "with":
			ref.With = r.raw(value, full)
		default:
			r.faults.unknown(r.src.at(name), key, name.Value, []string{"use", "with"})
		}
	}
	if !named {
		r.fault(n, key, "names no extension; write {use: name, with: {…}}")
	}
}

// name reads the name of an extension, "" if it is at fault.
func (r reader) name(n *yaml.Node, key, want string) string {
	if kind, _ := resolve(n); kind != isText || n.Value == "" {
		r.wrong(n, key, want)
		return ""
	}
	return n.Value
}

func (r reader) fault(n *yaml.Node, key, format string, args ...any) {
	r.faults.add(r.src.at(n), key, spi.ErrInvalid, format, args...)
}

// wrong reports a value of the wrong type.
func (r reader) wrong(n *yaml.Node, key, want string) {
	if isEmpty(n) {
		r.fault(n, key, "has no value; want %s, or remove the key", want)
		return
	}
	hint := ""
	if kind, _ := resolve(n); n.Kind == yaml.ScalarNode && kind != isText && want == wantText {
		hint = "; write it in quotes, \"" + clip(n.Value) + "\""
	}
	r.fault(n, key, "want %s, not %s%s", want, describe(n), hint)
}
