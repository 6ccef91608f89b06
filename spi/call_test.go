package spi_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

func TestServiceKey(t *testing.T) {
	for _, tt := range []struct{ name, service, version, group, want string }{
		{"name only", "Greeter", "", "", "Greeter"},
		{"version", "Greeter", "1.0.0", "", "Greeter#1.0.0#"},
		{"group", "Greeter", "", "blue", "Greeter##blue"},
		{"all", "Greeter", "1.0.0", "blue", "Greeter#1.0.0#blue"},
		{"Java name", "com.acme.Greeter", "", "", "com.acme.Greeter"},
		{"nothing", "", "", "", ""},
		{"group with the separator", "Greeter", "1", "a#b", "Greeter#1#a#b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := spi.ServiceKey(tt.service, tt.version, tt.group)
			if got != tt.want {
				t.Errorf("ServiceKey: got %s, want %s", got, tt.want)
			}
			if s, v, g := spi.SplitServiceKey(got); s != tt.service || v != tt.version || g != tt.group {
				t.Errorf("SplitServiceKey(%s): got %q, %q, %q, want %q, %q, %q", got, s, v, g, tt.service, tt.version, tt.group)
			}
		})
	}
	if s, v, g := spi.SplitServiceKey("Greeter#1.0.0"); s != "Greeter" || v != "1.0.0" || g != "" {
		t.Errorf("SplitServiceKey without a group: got %q, %q, %q", s, v, g)
	}
}

func TestMethodString(t *testing.T) {
	m := &spi.Method{Service: "Greeter", Name: "Hello", Version: "1", Group: "blue"}
	if got := m.String(); got != "Greeter.Hello" {
		t.Errorf("got %s, want Greeter.Hello", got)
	}
}

func TestValues(t *testing.T) {
	var args spi.Args = spi.Values{"world", 3}
	if args.Len() != 2 || args.At(0) != "world" || args.At(1) != 3 {
		t.Errorf("got %d values %v, %v, want world and 3", args.Len(), args.At(0), args.At(1))
	}
	if got := (spi.Values)(nil).Len(); got != 0 {
		t.Errorf("nil: got %d values, want 0", got)
	}
}

// TestCompose: the first interceptor is the outermost, each is applied once and may
// call what is inside never, once or again.
func TestCompose(t *testing.T) {
	var log []string
	around := func(name string, times int) spi.Interceptor {
		return func(next spi.InvokeFunc) spi.InvokeFunc {
			log = append(log, "apply "+name)
			return func(ctx context.Context, call *spi.Call) error {
				log = append(log, name+"(")
				var err error
				for range times {
					err = next(ctx, call)
				}
				log = append(log, ")"+name)
				return err
			}
		}
	}
	errInner := errors.New("inner")
	for _, tt := range []struct {
		name         string
		interceptors []spi.Interceptor
		want         string
		wantErr      error
	}{
		{"none", nil, "call", errInner},
		{"one", []spi.Interceptor{around("a", 1)}, "apply a, a(, call, )a", errInner},
		{"three", []spi.Interceptor{around("a", 1), around("b", 1), around("c", 1)}, "apply c, apply b, apply a, a(, b(, c(, call, )c, )b, )a", errInner},
		{"again", []spi.Interceptor{around("a", 1), around("b", 2)}, "apply b, apply a, a(, b(, call, call, )b, )a", errInner},
		{"never", []spi.Interceptor{around("a", 0), around("b", 1)}, "apply b, apply a, a(, )a", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log = nil
			call := &spi.Call{}
			f := spi.Compose(func(_ context.Context, got *spi.Call) error {
				if got != call {
					t.Errorf("got call %p, want %p", got, call)
				}
				log = append(log, "call")
				return errInner
			}, tt.interceptors...)
			err := f(t.Context(), call)
			if got := strings.Join(log, ", "); got != tt.want || err != tt.wantErr {
				t.Errorf("got %s, %v, want %s, %v", got, err, tt.want, tt.wantErr)
			}
		})
	}
}
