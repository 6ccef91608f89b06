package toml

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	valueKey  = "value"   // alone in a document: the document is what it holds
	numberKey = "$number" // alone in a table: a number that TOML cannot hold, as text
	maxDepth  = 1000      // of tables and lists within each other
)

var errDepth = fmt.Errorf("nested deeper than %d levels", maxDepth)

// wrap makes a TOML document of a JSON one. null is the empty document; what is no
// table, and a table that would be taken for a wrapped value or for null, is put
// under the key value.
func (c *converter) wrap(tree any) (map[string]any, error) {
	if tree == nil {
		return map[string]any{}, nil
	}
	tree, err := c.convert(tree, 1)
	if err != nil {
		return nil, err
	}
	table, ok := tree.(map[string]any)
	_, mistakable := table[valueKey]
	if _, number := table[numberKey]; !ok || number || len(table) == 0 || mistakable && len(table) == 1 {
		return map[string]any{valueKey: tree}, nil
	}
	return table, nil
}

// converter makes TOML of JSON. keys is how many there may still be.
type converter struct{ keys int }

// convert turns a value of encoding/json into one of TOML. It changes tree.
func (c *converter) convert(tree any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch v := tree.(type) {
	case json.Number:
		return number(v.String()), nil
	case []any:
		for i, element := range v {
			if element == nil {
				return nil, fmt.Errorf("element %d of a list is null, which TOML does not have", i)
			}
			var err error
			if v[i], err = c.convert(element, depth+1); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, element any) bool { return element == nil })
		if c.keys -= len(v); c.keys < 0 {
			return nil, errors.New("the value has more keys than max_keys")
		}
		if _, ok := v[numberKey]; ok {
			return nil, fmt.Errorf("the key %s is kept for numbers that TOML cannot hold", numberKey)
		}
		for key, element := range v {
			var err error
			if v[key], err = c.convert(element, depth+1); err != nil {
				return nil, err
			}
		}
	}
	return tree, nil
}

// number returns a JSON number as TOML holds it: an int64 or a float64, or its text in
// a table.
func number(text string) any {
	if strings.ContainsAny(text, ".eE") || text == "-0" {
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	} else if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i
	}
	return map[string]any{numberKey: text}
}

// unwrap is the inverse of wrap.
func unwrap(table map[string]any) (any, error) {
	if len(table) == 0 {
		return nil, nil
	}
	if value, ok := table[valueKey]; ok && len(table) == 1 {
		return restore(value, 1)
	}
	return restore(table, 1)
}

// restore is the inverse of convert. It changes tree. Dates and times become text, and
// what JSON cannot say is an error.
func restore(tree any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch v := tree.(type) {
	case []any:
		for i, element := range v {
			var err error
			if v[i], err = restore(element, depth+1); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if text, ok := v[numberKey].(string); ok && len(v) == 1 {
			return restoreNumber(text)
		}
		for _, key := range slices.Collect(maps.Keys(v)) {
			var err error
			if v[key], err = restore(v[key], depth+1); err != nil {
				return nil, err
			}
		}
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return nil, fmt.Errorf("JSON has no number %v", v)
		}
	case encoding.TextMarshaler: // the four types of dates and times
		text, err := v.MarshalText()
		return string(text), err
	}
	return tree, nil
}

// restoreNumber is the inverse of number for what TOML cannot hold.
func restoreNumber(text string) (any, error) {
	if first := strings.TrimLeft(text, "-"); first == "" || first[0] < '0' || first[0] > '9' || !json.Valid([]byte(text)) {
		return nil, fmt.Errorf("%s %.50q is no number", numberKey, text)
	}
	return json.Number(text), nil
}

// checkKeys counts the keys of a document before it is read as a whole: the library
// looks for a key among all that came before it.
func checkKeys(document []byte, most int) error {
	var p unstable.Parser
	p.Reset(document)
	for p.NextExpression() {
		if most -= keys(p.Expression()); most < 0 {
			return errors.New("the document has more keys than max_keys")
		}
	}
	return p.Error()
}

// keys counts the parts of keys below n, which is not nested without end: the parser
// sees to that.
func keys(n *unstable.Node) (count int) {
	if n.Kind == unstable.Key {
		count = 1
	}
	for it := n.Children(); it.Next(); {
		count += keys(it.Node())
	}
	return count
}
