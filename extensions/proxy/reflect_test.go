package proxy_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

type user struct{ Name string }

type Greeter struct {
	Say     func(ctx context.Context, name string) (string, error)
	Add     func(a, b int) (int, error)
	Ping    func() error
	Touch   func(ctx context.Context) error
	Find    func(ctx context.Context, key any, filter map[string]int, near *user) (*user, error)
	Renamed func(string) error   `bhrpc:"method=Original,timeout=2s"`
	Bounded func([]string) error `bhrpc:"timeout=250ms"`
	Read    func(int) error      `bhrpc:"idempotent"`
	Reread  func(int) error      `bhrpc:"method=Read,idempotent,timeout=1s"`
	Mine    func(...chan int)    `bhrpc:"-"`
	Other   int                  `bhrpc:"-"`
	private int
}

func TestStructCalls(t *testing.T) {
	var last string
	var lastCtx context.Context
	inv := &invoker{invoke: func(ctx context.Context, call *spi.Call) error {
		last, lastCtx = describe(call), ctx
		switch reply := call.Reply.(type) {
		case nil:
		case *string:
			*reply = "hello"
		case *int:
			*reply = 42
		case **user:
			*reply = &user{"found"}
		}
		return nil
	}}
	var g Greeter
	bind(t, "reflect", &g, inv)
	type ctxKey struct{}
	ctx := context.WithValue(t.Context(), ctxKey{}, 1)
	for _, tt := range []struct {
		name   string
		call   func() (any, error)
		want   string // the call
		result any
		ctx    context.Context
	}{
		{"context and result", func() (any, error) { return g.Say(ctx, "ann") }, `Greeter.Say("ann")`, "hello", ctx},
		{"without a context", func() (any, error) { return g.Add(1, -2) }, `Greeter.Add(1, -2)`, 42, context.Background()},
		{"nothing but an error", func() (any, error) { return nil, g.Ping() }, `Greeter.Ping()`, nil, context.Background()},
		{"only a context", func() (any, error) { return nil, g.Touch(ctx) }, `Greeter.Touch()`, nil, ctx},
		{"a nil context", func() (any, error) { return nil, g.Touch(nil) }, `Greeter.Touch()`, nil, context.Background()},
		{"renamed", func() (any, error) { return nil, g.Renamed("x") }, `Greeter.Original("x") within 2s`, nil, context.Background()},
		{"bounded", func() (any, error) { return nil, g.Bounded([]string{"x"}) }, `Greeter.Bounded([]string{"x"}) within 250ms`, nil, context.Background()},
		{"idempotent", func() (any, error) { return nil, g.Read(7) }, "Greeter.Read(7) perhaps twice", nil, context.Background()},
		{"idempotent and more", func() (any, error) { return nil, g.Reread(7) }, "Greeter.Read(7) within 1s perhaps twice", nil, context.Background()},
		{"interfaces, maps and nil pointers", func() (any, error) {
			u, err := g.Find(ctx, 7, map[string]int{"a": 1}, nil)
			return *u, err
		}, `Greeter.Find(7, map[string]int{"a":1}, (*proxy_test.user)(nil))`, user{"found"}, ctx},
		{"a nil interface", func() (any, error) {
			u, err := g.Find(ctx, nil, nil, nil)
			return *u, err
		}, `Greeter.Find(interface {}(nil), map[string]int(nil), (*proxy_test.user)(nil))`, user{"found"}, ctx},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result, err := tt.call()
			if err != nil || result != tt.result {
				t.Errorf("result: got %v, error %v, want %v", result, err, tt.result)
			}
			if last != tt.want {
				t.Errorf("call: got %s, want %s", last, tt.want)
			}
			if lastCtx != tt.ctx {
				t.Errorf("context: got %v, want %v", lastCtx, tt.ctx)
			}
		})
	}
	if g.Mine != nil || g.Other != 0 || g.private != 0 {
		t.Error("skipped fields: got something, want them untouched")
	}
}

func TestStructErrors(t *testing.T) {
	failure := spi.Errorf(spi.Unavailable, "gone")
	inv := &invoker{invoke: func(_ context.Context, call *spi.Call) error {
		if reply, ok := call.Reply.(*string); ok {
			*reply = "half decoded"
		}
		return failure
	}}
	var g Greeter
	bind(t, "reflect", &g, inv)
	got, err := g.Say(t.Context(), "x")
	if !errors.Is(err, failure) || got != "" {
		t.Errorf("Say: got %q, error %v, want no result and %v", got, err, failure)
	}
	if err := g.Ping(); !errors.Is(err, failure) {
		t.Errorf("Ping: got error %v, want %v", err, failure)
	}
}

// Methods are resolved at Bind, once, and calls reuse them.
func TestStructResolvesAtBind(t *testing.T) {
	methods := map[*spi.Method]bool{}
	inv := &invoker{invoke: func(_ context.Context, call *spi.Call) error {
		methods[call.Method] = true
		return nil
	}}
	var g struct {
		_ struct{} `bhrpc:"service=demo.Greeter"`
		A func() error
		B func() error `bhrpc:"method=C"`
	}
	bind(t, "reflect", &g, inv)
	if got, want := strings.Join(inv.resolved, " "), "demo.Greeter/A demo.Greeter/C"; got != want {
		t.Errorf("resolved by Bind: got %s, want %s", got, want)
	}
	for range 3 {
		if g.A() != nil || g.B() != nil {
			t.Error("call: got an error")
		}
	}
	if len(inv.resolved) != 2 || len(methods) != 2 {
		t.Errorf("after 6 calls: resolved %q, used %d methods, want 2 of each", inv.resolved, len(methods))
	}
}

