package audit

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// Rule says which calls are refused, and how. What it leaves out fits every call.
type Rule struct {
	Service  string            `json:"service" doc:"name of the service"`
	Method   string            `json:"method" doc:"name of the method"`
	Metadata map[string]string `json:"metadata" doc:"what the call's metadata holds; all of it"`
	Unless   map[string]string `json:"unless" doc:"metadata with which the call passes; any of it"`
	Code     string            `json:"code" doc:"code of the error, as PERMISSION_DENIED, which it is when left out"`
	Message  string            `json:"message" doc:"what the error says"`
}

// fits reports whether the call is to be refused.
func (r *Rule) fits(in spi.Invocation) bool {
	if r.Service != "" && r.Service != in.Service || r.Method != "" && r.Method != in.Method {
		return false
	}
	holds := func(key, want string) bool {
		got, ok := in.Metadata.Get(key)
		return ok && got == want
	}
	for key, want := range r.Metadata {
		if !holds(key, want) {
			return false
		}
	}
	for key, want := range r.Unless {
		if holds(key, want) {
			return false
		}
	}
	return true
}

// refusal returns the error of a call that is refused.
func (r *Rule) refusal(in spi.Invocation) *spi.Refusal {
	code, _ := codeNamed(r.Code)
	message := r.Message
	if message == "" {
		message = fmt.Sprintf("%s.%s is refused by a rule of the audit", in.Service, in.Method)
	}
	return &spi.Refusal{Code: code, Message: message}
}

// codeNamed returns the code of a name; that of "" is PermissionDenied.
func codeNamed(name string) (spi.Code, bool) {
	if name == "" {
		return spi.PermissionDenied, true
	}
	for c := spi.Canceled; c.Valid(); c++ {
		if c.String() == name {
			return c, true
		}
	}
	return 0, false
}

// validate lists everything that is wrong with a configuration.
func validate(file string, rules []Rule) error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if file != "" && !filepath.IsAbs(file) {
		fault("file: %q is not an absolute path; a plugin runs in a directory of its host", file)
	}
	for i, r := range rules {
		if r.Service == "" && r.Method == "" && len(r.Metadata) == 0 && len(r.Unless) == 0 {
			fault("rules, entry %d: it would refuse every call; write a service, a method or metadata", i)
		}
		if _, ok := codeNamed(r.Code); !ok {
			hint := ""
			if near := spi.Nearest(r.Code, codeNames()); near != "" {
				hint = fmt.Sprintf("; did you mean %q?", near)
			}
			fault("rules, entry %d, code: unknown value %q%s\n  known: %s", i, r.Code, hint, strings.Join(codeNames(), ", "))
		}
		for _, key := range slices.Sorted(maps.Keys(r.Metadata)) {
			if r.Unless[key] == r.Metadata[key] && r.Unless != nil {
				fault("rules, entry %d: it fits no call, since %s=%s is both in metadata and in unless", i, key, r.Metadata[key])
			}
		}
	}
	return errors.Join(errs...)
}

func codeNames() []string {
	var names []string
	for c := spi.Canceled; c.Valid(); c++ {
		names = append(names, c.String())
	}
	return names
}
