package proxy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
	noError     = reflect.Zero(errorType)
)

// stub is what stands behind one func field.
type stub struct {
	field   int // of the struct
	name    string
	timeout time.Duration
	context bool           // whether a context comes first
	args    []reflect.Type // without the context
	result  reflect.Type   // nil: none
	typ     reflect.Type   // of the field

	idempotent bool

	// Set by bind.
	inv    spi.Invoker
	method *spi.Method
	calls  sync.Pool // of *structCall
}

// newStub reads the shape and the tag of a func field. The error names all that is
// wrong with it.
func newStub(index int, f reflect.StructField, tag string) (*stub, error) {
	s := &stub{field: index, name: f.Name, typ: f.Type}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("field %s: "+format, append([]any{f.Name}, args...)...))
	}
	if err := s.methodTag(tag); err != nil {
		fault("%w", err)
	}
	if f.Type.IsVariadic() {
		fault("it takes any number of arguments, which a method cannot; take a slice")
	}
	for i := range f.Type.NumIn() {
		switch in := f.Type.In(i); {
		case in == contextType && i == 0:
			s.context = true
		case in == contextType:
			fault("argument %d is a context.Context; only the first can be", i)
		default:
			if !travels(in) {
				fault("argument %d is a %s, which cannot travel", i, in)
			}
			s.args = append(s.args, in)
		}
	}
	n := f.Type.NumOut()
	if n == 0 || n > 2 || f.Type.Out(n-1) != errorType {
		fault("it is a %s; it must return an error, alone or after one result: %s", f.Type, form)
	} else if n == 2 {
		s.result = f.Type.Out(0)
		if !travels(s.result) {
			fault("its result is a %s, which cannot travel", s.result)
		}
	}
	return s, errors.Join(faults...)
}

// travels reports whether values of t can be encoded as far as the type itself
// tells.
func travels(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	}
	return t != contextType && t != errorType
}

// bind returns the function that fills the field.
func (s *stub) bind(inv spi.Invoker, service string) reflect.Value {
	s.inv = inv
	s.method = inv.Method(service, s.name)
	s.calls.New = s.newCall
	return reflect.MakeFunc(s.typ, s.run)
}

// structCall is what one call needs, reused by later calls of the same stub. It
// implements [spi.Args].
type structCall struct {
	call     spi.Call
	values   []reflect.Value // the arguments, to be set
	pointers []any           // to the values
}

func (c *structCall) Len() int     { return len(c.pointers) }
func (c *structCall) At(i int) any { return c.pointers[i] }

func (s *stub) newCall() any {
	c := &structCall{}
	for _, t := range s.args {
		p := reflect.New(t)
		c.values = append(c.values, p.Elem())
		c.pointers = append(c.pointers, p.Interface())
	}
	return c
}

// run makes one call. The result and the slice that it returns are allocated each
// time, because the caller reads them after run has returned.
func (s *stub) run(in []reflect.Value) []reflect.Value {
	ctx := context.Background()
	if s.context {
		if given, ok := in[0].Interface().(context.Context); ok {
			ctx = given
		}
		in = in[1:]
	}
	c := s.calls.Get().(*structCall)
	for i, v := range in {
		c.values[i].Set(v)
	}
	c.call = spi.Call{Method: s.method, Timeout: s.timeout, Idempotent: s.idempotent}
	if len(in) > 0 {
		c.call.Args = c
	}
	var result reflect.Value
	if s.result != nil {
		result = reflect.New(s.result)
		c.call.Reply = result.Interface()
	}
	err := s.inv.Invoke(ctx, &c.call)
	for _, v := range c.values {
		v.SetZero()
	}
	c.call = spi.Call{}
	s.calls.Put(c)
	return s.answer(result, err)
}

// answer makes the returned values. Where there is an error the result is the zero
// value, whatever was decoded of it.
func (s *stub) answer(result reflect.Value, err error) []reflect.Value {
	failure := noError
	if err != nil {
		kept := err // only here does the variable outlive the call
		failure = reflect.ValueOf(&kept).Elem()
	}
	switch {
	case s.result == nil:
		return []reflect.Value{failure}
	case err != nil:
		return []reflect.Value{reflect.Zero(s.result), failure}
	}
	return []reflect.Value{result.Elem(), failure}
}
