package core

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// shapes has a method of every shape, good and bad.
type shapes struct{}

func (shapes) Full(context.Context, string, int) (string, error)     { return "", nil }
func (shapes) NoContext(string) (string, error)                      { return "", nil }
func (shapes) NoArguments(context.Context) (string, error)           { return "", nil }
func (shapes) NoResult(context.Context, string) error                { return nil }
func (shapes) Nothing() error                                        { return nil }
func (shapes) Map(map[string][]int, *int, [2]bool) ([]shapes, error) { return nil, nil }
func (shapes) Anything(any) (any, error)                             { return nil, nil }
func (shapes) Variadic(...string) (string, error)                    { return "", nil }
func (shapes) LateContext(string, context.Context) error             { return nil }
func (shapes) TwoContexts(context.Context, context.Context) error    { return nil }
func (shapes) Channel(context.Context, chan int) error               { return nil }
func (shapes) Callback(func()) error                                 { return nil }
func (shapes) NoError(string) string                                 { return "" }
func (shapes) NothingAtAll()                                         {}
func (shapes) TwoResults(context.Context) (string, int, error)       { return "", 0, nil }
func (shapes) hidden(context.Context) error                          { return nil }

// ErrorFirst has its results the wrong way round.
//
//lint:ignore ST1008 that is what is tested
func (shapes) ErrorFirst() (error, string) { return nil, "" }

func TestShapes(t *testing.T) {
	s, err := NewService("", shapes{})
	if err != nil {
		t.Fatal(err)
	}
	_ = shapes{}.hidden(t.Context())
	if s.Name != "shapes" || s.Key() != "shapes" {
		t.Errorf("got name %q and key %q, want that of the type", s.Name, s.Key())
	}
	for _, test := range []struct {
		name string // of the method
		want string // signature, or why it was skipped
		void bool
	}{
		{"Full", "Full(string, int) string", false},
		{"NoContext", "NoContext(string) string", false},
		{"NoArguments", "NoArguments() string", false},
		{"NoResult", "NoResult(string)", true},
		{"Nothing", "Nothing()", true},
		{"Map", "Map(map[string][]int, *int, [2]bool) []core.shapes", false},
		{"Anything", "Anything(interface {}) interface {}", false},
		{"Variadic", "shapes.Variadic: variadic; take a slice", false},
		{"LateContext", "shapes.LateContext: a context that is not the first argument", false},
		{"TwoContexts", "shapes.TwoContexts: a context that is not the first argument", false},
		{"Channel", "shapes.Channel: argument 2 is a chan int, which cannot travel", false},
		{"Callback", "shapes.Callback: argument 1 is a func(), which cannot travel", false},
		{"NoError", "shapes.NoError: the last result must be an error", false},
		{"NothingAtAll", "shapes.NothingAtAll: the last result must be an error", false},
		{"ErrorFirst", "shapes.ErrorFirst: the last result must be an error", false},
		{"TwoResults", "shapes.TwoResults: more than one result beside the error; return a struct", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, m := range s.Methods {
				if m.Name == test.name && (m.Signature != test.want || m.Void != test.void) {
					t.Errorf("got %q, void %v; want %q, %v", m.Signature, m.Void, test.want, test.void)
				}
				if m.Name == test.name {
					return
				}
			}
			for _, text := range s.Skipped {
				if text == test.want {
					return
				}
			}
			t.Errorf("got methods %v, skipped %q; want %q", s.names(), s.Skipped, test.want)
		})
	}
	if got := len(s.Methods) + len(s.Skipped); got != 16 {
		t.Errorf("got %d methods, want 16", got)
	}
}

type (
	byPointer  struct{}
	outer      struct{ inner }
	inner      struct{}
	wraps      struct{ *byPointer }
	box[T any] struct{ v T }
	nothing    struct{}
	onlyWrong  struct{}
	named      func()
	both       []int
)

func (both) Silent()           {}
func (*both) Say(string) error { return nil }

func (*byPointer) Say(string) (string, error) { return "", nil }
func (inner) Deep(string) (string, error)     { return "deep", nil }
func (b box[T]) Get() (T, error)              { return b.v, nil }
func (onlyWrong) Variadic(...int) error       { return nil }
func (onlyWrong) Silent()                     {}
func (named) Say(string) (string, error)      { return "func", nil }

