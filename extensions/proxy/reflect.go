package proxy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/spi"
)

func openStruct(context.Context, spi.Env, none) (spi.Proxy, error) { return structProxy{}, nil }

// structProxy fills the func fields of a struct.
type structProxy struct{}

func (structProxy) Bind(target any, inv spi.Invoker) error {
	v := reflect.ValueOf(target)
	if _, ok := target.(*Dynamic); ok || v.Kind() != reflect.Pointer || v.Type().Elem().Kind() != reflect.Struct {
		return fmt.Errorf("bind %T: proxy reflect binds a pointer to a struct of func fields, proxy dynamic a *proxy.Dynamic", target)
	}
	if v.IsNil() {
		return fmt.Errorf("bind %T: the pointer is nil; pass the address of a variable", target)
	}
	v = v.Elem()
	service, stubs, err := describe(v.Type())
	if err != nil {
		return fmt.Errorf("bind %T: %w", target, err)
	}
	for _, s := range stubs {
		v.Field(s.field).Set(s.bind(inv, service))
	}
	return nil
}

// tagKey is the key of the struct tags that this proxy reads.
const tagKey = "bhrpc"

// describe finds the service and the func fields of a struct, or all of its faults.
func describe(t reflect.Type) (service string, stubs []*stub, err error) {
	service = t.Name()
	var faults []error
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup(tagKey)
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("field %s: %s", f.Name, fmt.Sprintf(format, args...)))
		}
		switch {
		case tag == "-":
		case f.Name == "_":
			name, err := serviceTag(tag)
			if err != nil {
				fault("%v", err)
			} else if name != "" {
				service = name
			}
		case !f.IsExported():
			if tagged || f.Type.Kind() == reflect.Func {
				fault("it is not exported and cannot be filled; begin its name with a capital, or skip it with the tag `bhrpc:\"-\"`")
			}
		case f.Type.Kind() != reflect.Func:
			fault("it is a %s; only functions can be bound; skip it with the tag `bhrpc:\"-\"`", f.Type)
		default:
			s, err := newStub(i, f, tag)
			if err != nil {
				faults = append(faults, err)
			}
			stubs = append(stubs, s)
		}
	}
	if len(stubs) == 0 && len(faults) == 0 {
		faults = append(faults, fmt.Errorf("it has no func fields; want fields such as %s", form))
	}
	if service == "" || strings.Contains(service, "[") {
		faults = append(faults, errors.New("its type's name is no service; name one on a field: _ struct{} `bhrpc:\"service=Greeter\"`"))
	}
	return service, stubs, errors.Join(faults...)
}

// form is the expected form of a field, for errors.
const form = "func(ctx context.Context, args...) (result, error)"

// settings splits a tag "key=value,flag,key=value" and hands each pair to set; the
// value of a flag is "".
func settings(tag string, keys, flags []string, set func(key, value string) error) error {
	if tag == "" {
		return nil
	}
	var faults []error
	seen := map[string]bool{}
	known := slices.Concat(keys, flags)
	for part := range strings.SplitSeq(tag, ",") {
		key, value, valued := strings.Cut(part, "=")
		err := set(key, value)
		if valued && slices.Contains(flags, key) {
			err = errValue
		}
		switch {
		case errors.Is(err, spi.ErrUnknown):
			message := fmt.Sprintf("unknown key %q in tag bhrpc:%q", key, tag)
			if near := spi.Nearest(key, known); near != "" {
				message += fmt.Sprintf("; did you mean %q?", near)
			}
			faults = append(faults, fmt.Errorf("%s; known: %s", message, strings.Join(known, ", ")))
		case err != nil:
			faults = append(faults, fmt.Errorf("%s in tag bhrpc:%q: %w", key, tag, err))
		case seen[key]:
			faults = append(faults, fmt.Errorf("%s appears twice in tag bhrpc:%q", key, tag))
		}
		seen[key] = true
	}
	return errors.Join(faults...)
}

var (
	errEmpty = errors.New("it is empty; want key=value")
	errValue = errors.New("it takes no value; write the word alone, or leave it out")
)

// serviceTag reads the tag of a blank field: the service's name, or "".
func serviceTag(tag string) (service string, err error) {
	err = settings(tag, []string{"service"}, nil, func(key, value string) error {
		switch {
		case key != "service":
			return spi.ErrUnknown
		case value == "":
			return errEmpty
		}
		service = value
		return nil
	})
	return service, err
}

// methodTag reads the tag of a func field into s.
func (s *stub) methodTag(tag string) error {
	return settings(tag, []string{"method", "timeout"}, []string{"idempotent"}, func(key, value string) error {
		switch {
		case key == "idempotent":
			s.idempotent = true
			return nil
		case key != "method" && key != "timeout":
			return spi.ErrUnknown
		case value == "":
			return errEmpty
		case key == "method":
			s.name = value
			return nil
		}
		var d spi.Duration
		if err := d.UnmarshalText([]byte(value)); err != nil {
			return err
		}
		if s.timeout = d.D(); s.timeout <= 0 {
			return fmt.Errorf("%s is not above 0s", value)
		}
		return nil
	})
}
