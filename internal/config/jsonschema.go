package config

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// The types that [spi.Field] describes maps and lists by begin so.
const (
	mapOf  = "map of "
	listOf = "list of "
)

// schema is one JSON Schema, draft 2020-12: the keywords that a configuration needs.
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	ID          string             `json:"$id,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Type        any                `json:"type,omitempty"` // a name, or several
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     *int               `json:"minimum,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	Enum        []string           `json:"enum,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Additional  any                `json:"additionalProperties,omitempty"` // false, or a schema
	Default     json.RawMessage    `json:"default,omitempty"`
	Defs        map[string]*schema `json:"$defs,omitempty"`
}

const (
	schemaID = "https://github.com/bhrpc/bhrpc/raw/main/docs/bhrpc.schema.json"

	durationPattern = `^\+?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	sizePattern     = `^\s*\+?[0-9]+\s*(B|KiB|MiB|GiB)?$`
)

// WriteSchema writes docs/bhrpc.schema.json, a JSON Schema (draft 2020-12) of the
// configuration file. It is as strict as [Load] about keys and types; which values
// are in their range, and which names are known, only Load and the program say.
func WriteSchema(w io.Writer) error {
	fields, err := Fields()
	if err != nil {
		return err
	}
	top := object(fields)
	top.Schema, top.ID = "https://json-schema.org/draft/2020-12/schema", schemaID
	top.Title = "Configuration of bhrpc"
	top.Defs = map[string]*schema{
		"duration": {Type: "string", Pattern: durationPattern, Description: "a number and a unit, such as 250ms, 5s or 2m"},
		"size": {AnyOf: []*schema{{Type: "string", Pattern: sizePattern}, {Type: "integer", Minimum: new(int)}},
			Description: "bytes, or a number with KiB, MiB or GiB"},
		"extension": {
			Description: "the name of an extension, or {use: name, with: {…}}",
			AnyOf: []*schema{{Type: "string", MinLength: 1}, {
				Type: "object", Required: []string{"use"}, Additional: false,
				Properties: map[string]*schema{"use": {Type: "string", MinLength: 1}, "with": {Type: []string{"object", "null"}}},
			}},
		},
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(top)
}

// object is the schema of a section. One without any key says nothing and is
// accepted.
func object(fields []spi.Field) *schema {
	s := &schema{Type: []string{"object", "null"}, Additional: false, Properties: make(map[string]*schema)}
	for _, f := range fields {
		property := typed(f.Type, f)
		property.Description = f.Doc
		property.Enum = f.Values
		if f.Default != "" {
			property.Default = json.RawMessage(f.Default)
		}
		s.Properties[f.Key] = property
	}
	return s
}

// typed is the schema of a value of the type called kind, which is f's or what f
// holds.
func typed(kind string, f spi.Field) *schema {
	if element, ok := strings.CutPrefix(kind, mapOf); ok {
		return &schema{Type: []string{"object", "null"}, Additional: typed(element, f)}
	}
	if element, ok := strings.CutPrefix(kind, listOf); ok {
		return &schema{Type: "array", Items: typed(element, f)}
	}
	switch kind {
	case "duration", "size", "extension":
		return &schema{Ref: "#/$defs/" + kind}
	case "object":
		return object(f.Fields)
	case "bool":
		return &schema{Type: "boolean"}
	case "float":
		return &schema{Type: "number"}
	case "string":
		return &schema{Type: "string"}
	case "any":
		return &schema{}
	}
	s := &schema{Type: "integer"} // int, uint16, …
	if strings.HasPrefix(kind, "uint") {
		s.Minimum = new(int)
	}
	return s
}
