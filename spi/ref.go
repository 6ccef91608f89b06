package spi

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Pos says where a piece of configuration was written, for error messages. The
// zero Pos is unknown.
type Pos struct {
	Source string // file name as it was given, or "env NAME", or "code"
	Line   int    // from 1; 0 in an environment variable or in code
	Column int    // from 1; 0 where Line is, and where only the line is known
}

// String returns "bhrpc.yaml:3:15", "bhrpc.yaml:3", "env NAME", "code" or "".
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.Source
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.Source, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.Source, p.Line, p.Column)
}

// Raw is a JSON document, such as the configuration of an extension, with where
// each of its keys stands in its file. Objects and maps are laid over the defaults
// key by key; a list replaces its default, and null leaves it in place.
type Raw struct {
	JSON []byte // nil or null: no configuration, the defaults hold

	// At holds positions by dotted key, elements of a list by number: "weights",
	// "tls.ca", "servers.0.port". A key without a position has that of the nearest
	// one around it. nil: all unknown.
	At map[string]Pos
}

// Ref names an extension and carries its configuration. In a file it is either a
// name, as in
//
//	loadbalancer: round-robin
//
// or a name with configuration, as in
//
//	loadbalancer: {use: weighted-random, with: {weights: {"10.0.0.7:7070": 3}}}
type Ref struct {
	Use  string // name or alias
	With Raw
	Key  string // configuration key that holds the Ref, as "consumer.serializer"; may be ""
	At   Pos    // where it was written
}

const refForms = "the name of an extension, or {use: name, with: {…}}"

// UnmarshalJSON accepts both forms and takes keys in their exact spelling only. null
// changes nothing.
func (r *Ref) UnmarshalJSON(data []byte) error {
	if isNull(data) {
		return nil
	}
	var document json.RawMessage
	if err := json.Unmarshal(data, &document); err != nil {
		return err
	}
	w := newWalker(document, "an extension")
	start := w.next()
	if use, ok := start.(string); ok {
		*r = Ref{Use: use}
		return nil
	}
	if start != json.Delim('{') {
		return fmt.Errorf("%w: want %s, not %s", ErrInvalid, refForms, describe(start))
	}
	w.object("", Field{Type: typeExtension})
	if len(w.faults) > 0 {
		return errors.Join(w.faults...)
	}
	var long struct {
		Use  string          `json:"use"`
		With json.RawMessage `json:"with"`
	}
	if err := json.Unmarshal(document, &long); err != nil {
		return err
	}
	with := Raw{JSON: long.With}
	*r = Ref{Use: long.Use, With: Raw{JSON: with.given()}}
	return nil
}

// MarshalJSON writes the short form where there is no configuration.
func (r Ref) MarshalJSON() ([]byte, error) {
	if r.With.given() == nil {
		return json.Marshal(r.Use)
	}
	return json.Marshal(map[string]any{"use": r.Use, "with": json.RawMessage(r.With.JSON)})
}

// Errors about configuration that callers branch on with [errors.Is].
var (
	ErrUnknown   = errors.New("unknown")          // a name or key that does not exist
	ErrRefused   = errors.New("refused")          // a name that exists elsewhere and cannot exist here
	ErrNotLinked = errors.New("not linked in")    // a known name that this program does not contain
	ErrDuplicate = errors.New("registered twice") // a name that is taken
	ErrInvalid   = errors.New("invalid")          // a value that is not accepted
)

// ConfigError is an error about configuration, with where it was written.
type ConfigError struct {
	At      Pos    // where; zero if unknown
	Key     string // which key, as "consumer.serializer"; may be ""
	Message string // what is wrong; names the key where the place, a line of a file, does not say enough
	Cause   error  // one of the errors above, possibly wrapped
}

// Error returns place and message on the first line; known names may follow on
// another. The key is told where the place is no line of a file, such as an
// environment variable.
func (e *ConfigError) Error() string {
	switch at := e.At.String(); {
	case at == "" && e.Key == "":
		return e.Message
	case at == "":
		return e.Key + ": " + e.Message
	case e.At.Line > 0 || e.Key == "":
		return at + ": " + e.Message
	default:
		return fmt.Sprintf("%s (from %s): %s", e.Key, at, e.Message)
	}
}

// Unwrap returns the cause.
func (e *ConfigError) Unwrap() error { return e.Cause }

func (r Ref) errorf(cause error, format string, args ...any) *ConfigError {
	return &ConfigError{At: r.At, Key: r.Key, Message: fmt.Sprintf(format, args...), Cause: cause}
}
