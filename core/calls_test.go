package core_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// Order is an argument and a result.
type Order struct {
	Item  string
	Count int
	Tags  []string `json:",omitempty"`
}

// shapes has a method of every form that can be called.
type shapes struct{ last []any }

func (s *shapes) note(args ...any) { s.last = args }

func (s *shapes) Nothing() error                                { s.note(); return nil }
func (s *shapes) NothingButContext(context.Context) error       { s.note(); return nil }
func (s *shapes) Result() (string, error)                       { s.note(); return "result", nil }
func (s *shapes) NoResult(_ context.Context, text string) error { s.note(text); return nil }
func (s *shapes) One(_ context.Context, n int) (int, error)     { s.note(n); return n + 1, nil }
func (s *shapes) NoContext(n int) (int, error)                  { s.note(n); return n * 2, nil }
func (s *shapes) Struct(_ context.Context, o Order) (Order, error) {
	s.note(o)
	o.Count++
	return o, nil
}
func (s *shapes) Pointer(_ context.Context, o *Order) (*Order, error) {
	s.note(*o)
	o.Count++
	return o, nil
}
func (s *shapes) NilPointer(context.Context) (*Order, error) { s.note(); return nil, nil }
func (s *shapes) Map(m map[string]int) (map[string]int, error) {
	s.note(m)
	return m, nil
}
func (s *shapes) Any(v any) (any, error) { s.note(v); return v, nil }
func (s *shapes) Three(_ context.Context, text string, n int, list []string) (string, error) {
	s.note(text, n, list)
	return fmt.Sprint(text, n, strings.Join(list, "+")), nil
}

func TestCallShapes(t *testing.T) {
	text, number := "pointed at", 7
	for _, tt := range []struct {
		method string
		args   spi.Args
		reply  any // pointer; nil: the result is not wanted
		want   any
		seen   []any
	}{
		{"Nothing", nil, nil, nil, nil},
		{"Nothing", spi.Values{}, nil, nil, nil},
		{"NothingButContext", nil, nil, nil, nil},
		{"Result", nil, new(string), "result", nil},
		{"Result", nil, nil, nil, nil},
		{"NoResult", spi.Values{"text"}, nil, nil, []any{"text"}},
		{"One", spi.Values{4}, new(int), 5, []any{4}},
		{"One", spi.Values{&number}, new(int), 8, []any{7}},
		{"One", spi.Values{4}, nil, nil, []any{4}},
		{"NoContext", spi.Values{4}, new(int), 8, []any{4}},
		{"Struct", spi.Values{Order{"nut", 1, []string{"a"}}}, new(Order), Order{"nut", 2, []string{"a"}}, []any{Order{"nut", 1, []string{"a"}}}},
		{"Struct", spi.Values{&Order{"nut", 1, nil}}, new(Order), Order{"nut", 2, nil}, []any{Order{"nut", 1, nil}}},
		{"Pointer", spi.Values{Order{"nut", 1, nil}}, new(*Order), &Order{"nut", 2, nil}, []any{Order{"nut", 1, nil}}},
		{"NilPointer", nil, &[]*Order{{"stale", 9, nil}}[0], (*Order)(nil), nil},
		{"Map", spi.Values{map[string]int{"a": 1}}, new(map[string]int), map[string]int{"a": 1}, []any{map[string]int{"a": 1}}},
		{"Any", spi.Values{nil}, new(any), nil, []any{nil}},
		{"Three", spi.Values{&text, 3, []string{"x", "y"}}, new(string), "pointed at3x+y", []any{"pointed at", 3, []string{"x", "y"}}},
	} {
		t.Run(fmt.Sprintf("%s(%T,%T)", tt.method, tt.args, tt.reply), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, s := newWorld(t), new(shapes)
				w.provider("p:1", nil, s)
				c := w.consumer(nil, "p:1")
				call := &spi.Call{Method: c.Method("shapes", tt.method), Args: tt.args, Reply: tt.reply}
				for range 2 { // by name, then by number
					if err := c.Invoke(t.Context(), call); err != nil {
						t.Fatal(err)
					}
					if tt.reply != nil {
						if got := reflect.ValueOf(tt.reply).Elem().Interface(); !reflect.DeepEqual(got, tt.want) {
							t.Errorf("got result %#v, want %#v", got, tt.want)
						}
					}
					if !reflect.DeepEqual(s.last, tt.seen) && len(s.last)+len(tt.seen) > 0 {
						t.Errorf("got arguments %#v, want %#v", s.last, tt.seen)
					}
					if call.Peer != "p:1" {
						t.Errorf("got peer %q, want p:1", call.Peer)
					}
				}
			})
		})
	}
}

// values has methods on the value, so that it can be registered both ways.
type values struct{ text string }

func (v values) Text() (string, error) { return v.text, nil }

// tally keeps state behind its pointer.
type tally struct{ n int }

func (t *tally) Add(n int) (int, error) { t.n += n; return t.n, nil }

func TestReceivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		named, err := core.NewService("shop.v2/Named", &values{"by pointer"})
		w.must(err)
		w.provider("p:1", nil, values{"by value"}, named, &tally{n: 40})
		c := w.consumer(nil, "p:1")
		if got, err := invoke[string](t.Context(), c, "values", "Text"); got != "by value" || err != nil {
			t.Errorf("got %q, %v, want by value", got, err)
		}
		if got, err := invoke[string](t.Context(), c, "shop.v2/Named", "Text"); got != "by pointer" || err != nil {
			t.Errorf("got %q, %v, want by pointer", got, err)
		}
		for want := 41; want < 44; want++ {
			if got, err := invoke[int](t.Context(), c, "tally", "Add", 1); got != want || err != nil {
				t.Errorf("got %d, %v, want %d", got, err, want)
			}
		}
	})
}

// TestArgumentsAreFresh: what one call brought is not seen by the next, though
// arguments are used again.
func TestArgumentsAreFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), new(shapes)
		w.provider("p:1", nil, s)
		c := w.consumer(nil, "p:1")
		first, err := invoke[Order](t.Context(), c, "shapes", "Struct", Order{"nut", 1, []string{"kept"}})
		w.must(err)
		kept := s.last[0].(Order)
		second, err := invoke[Order](t.Context(), c, "shapes", "Struct", map[string]any{"Count": 5})
		w.must(err)
		if want := (Order{Count: 6}); !reflect.DeepEqual(second, want) {
			t.Errorf("got %+v, want %+v", second, want)
		}
		if want := (Order{"nut", 2, []string{"kept"}}); !reflect.DeepEqual(first, want) || kept.Tags[0] != "kept" {
			t.Errorf("got %+v and %+v, want them unchanged by the next call", first, kept)
		}
	})
}

// TestVersionsAndGroups: a reference chooses among services of one name.
func TestVersionsAndGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var services []any
		for _, s := range []struct{ version, group string }{{"", ""}, {"2.0", ""}, {"", "blue"}, {"2.0", "blue"}} {
			service, err := core.NewService("Text", values{s.version + "/" + s.group})
			w.must(err)
			service.Version, service.Group = s.version, s.group
			services = append(services, service)
		}
		p := w.provider("p:1", nil, services...)
		if err := p.Register(services[3].(*core.Service)); err == nil || !strings.Contains(err.Error(), "Text#2.0#blue is registered twice") {
			t.Errorf("got %v, want the key that is registered twice", err)
		}
		for _, ref := range []core.Reference{{}, {Version: "2.0"}, {Group: "blue"}, {Version: "2.0", Group: "blue"}} {
			c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.References = map[string]core.Reference{"Text": ref} }, "p:1")
			if got, err := invoke[string](t.Context(), c, "Text", "Text"); got != ref.Version+"/"+ref.Group || err != nil {
				t.Errorf("got %q, %v, want that of %+v", got, err, ref)
			}
			if m := c.Method("Text", "Text"); m.Version != ref.Version || m.Group != ref.Group || m != c.Method("Text", "Text") {
				t.Errorf("got method %+v, want one that says %+v and is always the same", m, ref)
			}
		}
	})
}

// TestMethodOfAnother: a Method that somebody else resolved, or that was made by
// hand, is resolved by name.
func TestMethodOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		w.provider("p:2", nil, echo{})
		c, other := w.consumer(nil, "p:1"), w.consumer(nil, "p:2")
		for name, m := range map[string]*spi.Method{"of another consumer": other.Method("echo", "Say"), "made by hand": {Service: "echo", Name: "Say"}} {
			call := &spi.Call{Method: m, Args: spi.Values{"x"}}
			if err := c.Invoke(t.Context(), call); err != nil || call.Peer != "p:1" {
				t.Errorf("%s: got %v from %q, want no error from p:1", name, err, call.Peer)
			}
		}
	})
}

// TestServiceAddedLate: a method that was not found is found once its service is
// registered, on the same connection.
func TestServiceAddedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.provider("p:1", nil, values{})
		c := w.consumer(nil, "p:1")
		if _, err := invoke[string](t.Context(), c, "echo", "Say", "x"); spi.CodeOf(err) != spi.Unimplemented {
			t.Errorf("got %v, want UNIMPLEMENTED", err)
		}
		s, err := core.NewService("", echo{})
		w.must(err)
		w.must(p.Register(s))
		if got, err := invoke[string](t.Context(), c, "echo", "Say", "x"); got != "x" || err != nil {
			t.Errorf("got %q, %v, want x", got, err)
		}
	})
}

func TestCallAfterCloseOrWithoutContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, echo{})
		c := w.consumer(nil, "p:1")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := invoke[string](ended, c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Canceled, phase: spi.PhasePick, sent: spi.SentNo, message: "the caller gave up"})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want it to match context.Canceled", err)
		}
		for range 2 {
			w.must(c.Close())
		}
		_, err = invoke[string](t.Context(), c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonClosed, phase: spi.PhasePick, sent: spi.SentNo, message: "the consumer is closed by this side"})
		if !errors.Is(err, spi.ErrConnLost) {
			t.Errorf("got %v, want it to match spi.ErrConnLost", err)
		}
	})
}
