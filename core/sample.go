package core

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

// Sample is a first call to try.
type Sample struct {
	Service, Method string
	Args            []string // each as JSON that a shell can quote
}

// FirstCall returns a call for a first try: of a method with arguments if there is
// one that can be called without a version or group. ok is false if there is nothing
// to try.
func FirstCall(services []*Service) (first Sample, ok bool) {
	for _, s := range services {
		if s.Key() != s.Name || s.Name == IntrospectionService {
			continue
		}
		for _, m := range s.Methods {
			args, usable := sampleArgs(m)
			if !usable {
				continue
			}
			first, ok = Sample{s.Name, m.Name, args}, true
			if len(args) > 0 {
				return first, true
			}
		}
	}
	return first, ok
}

// Curl returns the command that makes the call by HTTP. target is what stands before
// the path, as "127.0.0.1:7070".
func (s Sample) Curl(target string) string {
	return "curl -s " + target + "/" + s.Service + "/" + s.Method + " -d '[" + strings.Join(s.Args, ", ") + "]'"
}

// Tool returns the command that makes the call by the command-line tool. target is
// an address, after options if it needs any.
func (s Sample) Tool(target string) string {
	text := "bhrpc call " + target + " " + s.Service + "." + s.Method
	for _, arg := range s.Args {
		text += " '" + arg + "'"
	}
	return text
}

// sampleArgs returns arguments for a first call of m.
func sampleArgs(m *Method) ([]string, bool) {
	args := m.NewArgs()
	if m.FreeArgs != nil {
		defer m.FreeArgs(args)
	}
	return textsOf(args)
}

func textsOf(args spi.Args) ([]string, bool) {
	texts := make([]string, args.Len())
	for i := range texts {
		v := reflect.ValueOf(args.At(i)).Elem()
		if v.Kind() == reflect.String {
			v = reflect.ValueOf("world")
		}
		text, err := json.Marshal(v.Interface())
		if err != nil || strings.ContainsRune(string(text), '\'') {
			return nil, false
		}
		texts[i] = string(text)
	}
	return texts, true
}
