package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bhrpc/bhrpc/spi"
)

const (
	maxFaults = 100 // told in one error; more are counted
	maxShown  = 60  // bytes of a key or value that a message repeats
)

// faults collects what is wrong with a configuration.
type faults struct {
	list []*spi.ConfigError
	more int // beyond maxFaults
}

func (f *faults) full() bool { return len(f.list) >= maxFaults }

// add collects one fault of a key, which may be "" if no key is to blame. In a file
// the message begins with the key; elsewhere [spi.ConfigError] tells it.
func (f *faults) add(at spi.Pos, key string, cause error, format string, args ...any) {
	if f.full() {
		f.more++
		return
	}
	message := fmt.Sprintf(format, args...)
	if at.Line > 0 && key != "" {
		message = plain(key) + ": " + message
	}
	f.list = append(f.list, &spi.ConfigError{At: at, Key: key, Message: message, Cause: cause})
}

// unknown collects a key of a section that is none of known.
func (f *faults) unknown(at spi.Pos, section, key string, known []string) {
	if f.full() {
		f.more++
		return
	}
	full := join(section, key)
	message := "unknown key"
	if at.Line > 0 {
		message += " " + plain(full)
	}
	if near := spi.Nearest(key, known); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	if section == "" {
		section = "the configuration"
	}
	message += fmt.Sprintf("\n  keys of %s: %s", plain(section), strings.Join(known, ", "))
	f.list = append(f.list, &spi.ConfigError{At: at, Key: full, Message: message, Cause: spi.ErrUnknown})
}

// has reports whether something is wrong with key already.
func (f *faults) has(key string) bool {
	return slices.ContainsFunc(f.list, func(e *spi.ConfigError) bool { return e.Key == key })
}

// err returns nil or all faults joined: those of the file by position, then the
// others in the order in which they were found.
func (f *faults) err() error {
	slices.SortStableFunc(f.list, func(a, b *spi.ConfigError) int {
		inFile := func(e *spi.ConfigError) int { return min(e.At.Line, 1) }
		return cmp.Or(
			cmp.Compare(inFile(b), inFile(a)),
			cmp.Compare(a.At.Line, b.At.Line),
			cmp.Compare(a.At.Column, b.At.Column),
		)
	})
	errs := make([]error, len(f.list))
	for i, e := range f.list {
		errs[i] = e
	}
	if f.more > 0 {
		errs = append(errs, &spi.ConfigError{Message: fmt.Sprintf("and %d more faults", f.more), Cause: spi.ErrInvalid})
	}
	return errors.Join(errs...)
}

// clip shortens text to what a message repeats of it.
func clip(text string) string {
	if len(text) <= maxShown {
		return text
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// plain returns text as a message shows a key: as it is, unless that would break
// the line.
func plain(text string) string {
	text = clip(text)
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}
