package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// prefix begins every variable of the framework's.
const prefix = "BHRPC_"

// variable returns the environment variable that sets key.
func variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// readEnviron lays the variables of environ over c. Empty ones count as unset; of
// two with one name the first holds, as for os.Getenv.
func (c *Config) readEnviron(environ []string, f *faults) {
	given := make(map[string]string)
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value = strings.TrimSpace(value); value == "" || !strings.HasPrefix(name, prefix) {
			continue
		}
		if _, ok := given[name]; !ok {
			given[name] = value
		}
	}
	var known []string
	top := reflect.ValueOf(Default().File)
	visit(top, "", func(key string, v reflect.Value) {
		name := variable(key)
		known = append(known, name)
		if value, ok := given[name]; ok {
			src := source{name: "env " + name, key: key}
			if n := fromText(src, value, v.Type(), f); n != nil {
				c.lay(src, wrap(top.Type(), key, n), f)
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if section := sectionOf(name); section != "" && !slices.Contains(known, name) {
			unknownVariable(name, section, known, f)
		}
	}
}

// fromText returns the tree of a variable's value for a key of type t. Where t is
// not made of keys, the text need not be quoted as YAML would want it: a host in
// brackets is a host.
func fromText(src source, text string, t reflect.Type, f *faults) *yaml.Node {
	list := t.Kind() == reflect.Slice
	bracketed := strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]")
	switch {
	case t == refType, t.Kind() == reflect.Map, list && bracketed:
		return parse(src, []byte(text), f)
	case list && (t.Elem() == refType || isObject(t.Elem())): // commas may stand within an element
		return parse(src, []byte("["+text+"]"), f)
	case list:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for item := range strings.SplitSeq(text, ",") {
			n.Content = append(n.Content, fromText(src, strings.TrimSpace(item), t.Elem(), f))
		}
		return n
	case t.Kind() == reflect.String:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: text, Style: yaml.DoubleQuotedStyle}
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	}
}

// sectionOf returns the section of the configuration whose variables begin as name
// does, "" if name is none of the configuration's business.
func sectionOf(name string) string {
	for _, f := range fieldsOf(reflect.TypeFor[File]()) {
		start := variable(f.key)
		if isObject(reflect.TypeFor[File]().FieldByIndex(f.index).Type) {
			start += "_"
		}
		if strings.HasPrefix(name, start) {
			return f.key
		}
	}
	return ""
}

// unknownVariable reports a variable that no key has. The error names the variable
// alone: which key was meant cannot be told from it.
func unknownVariable(name, section string, known []string, f *faults) {
	if near := spi.Nearest(name, known); near != "" {
		f.add(spi.Pos{}, "", spi.ErrUnknown, "%s: no key has this variable; did you mean %s?", plain(name), near)
		return
	}
	start := variable(section)
	if slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, name+"_") }) {
		start = name + "_" // an object, which is set key by key
	}
	others := slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, start) })
	f.add(spi.Pos{}, "", spi.ErrUnknown, "%s: no key has this variable\n  known: %s", plain(name), strings.Join(others, ", "))
}
