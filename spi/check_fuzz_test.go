package spi_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// node is a JSON value with its keys as they stand there, duplicates included.
type node struct {
	token json.Token // of a scalar; Delim of a list or object
	keys  []string   // of an object
	kids  []node
}

func parse(dec *json.Decoder) node {
	token, _ := dec.Token()
	n := node{token: token}
	if open, ok := token.(json.Delim); ok {
		for dec.More() {
			if open == '{' {
				key, _ := dec.Token()
				n.keys = append(n.keys, key.(string))
			}
			n.kids = append(n.kids, parse(dec))
		}
		_, _ = dec.Token()
	}
	return n
}

// unique reports whether no object has a key twice.
func (n node) unique() bool {
	seen := make(map[string]bool)
	for _, key := range n.keys {
		if seen[key] {
			return false
		}
		seen[key] = true
	}
	for _, kid := range n.kids {
		if !kid.unique() {
			return false
		}
	}
	return true
}

// all reports whether the node is a list or object, whichever is asked for, of
// values that fit.
func (n node) all(delim rune, fits func(key string, kid node) bool) bool {
	if n.token != json.Delim(delim) {
		return false
	}
	for i, kid := range n.kids {
		key := ""
		if n.keys != nil {
			key = n.keys[i]
		}
		if !fits(key, kid) {
			return false
		}
	}
	return true
}

// fits is the model that the check is held against: it goes by Go types, where the
// check goes by their description.
func (n node) fits(t reflect.Type) bool {
	text, isText := n.token.(string)
	number, isNumber := n.token.(json.Number)
	var err error
	switch {
	case n.token == nil:
		return true
	case t == reflect.TypeFor[spi.Duration]():
		_, err = time.ParseDuration(text)
		return isText && err == nil
	case t == reflect.TypeFor[spi.Size]():
		return (isText || isNumber) && new(spi.Size).UnmarshalText([]byte(text+string(number))) == nil
	case t == reflect.TypeFor[spi.Ref]():
		return isText || n.all('{', func(key string, kid node) bool {
			return key == "with" || key == "use" && kid.fits(reflect.TypeFor[string]())
		})
	}
	switch t.Kind() {
	case reflect.Bool:
		_, ok := n.token.(bool)
		return ok
	case reflect.String:
		return isText
	case reflect.Int, reflect.Int8:
		_, err = strconv.ParseInt(string(number), 10, t.Bits())
		return isNumber && err == nil
	case reflect.Uint8:
		_, err = strconv.ParseUint(string(number), 10, t.Bits())
		return isNumber && err == nil
	case reflect.Float64:
		_, err = strconv.ParseFloat(string(number), 64)
		return isNumber && err == nil
	case reflect.Map:
		return n.all('{', func(_ string, kid node) bool { return kid.fits(t.Elem()) })
	case reflect.Slice:
		return n.all('[', func(_ string, kid node) bool { return kid.fits(t.Elem()) })
	case reflect.Struct:
		return n.all('{', func(key string, kid node) bool {
			for _, sf := range reflect.VisibleFields(t) {
				if sf.Tag.Get("json") == key && key != "" {
					return kid.fits(sf.Type)
				}
			}
			return false
		})
	}
	panic("the model does not know " + t.String())
}

// acceptable is whether the extension "probe" takes the document.
func acceptable(document []byte) bool {
	if len(document) == 0 {
		return true
	}
	if !json.Valid(document) {
		return false
	}
	dec := json.NewDecoder(bytes.NewReader(document))
	dec.UseNumber()
	n := parse(dec)
	if !n.unique() || !n.fits(reflect.TypeFor[settings]()) {
		return false
	}
	for i, key := range n.keys { // what Validate finds
		if number, ok := n.kids[i].token.(json.Number); ok && key == "skip" && strings.HasPrefix(string(number), "-") && number != "-0" {
			return false
		}
	}
	return true
}

// FuzzRefCheck: any document at all is accepted exactly if the model accepts it, and
// what is then in force is accepted as well and changes nothing.
func FuzzRefCheck(f *testing.F) {
	for _, seed := range []string{
		``, `null`, "\vnull", ` `, `{}`, `[]`, `3`, `"x"`, `{} {}`, `{"skip":3}`, `{"Skip":3}`, `{"skip":3,"skip":3}`, `{"skip":-1}`, `{"skip":-0}`, `{"skip":1.0}`,
		`{"zone":"eu1","rate":1e3,"sticky":true,"burst":255,"small":-128}`, `{"interval":"5s","buffer":"1KiB"}`, `{"interval":5,"buffer":5}`,
		`{"buffer":"B"}`, `{"next":"p2c"}`, `{"next":{"use":"p2c","with":{"a":[1]}}}`, `{"next":{"Use":"p2c"}}`, `{"next":{"with":{"a":1,"a":1}}}`,
		`{"tls":{"ca":"x"}}`, `{"tls":{"CA":"x"}}`, `{"tls":null,"weights":null}`, `{"weights":{"a":1,"":2}}`, `{"weights":{"a":1,"a":2}}`, `{"weights":[1]}`,
		`{"tags":["a",null]}`, `{"servers":[{"host":"a"},{"port":1}]}`, `{"groups":{"g":[{"host":"a","port":"b"}]}}`, `{"common":{}}`, `{"":1}`,
		`{"skip":9223372036854775808}`, `{"rate":1e999}`, `{"a":{"b":{"c":[[[]]]}}}`, "{\"weights\":{\"\xff\":1,\"\xfe\":2}}", `{"zone":"\ud800"}`, `{"skip"`,
	} {
		f.Add([]byte(seed))
	}
	p := probes(f)
	f.Fuzz(func(t *testing.T, document []byte) {
		ref := spi.Ref{Use: "probe", With: spi.Raw{JSON: document}}
		resolved, err := p.Resolve(ref)
		if want := acceptable(document); (err == nil) != want {
			t.Fatalf("Resolve with %q: got %v, want accepted %t", document, err, want)
		}
		if err != nil {
			if err.Error() == "" {
				t.Errorf("Resolve with %q: got an error without text", document)
			}
			return
		}
		again, err := p.Resolve(spi.Ref{Use: "probe", With: spi.Raw{JSON: resolved.Config}})
		if err != nil || !bytes.Equal(again.Config, resolved.Config) {
			t.Errorf("Resolve with what was in force\ngot  %s, %v\nwant %s", again.Config, err, resolved.Config)
		}
	})
}
