package spi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// check compares the configuration with the fields that the extension declares:
// every key must be one of them, in its exact spelling, appear once and hold a
// value of its type. It works from plain data, so that an extension in another
// process is checked with the same words before it is asked anything.
// encoding/json alone lets wrong case and duplicates through, and often cannot say
// which key it is about. All faults are reported, not only the first.
func (r Ref) check(info Info) error {
	if r.With.given() == nil {
		return nil
	}
	var document json.RawMessage
	owner := fmt.Sprintf("%s %q", info.Kind, info.Name)
	if err := json.Unmarshal(r.With.JSON, &document); err != nil {
		return r.errorf(ErrInvalid, "configuration of %s: %v", owner, err)
	}
	w := newWalker(document, owner)
	if start := w.next(); start != json.Delim('{') {
		return r.errorf(ErrInvalid, "configuration of %s: want keys and values, not %s", owner, describe(start))
	}
	if info.AnyKeys {
		return nil
	}
	w.prefix, w.at, w.places = "with.", r.At, r.With.At
	if r.Key != "" {
		w.prefix = r.Key + ".with."
	}
	w.object("", Field{Type: typeObject, Fields: info.Fields})
	return errors.Join(w.faults...)
}

// walker reads a JSON document and collects what is wrong with it.
type walker struct {
	dec    *json.Decoder
	owner  string         // whose keys they are, such as `loadbalancer "random"`
	prefix string         // of every key, such as "consumer.loadbalancer.with."
	at     Pos            // of the document
	places map[string]Pos // of its keys, see [Raw]
	faults []error
}

// newWalker returns a walker of a document that is known to be well-formed.
func newWalker(document []byte, owner string) *walker {
	w := &walker{dec: json.NewDecoder(bytes.NewReader(document)), owner: owner}
	w.dec.UseNumber()
	return w
}

// next returns the next token, which exists, because the document is well-formed.
func (w *walker) next() json.Token {
	token, err := w.dec.Token()
	if err != nil {
		panic("well-formed JSON does not parse: " + err.Error())
	}
	return token
}

// fault collects what is wrong with a key. In a file the message begins with the
// key; elsewhere [ConfigError] tells it.
func (w *walker) fault(path string, cause error, message string) {
	at, key := w.place(path), w.prefix+path
	if at.Line > 0 {
		message = key + ": " + message
	}
	w.faults = append(w.faults, &ConfigError{At: at, Key: key, Message: message, Cause: cause})
}

