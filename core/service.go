package core

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/bhrpc/bhrpc/spi"
)

// Service is a value whose methods can be called. Make one with [NewService] and
// hand it to [Provider.Register]; generated code fills in Methods itself.
type Service struct {
	Name    string
	Version string // "" if it has none
	Group   string // "" if it has none
	Methods []*Method

	// Skipped holds the exported methods that cannot be called, with the reason.
	Skipped []string
}

// Key returns what identifies the service among providers.
func (s *Service) Key() string { return spi.ServiceKey(s.Name, s.Version, s.Group) }

// Inline marks methods to run in the connection's reader: faster, and only for
// methods that never block. An error names a method that the service does not have.
func (s *Service) Inline(methods ...string) error {
	for _, name := range methods {
		i := slices.IndexFunc(s.Methods, func(m *Method) bool { return m.Name == name })
		if i < 0 {
			return fmt.Errorf("service %s has no method %s; it has %s", s.Name, name, strings.Join(s.names(), ", "))
		}
		s.Methods[i].Inline = true
	}
	return nil
}

func (s *Service) names() []string {
	names := make([]string, len(s.Methods))
	for i, m := range s.Methods {
		names[i] = m.Name
	}
	return names
}

// Method is one callable method of a Service.
type Method struct {
	Name      string
	Signature string // for people: "Say(string) string"
	Void      bool   // it has no result
	Inline    bool   // run it in the connection's reader, unless answers wait for room there; it must not block

	// NewArgs returns zero arguments, pointers all, to be decoded into. FreeArgs, if
	// set, takes them back after the call.
	NewArgs  func() spi.Args
	FreeArgs func(spi.Args)

	// Call runs the method and returns its result, or a pointer to it.
	Call func(ctx context.Context, args spi.Args) (any, error)
}

// serviceNames is what a service may be called.
var serviceNames = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]{0,127}$`)

// reserved begins the names of the framework's own services.
const reserved = "bhrpc"

// NewService describes the methods of impl that look like
//
//	func(ctx context.Context, args...) (result, error)
//
// where ctx and the result may be absent. name "" stands for the name of impl's
// type. Errors: no name, or no such method, with what is wrong with each.
func NewService(name string, impl any) (*Service, error) {
	v := reflect.ValueOf(impl)
	if !v.IsValid() {
		return nil, errors.New("a service is a value with methods, not nil")
	}
	if name == "" {
		t := v.Type()
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		name = t.Name()
	}
	if !serviceNames.MatchString(name) {
		return nil, fmt.Errorf("service %q (%T) needs a name of letters, digits and _ . / -", name, impl)
	}
	if name == reserved || strings.HasPrefix(name, reserved+".") {
		return nil, fmt.Errorf("service names that begin with %s are the framework's own; %T needs another one", reserved, impl)
	}
	s := &Service{Name: name}
	for i := range v.NumMethod() {
		method := v.Type().Method(i)
		m, err := newMethod(v, method)
		if err != nil {
			s.Skipped = append(s.Skipped, fmt.Sprintf("%s.%s: %v", name, method.Name, err))
			continue
		}
		s.Methods = append(s.Methods, m)
	}
	if len(s.Methods) > 0 {
		return s, nil
	}
	hint := ""
	if t := v.Type(); reflect.PointerTo(t).NumMethod() > t.NumMethod() {
		hint = fmt.Sprintf("; its methods belong to *%s, so pass a pointer", t.Name())
	} else if len(s.Skipped) > 0 {
		hint = "; " + strings.Join(s.Skipped, "; ")
	}
	return nil, fmt.Errorf("service %s (%T) has no method that can be called%s; want func(ctx context.Context, args...) (result, error)", name, impl, hint)
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// shape is the part of a method's type that decides how it is called.
type shape struct {
	withContext bool
	void        bool
	args        []reflect.Type
}

func shapeOf(t reflect.Type) (shape, error) {
	var s shape
	if t.IsVariadic() {
		return s, errors.New("variadic; take a slice")
	}
	for i := range t.NumIn() {
		switch in := t.In(i); {
		case i == 0 && in == contextType:
			s.withContext = true
		case in == contextType:
			return s, errors.New("a context that is not the first argument")
		case in.Kind() == reflect.Chan || in.Kind() == reflect.Func:
			return s, fmt.Errorf("argument %d is a %s, which cannot travel", i+1, in)
		default:
			s.args = append(s.args, in)
		}
	}
	switch n := t.NumOut(); {
	case n == 0 || t.Out(n-1) != errorType:
		return s, errors.New("the last result must be an error")
	case n > 2:
		return s, errors.New("more than one result beside the error; return a struct")
	default:
		s.void = n == 1
	}
	return s, nil
}

func newMethod(receiver reflect.Value, method reflect.Method) (*Method, error) {
	t := receiver.Method(method.Index).Type() // without the receiver
	s, err := shapeOf(t)
	if err != nil {
		return nil, err
	}
	pool := &sync.Pool{New: func() any { return newReflectedArgs(receiver, s) }}
	return &Method{
		Name: method.Name, Signature: signature(method.Name, t), Void: s.void,
		NewArgs: func() spi.Args { return pool.Get().(*reflectedArgs) },
		FreeArgs: func(args spi.Args) {
			a := args.(*reflectedArgs)
			a.clear(s)
			pool.Put(a)
		},
		Call: func(ctx context.Context, args spi.Args) (any, error) {
			a := args.(*reflectedArgs)
			if s.withContext {
				a.in[1] = reflect.ValueOf(ctx)
			}
			out := method.Func.Call(a.in)
			err, _ := out[len(out)-1].Interface().(error)
			if s.void || err != nil {
				return nil, err
			}
			return out[0].Interface(), nil
		},
	}, nil
}

// reflectedArgs are arguments of a method that is called by reflection.
type reflectedArgs struct {
	in       []reflect.Value // receiver, context if wanted, arguments
	pointers []any           // to the arguments
}

func newReflectedArgs(receiver reflect.Value, s shape) *reflectedArgs {
	a := &reflectedArgs{in: []reflect.Value{receiver}}
	if s.withContext {
		a.in = append(a.in, reflect.Zero(contextType))
	}
	for _, t := range s.args {
		p := reflect.New(t)
		a.in = append(a.in, p.Elem())
		a.pointers = append(a.pointers, p.Interface())
	}
	return a
}

// clear forgets the last call's values.
func (a *reflectedArgs) clear(s shape) {
	if s.withContext {
		a.in[1] = reflect.Zero(contextType)
	}
	for _, arg := range a.in[len(a.in)-len(s.args):] {
		arg.SetZero()
	}
}

// Len implements [spi.Args].
func (a *reflectedArgs) Len() int { return len(a.pointers) }

// At implements [spi.Args].
func (a *reflectedArgs) At(i int) any { return a.pointers[i] }

// signature shows a method without its context and error: "Say(string) string".
func signature(name string, t reflect.Type) string {
	var args []string
	for i := range t.NumIn() {
		if i > 0 || t.In(i) != contextType {
			args = append(args, t.In(i).String())
		}
	}
	text := name + "(" + strings.Join(args, ", ") + ")"
	if t.NumOut() == 2 {
		text += " " + t.Out(0).String()
	}
	return text
}
