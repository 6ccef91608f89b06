package spi

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Info describes one registered extension. It is plain data: it crosses the
// process boundary unchanged, and listings and documentation are made from it.
type Info struct {
	Kind    string   `json:"kind"`    // extension point, such as "loadbalancer"
	Name    string   `json:"name"`    // configuration key, such as "round-robin"
	Doc     string   `json:"doc"`     // one sentence or a few
	Source  string   `json:"source"`  // "built-in", "package example.org/you/nearest" or "plugin acme"
	Aliases []string `json:"aliases"` // other names, sorted
	Fields  []Field  `json:"fields"`  // accepted configuration keys, in declaration order

	AnyKeys bool `json:"any_keys,omitempty"` // nobody knows the Fields yet: every key is accepted
}

// Field describes one configuration key of an extension.
type Field struct {
	Key     string  `json:"key"`
	Type    string  `json:"type"`    // for people, and what values are checked against: "duration", "int", "map of int", …
	Default string  `json:"default"` // JSON text; "" where it says nothing
	Doc     string  `json:"doc"`     // from the `doc` struct tag
	Fields  []Field `json:"fields"`  // keys of an object, or of the objects in a map or list

	Values []string `json:"values,omitempty"` // from the `oneof` struct tag: the texts that Validate accepts; nil: any
}

const (
	typeObject    = "object"
	typeExtension = "extension"
	typeMapOf     = "map of "
	typeListOf    = "list of "
)

// extensionFields are the keys of the long form of a [Ref].
var extensionFields = []Field{{Key: "use", Type: "string"}, {Key: "with"}}

// keys returns the keys that the field may hold, and false if it may hold any.
func (f Field) keys() ([]Field, bool) {
	if f.Type == typeExtension {
		return extensionFields, true
	}
	return f.Fields, f.Type == typeObject
}

// hasKeys reports whether the field is an object or a map.
func (f Field) hasKeys() bool {
	return f.Type == typeObject || strings.HasPrefix(f.Type, typeMapOf)
}

// element describes what a map or list holds. The zero Field is unconstrained.
func (f Field) element() Field {
	inner, ok := strings.CutPrefix(f.Type, typeMapOf)
	if !ok {
		inner, ok = strings.CutPrefix(f.Type, typeListOf)
	}
	if !ok {
		return Field{}
	}
	return Field{Type: inner, Fields: f.Fields}
}

func indexField(fields []Field, key string) int {
	for i, f := range fields {
		if f.Key == key {
			return i
		}
	}
	return -1
}

// Fields describes the configuration struct defaults: its exported fields with a
// `json` tag, their values as defaults, their `doc` tags, and for a text that must be
// one of a few a `oneof` tag that lists them with commas. It is how [Register]
// documents an extension, and how the configuration file documents itself. An
// error is a field that configuration cannot express, or two for one key.
func Fields(defaults any) ([]Field, error) {
	v := reflect.ValueOf(defaults)
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("configuration %T is not a struct", defaults)
	}
	return structFields(v, []reflect.Type{v.Type()})
}

// structFields describes the struct v. within holds the types that v is part of.
func structFields(v reflect.Value, within []reflect.Type) ([]Field, error) {
	var fields []Field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		key, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		var found []Field
		switch {
		case sf.Anonymous && key == "" && v.Field(i).Kind() == reflect.Struct:
			inner, err := structFields(v.Field(i), within)
			if err != nil {
				return nil, err
			}
			found = inner
		case sf.IsExported() && key != "" && key != "-":
			f, err := describeField(sf, key, v.Field(i), within)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			found = []Field{f}
		}
		for _, f := range found {
			if indexField(fields, f.Key) >= 0 {
				return nil, fmt.Errorf("%s: two fields of %s have this key", f.Key, v.Type())
			}
			fields = append(fields, f)
		}
	}
	return fields, nil
}

func describeField(sf reflect.StructField, key string, v reflect.Value, within []reflect.Type) (Field, error) {
	name, inner, err := typeName(sf.Type, v, within)
	if err != nil {
		return Field{}, err
	}
	f := Field{Key: key, Type: name, Doc: sf.Tag.Get("doc"), Fields: inner}
	if oneof := sf.Tag.Get("oneof"); oneof != "" {
		f.Values = strings.Split(oneof, ",")
	}
	if name == typeObject {
		return f, nil
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return Field{}, err
	}
	if f.Default = string(text); f.Default == "null" {
		f.Default = ""
	}
	return f, nil
}

var (
	durationType = reflect.TypeFor[Duration]()
	sizeType     = reflect.TypeFor[Size]()
	refType      = reflect.TypeFor[Ref]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonType     = reflect.TypeFor[json.Unmarshaler]()
)

// typeName returns the name of a type for people, and the fields of the struct
// that it is or holds. within holds the types that t is part of.
func typeName(t reflect.Type, v reflect.Value, within []reflect.Type) (string, []Field, error) {
	switch {
	case t == durationType:
		return "duration", nil, nil
	case t == sizeType:
		return "size", nil, nil
	case t == refType:
		return typeExtension, nil, nil
	case t == reflect.TypeFor[time.Duration]():
		return "", nil, errors.New("a time.Duration has no unit in a file; use spi.Duration")
	case reflect.PointerTo(t).Implements(jsonType):
		return "any", nil, nil // only the type itself knows
	case reflect.PointerTo(t).Implements(textType):
		return "string", nil, nil
	case slices.Contains(within, t):
		return "", nil, fmt.Errorf("%s contains itself and cannot be described", t)
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Bool:
		return "bool", nil, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return t.Kind().String(), nil, nil
	case reflect.Float32, reflect.Float64:
		return "float", nil, nil
	case reflect.String:
		return "string", nil, nil
	case reflect.Struct:
		fields, err := structFields(v, within)
		return typeObject, fields, err
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 { // bytes have no form that people write
			inner, fields, err := typeName(t.Elem(), reflect.Zero(t.Elem()), within)
			return typeListOf + inner, fields, err
		}
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			inner, fields, err := typeName(t.Elem(), reflect.Zero(t.Elem()), within)
			return typeMapOf + inner, fields, err
		}
	}
	return "", nil, fmt.Errorf("a %s cannot be configured", t)
}

// WriteMarkdown renders infos as the reference page of extensions.
func WriteMarkdown(w io.Writer, infos []Info) error {
	var b strings.Builder
	kind := ""
	for _, in := range infos {
		if in.Kind != kind {
			kind = in.Kind
			fmt.Fprintf(&b, "## %s\n\n", kind)
		}
		fmt.Fprintf(&b, "### `%s`\n\n%s", in.Name, in.Doc)
		if len(in.Aliases) > 0 {
			fmt.Fprintf(&b, " Also called `%s`.", strings.Join(in.Aliases, "`, `"))
		}
		if in.Source != builtIn {
			fmt.Fprintf(&b, " (%s)", in.Source)
		}
		b.WriteString("\n\n")
		if len(in.Fields) > 0 {
			b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
			writeFields(&b, in.Fields, "")
			b.WriteString("\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell keeps a text within its cell of a table.
var cell = strings.NewReplacer("|", `\|`, "\n", " ")

func writeFields(b *strings.Builder, fields []Field, prefix string) {
	for _, f := range fields {
		def := ""
		if f.Default != "" {
			def = "`" + f.Default + "`"
		}
		fmt.Fprintf(b, "| `%s%s` | %s | %s | %s |\n", prefix, f.Key, f.Type, cell.Replace(def), cell.Replace(f.Doc))
		writeFields(b, f.Fields, prefix+f.Key+".")
	}
}