// place returns where a key stands: its own position, or that of the nearest key
// around it.
func (w *walker) place(path string) Pos {
	for path != "" {
		if at, ok := w.places[path]; ok {
			return at
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return w.at
}

// value reads the value of the key called path, which f describes.
func (w *walker) value(path string, f Field) {
	token := w.next()
	if err := f.accept(token); err != nil {
		w.fault(path, ErrInvalid, err.Error())
		f = Field{} // nothing is known about what is inside
	}
	switch token {
	case json.Delim('['):
		for i := 0; w.dec.More(); i++ {
			w.value(path+"."+strconv.Itoa(i), f.element())
		}
		w.next()
	case json.Delim('{'):
		w.object(path+".", f)
	}
}

// object reads keys and values up to the closing brace. prefix stands before every
// key.
func (w *walker) object(prefix string, f Field) {
	seen := make(map[string]bool)
	for w.dec.More() {
		key := w.next().(string)
		path := prefix + key
		field := f.element()
		if fields, ok := f.keys(); ok {
			if i := indexField(fields, key); i >= 0 {
				field = fields[i]
			} else {
				field = Field{}
				w.unknown(fields, path, key)
			}
		}
		if seen[key] {
			w.fault(path, ErrInvalid, "given twice; remove one")
		}
		seen[key] = true
		w.value(path, field)
	}
	w.next()
}

func (w *walker) unknown(fields []Field, path, key string) {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.Key
	}
	at, full := w.place(path), w.prefix+path
	message := "unknown key"
	if at.Line > 0 { // elsewhere ConfigError tells it
		message += " " + full
	}
	if near := Nearest(key, known); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	owner := w.owner
	if parent := strings.TrimSuffix(path, key); parent != "" {
		owner = w.prefix + strings.TrimSuffix(parent, ".")
	}
	if len(known) == 0 {
		message += fmt.Sprintf("\n  %s takes no configuration", owner)
	} else {
		message += fmt.Sprintf("\n  keys of %s: %s", owner, strings.Join(known, ", "))
	}
	w.faults = append(w.faults, &ConfigError{At: at, Key: full, Message: message, Cause: ErrUnknown})
}

// accept reports what is wrong with a value of the field that begins with token.
// null is right everywhere: it says nothing. So is every value of a type that this
// version does not know.
func (f Field) accept(token json.Token) error {
	number, isNumber := token.(json.Number)
	_, isText := token.(string)
	ok, want := true, ""
	switch {
	case token == nil:
	case f.hasKeys():
		ok, want = token == json.Delim('{'), "keys and values"
	case strings.HasPrefix(f.Type, typeListOf):
		ok, want = token == json.Delim('['), "a list"
	case f.Type == typeExtension:
		ok, want = isText || token == json.Delim('{'), refForms
	case f.Type == "duration" && (isText || isNumber):
		return acceptText(token, new(Duration))
	case f.Type == "duration":
		ok, want = false, "a duration, as 250ms, 5s or 2m"
	case f.Type == "size" && (isText || isNumber):
		return acceptText(token, new(Size))
	case f.Type == "size":
		ok, want = false, "a size, as 64KiB or 16MiB"
	case f.Type == "bool":
		_, ok = token.(bool)
		want = "true or false"
	case f.Type == "string":
		ok, want = isText, "text"
	case f.Type == "float":
		_, err := number.Float64()
		ok, want = err == nil, "a number"
	case strings.HasPrefix(f.Type, "int"), strings.HasPrefix(f.Type, "uint"):
		ok, want = fitsInt(number.String(), f.Type), "a whole number"
		if f.Type != "int" {
			want += " (" + f.Type + ")"
		}
	}
	if !ok {
		return fmt.Errorf("want %s, not %s", want, describe(token))
	}
	return nil
}

// acceptText asks the type itself whether it accepts a text or number.
func acceptText(token json.Token, into json.Unmarshaler) error {
	text, err := json.Marshal(token)
	if err != nil {
		return err
	}
	return into.UnmarshalJSON(text)
}

// fitsInt reports whether number is a whole number of the Go type called name,
// such as "int" or "uint8".
func fitsInt(number, name string) bool {
	size, unsigned := strings.CutPrefix(name, "uint")
	bits, _ := strconv.Atoi(strings.TrimPrefix(size, "int")) // no digits: 0, the size of int
	var err error
	if unsigned {
		_, err = strconv.ParseUint(number, 10, bits)
	} else {
		_, err = strconv.ParseInt(number, 10, bits)
	}
	return err == nil
}

// describe says what begins with token. It does not repeat a text, which may be a
// secret in the wrong place.
func describe(token json.Token) string {
	switch t := token.(type) {
	case bool:
		return strconv.FormatBool(t)
	case json.Number:
		return "the number " + t.String()
	case string:
		return "text"
	case json.Delim:
		if t == '[' {
			return "a list"
		}
	}
	return "keys and values"
}

// given returns the document, nil if it says nothing.
func (r Raw) given() []byte {
	if len(r.JSON) == 0 || isNull(r.JSON) {
		return nil
	}
	return r.JSON
}

func isNull(document []byte) bool { return string(bytes.Trim(document, " \t\r\n")) == "null" }

// overlay returns base with over laid on it, both JSON objects with the keys that f
// describes: objects and maps key by key, everything else whole, so that an element
// of a list or map never inherits from a default that happens to stand in its place.
// A key whose value is null stays as it is in base. over may be nil.
func (f Field) overlay(base, over json.RawMessage) (json.RawMessage, error) {
	if over == nil {
		return base, nil
	}
	merged := make(map[string]json.RawMessage)
	if len(base) > 0 && !isNull(base) {
		if err := json.Unmarshal(base, &merged); err != nil {
			return nil, err
		}
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(over, &given); err != nil {
		return nil, err
	}
	for key, value := range given {
		if isNull(value) {
			continue
		}
		if i := indexField(f.Fields, key); f.Type == typeObject && i >= 0 && f.Fields[i].hasKeys() {
			var err error
			if value, err = f.Fields[i].overlay(merged[key], value); err != nil {
				return nil, err
			}
		}
		merged[key] = value
	}
	return json.Marshal(merged)
}