type Wrong struct {
	Value     int
	Variadic  func(ctx context.Context, names ...string) error
	NoError   func(string) string
	Nothing   func(string)
	Three     func() (int, int, error)
	Reversed  func() (error, int)
	Late      func(name string, ctx context.Context) error
	Channel   func(chan int) (func(), error)
	Typo      func() error `bhrpc:"metod=Say"`
	Odd       func() error `bhrpc:"timeout=20"`
	Negative  func() error `bhrpc:"timeout=-1s"`
	Empty     func() error `bhrpc:"method="`
	Twice     func() error `bhrpc:"method=A,method=B"`
	Blank     func() error `bhrpc:",method=A"`
	Misspelt  func() error `bhrpc:"idempotant"`
	Valued    func() error `bhrpc:"idempotent=true"`
	Valueless func() error `bhrpc:"idempotent="`
	Again     func() error `bhrpc:"idempotent,idempotent"`
	small     func() error
	tagged    int `bhrpc:"method=A"`
	Good      func() error
	_         struct{} `bhrpc:"servise=Greeter"`
}

func TestStructNamesEveryFault(t *testing.T) {
	var w Wrong
	err := open(t, "reflect").Bind(&w, &invoker{})
	if err == nil {
		t.Fatal("Bind: got no error")
	}
	want := []string{
		"bind *proxy_test.Wrong: ",
		"field Value: it is a int; only functions can be bound",
		"field Variadic: it takes any number of arguments, which a method cannot; take a slice",
		"field NoError: it is a func(string) string; it must return an error, alone or after one result: func(ctx context.Context, args...) (result, error)",
		"field Nothing: it is a func(string); it must return an error",
		"field Three: ", "field Reversed: ",
		"field Late: argument 1 is a context.Context; only the first can be",
		"field Channel: argument 0 is a chan int, which cannot travel", "field Channel: its result is a func(), which cannot travel",
		`field Typo: unknown key "metod" in tag bhrpc:"metod=Say"; did you mean "method"?; known: method, timeout, idempotent`,
		`field Odd: timeout in tag bhrpc:"timeout=20": "20" is not a duration; write a number and a unit`,
		`field Negative: timeout in tag bhrpc:"timeout=-1s": -1s is not above 0s`,
		`field Empty: method in tag bhrpc:"method=": it is empty; want key=value`,
		`field Twice: method appears twice in tag bhrpc:"method=A,method=B"`,
		`field Blank: unknown key ""`,
		`field Misspelt: unknown key "idempotant" in tag bhrpc:"idempotant"; did you mean "idempotent"?`,
		`field Valued: idempotent in tag bhrpc:"idempotent=true": it takes no value; write the word alone, or leave it out`,
		`field Valueless: idempotent in tag bhrpc:"idempotent=": it takes no value`,
		`field Again: idempotent appears twice`,
		"field small: it is not exported", "field tagged: it is not exported",
		`field _: unknown key "servise" in tag bhrpc:"servise=Greeter"; did you mean "service"?`,
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("Bind: got\n%v\nwant it to contain %q", err, text)
		}
	}
	if got := strings.Count(err.Error(), "field "); got != len(want)-1 {
		t.Errorf("faults: got %d, want %d\n%v", got, len(want)-1, err)
	}
	if w.Good != nil || w.small != nil || w.tagged != 0 {
		t.Errorf("fields after a failed Bind: got %+v, want none filled", w)
	}
}

type Generic[T any] struct{ Say func(T) error }

func TestStructWithoutService(t *testing.T) {
	for _, tt := range []struct {
		name   string
		target any
		want   string
	}{
		{"no name", &struct{ Say func() error }{}, "name one on a field: _ struct{} `bhrpc:\"service=Greeter\"`"},
		{"a generic type", &Generic[int]{}, "its type's name is no service"},
		{"no fields", &user{}, "field Name: it is a string"},
		{"nothing at all", &struct {
			_ struct{} `bhrpc:"service=A"`
		}{}, "it has no func fields; want fields such as func(ctx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := open(t, "reflect").Bind(tt.target, &invoker{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Bind: got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// Arguments and results are the call's own, though what carries them is reused.
func TestStructConcurrently(t *testing.T) {
	inv := &invoker{invoke: func(_ context.Context, call *spi.Call) error {
		a, b := *call.Args.At(0).(*int), *call.Args.At(1).(*int)
		*call.Reply.(*int) = a*1000 + b
		return nil
	}}
	var g Greeter
	bind(t, "reflect", &g, inv)
	var all sync.WaitGroup
	for a := range 8 {
		all.Go(func() {
			for b := range 500 {
				if got, err := g.Add(a, b); err != nil || got != a*1000+b {
					t.Errorf("Add(%d, %d): got %d, error %v", a, b, got, err)
				}
			}
		})
	}
	all.Wait()
}

// A call that is over holds nothing: the next one begins with zero values.
func TestStructForgetsArguments(t *testing.T) {
	var kept spi.Args
	inv := &invoker{invoke: func(_ context.Context, call *spi.Call) error {
		kept = call.Args // against the contract, to look at it afterwards
		return nil
	}}
	var g Greeter
	bind(t, "reflect", &g, inv)
	if err := g.Bounded([]string{"secret"}); err != nil {
		t.Fatal(err)
	}
	if got := *kept.At(0).(*[]string); got != nil {
		t.Errorf("argument after the call: got %q, want nil", got)
	}
}
