package config

import (
	"encoding/json"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
	"go.yaml.in/yaml/v3"
)

// kind is what a scalar is.
type kind int

// The kinds of scalars.
const (
	isNull kind = iota
	isBool
	isInt
	isFloat
	isText
)

// The forms of the YAML 1.2 core schema, section 10.3.2 of the specification. The
// parser's own resolution knows forms of YAML 1.1 too, such as 0777 and 1_000.
var (
	decimalForm = regexp.MustCompile(`^[-+]?[0-9]+$`)
	octalForm   = regexp.MustCompile(`^0o[0-7]+$`)
	hexForm     = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	floatForm   = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	specialForm = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// resolve returns what a scalar node is, and its value as JSON; that is "" for a
// number that JSON cannot say: an infinity, a NaN, or one beyond float64. A node that
// is no scalar is null.
func resolve(n *yaml.Node) (kind, string) {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return isText, quote(n.Value)
	}
	switch text := n.Value; {
	case text == "", text == "~", text == "null", text == "Null", text == "NULL":
		return isNull, "null"
	case text == "true", text == "True", text == "TRUE", text == "false", text == "False", text == "FALSE":
		return isBool, strings.ToLower(text)
	case decimalForm.MatchString(text):
		return isInt, decimal(text)
	case octalForm.MatchString(text), hexForm.MatchString(text):
		number, _ := new(big.Int).SetString(text, 0)
		return isInt, number.String()
	case floatForm.MatchString(text):
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return isFloat, ""
		}
		return isFloat, strconv.FormatFloat(number, 'g', -1, 64)
	case specialForm.MatchString(text):
		return isFloat, ""
	default:
		return isText, quote(text)
	}
}

// decimal returns an integer as JSON writes it: no plus, no leading zeros.
func decimal(text string) string {
	digits := strings.TrimLeft(text, "+-0")
	switch {
	case digits == "":
		return "0"
	case text[0] == '-':
		return "-" + digits
	}
	return digits
}

func quote(text string) string {
	data, _ := json.Marshal(text) // a string has always a JSON form
	return string(data)
}

const wantText = "text"

// wanted says what a key of type t holds.
func wanted(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[spi.Duration]():
		return "a duration, as 250ms, 5s or 2m"
	case reflect.TypeFor[spi.Size]():
		return "a size, as 64KiB or 16MiB"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return wantText
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// fits reports whether a scalar of one kind may stand for a value of type t.
func fits(k kind, t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(parserType) {
		return k != isNull && k != isBool
	}
	switch t.Kind() {
	case reflect.Bool:
		return k == isBool
	case reflect.String:
		return k == isText
	case reflect.Float32, reflect.Float64:
		return k == isInt || k == isFloat
	default:
		return k == isInt
	}
}

// describe says what n is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	kind, text := resolve(n)
	switch {
	case kind == isNull:
		return "nothing"
	case kind == isText:
		return "the text " + strconv.Quote(clip(n.Value))
	case kind == isBool, text == "":
		return clip(n.Value)
	}
	return "the number " + clip(n.Value)
}