func TestNewService(t *testing.T) {
	var nilPointer *byPointer
	for _, test := range []struct {
		name    string
		service string
		impl    any
		want    string // name and methods, or the error
	}{
		{"a value", "", shapes{}, "shapes"},
		{"a pointer", "", &byPointer{}, "byPointer Say"},
		{"a pointer that is nil", "", nilPointer, "byPointer Say"},
		{"a pointer that is nil, with a name", "Greeter", nilPointer, "Greeter Say"},
		{"a name", "com.example/Greeter-2_x", &byPointer{}, "com.example/Greeter-2_x Say"},
		{"an embedded method", "", outer{}, "outer Deep"},
		{"an embedded pointer", "", wraps{}, "wraps Say"},
		{"a func with methods", "", named(nil), "named Say"},
		{"a generic type", "Box", box[int]{}, "Box Get"},
		{"nil", "", nil, "a service is a value with methods, not nil"},
		{"no name", "", struct{ inner }{}, `service "" (struct { core.inner }) needs a name of letters, digits and _ . / -`},
		{"a generic type without a name", "", box[int]{}, `service "box[int]" (core.box[int]) needs a name of letters, digits and _ . / -`},
		{"a wrong name", "a b", shapes{}, `service "a b" (core.shapes) needs a name of letters, digits and _ . / -`},
		{"a name with a version", "a#1#", shapes{}, `service "a#1#" (core.shapes) needs a name of letters, digits and _ . / -`},
		{"a name too long", strings.Repeat("a", 129), shapes{}, `service "` + strings.Repeat("a", 129) + `" (core.shapes) needs a name of letters, digits and _ . / -`},
		{"the longest name", strings.Repeat("a", 128), shapes{}, strings.Repeat("a", 128)},
		{"a reserved name", "bhrpc", shapes{}, "service names that begin with bhrpc are the framework's own; core.shapes needs another one"},
		{"a reserved beginning", "bhrpc.x", shapes{}, "service names that begin with bhrpc are the framework's own; core.shapes needs another one"},
		{"not reserved", "bhrpcx", shapes{}, "bhrpcx"},
		{"a value instead of a pointer", "", byPointer{}, "service byPointer (core.byPointer) has no method that can be called; its methods belong to *byPointer, so pass a pointer; want func(ctx context.Context, args...) (result, error)"},
		{"some of them a pointer's", "", both{}, "service both (core.both) has no method that can be called; its methods belong to *both, so pass a pointer; want func(ctx context.Context, args...) (result, error)"},
		{"no methods", "", nothing{}, "service nothing (core.nothing) has no method that can be called; want func(ctx context.Context, args...) (result, error)"},
		{"no method that can be called", "", onlyWrong{}, "service onlyWrong (core.onlyWrong) has no method that can be called; onlyWrong.Silent: the last result must be an error; onlyWrong.Variadic: variadic; take a slice; want func(ctx context.Context, args...) (result, error)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := NewService(test.service, test.impl)
			got := ""
			switch {
			case err != nil:
				got = err.Error()
			case len(s.Methods) == 1:
				got = s.Name + " " + s.Methods[0].Name
			default:
				got = s.Name
			}
			if got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestInline(t *testing.T) {
	s, err := NewService("", shapes{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Inline("Full", "Nothing"); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Methods {
		if want := m.Name == "Full" || m.Name == "Nothing"; m.Inline != want {
			t.Errorf("%s: got inline %v, want %v", m.Name, m.Inline, want)
		}
	}
	if err := s.Inline("full"); err == nil || !strings.HasPrefix(err.Error(), "service shapes has no method full; it has Anything, Full, ") {
		t.Errorf("got %v, want the names that there are", err)
	}
}

// counter is called by reflection in every way there is.
type counter struct{ total int }

func (c *counter) Add(ctx context.Context, n int, more []int) (int, error) {
	if ctx.Err() != nil {
		return 1 << 30, ctx.Err()
	}
	c.total += n
	for _, m := range more {
		c.total += m
	}
	return c.total, nil
}

func (c *counter) Reset() error {
	if c.total == 0 {
		return errors.New("nothing to reset")
	}
	c.total = 0
	return nil
}

func TestMethodCall(t *testing.T) {
	s, err := NewService("", &counter{})
	if err != nil {
		t.Fatal(err)
	}
	add, reset := s.Methods[0], s.Methods[1]
	call := func(ctx context.Context, n int, more []int) (any, error) {
		args := add.NewArgs()
		defer add.FreeArgs(args)
		if args.Len() != 2 || *args.At(0).(*int) != 0 || *args.At(1).(*[]int) != nil {
			t.Fatalf("got arguments %v and %v, want zero ones", *args.At(0).(*int), *args.At(1).(*[]int))
		}
		*args.At(0).(*int), *args.At(1).(*[]int) = n, more
		return add.Call(ctx, args)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	kept := []int{10, 20}
	for range 3 { // arguments are used again
		if got, err := call(t.Context(), 1, kept); got != 31 || err != nil {
			t.Errorf("got %v, %v, want 31", got, err)
		}
		if kept[0] != 10 {
			t.Error("the caller's slice was cleared, want it left alone")
		}
		if got, err := call(canceled, 5, nil); got != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v, want no result and %v", got, err, context.Canceled)
		}
		args := reset.NewArgs()
		if got, err := reset.Call(t.Context(), args); got != nil || err != nil {
			t.Errorf("got %v, %v, want nothing", got, err)
		}
		if _, err := reset.Call(t.Context(), args); err == nil {
			t.Error("got no error, want the method's")
		}
		reset.FreeArgs(args)
	}
}
