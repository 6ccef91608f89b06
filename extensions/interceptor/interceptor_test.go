package interceptor_test

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/extensions/interceptor"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens an interceptor that logs to the returned buffer.
func open(t *testing.T, name, with string) (spi.Interceptor, *bytes.Buffer, error) {
	t.Helper()
	cat := spi.NewCatalog()
	if err := interceptor.Register(cat); err != nil {
		t.Fatal(err)
	}
	out, log := new(bytes.Buffer), logrus.New()
	log.Out, log.Formatter = out, &logrus.TextFormatter{DisableTimestamp: true}
	i, err := cat.Interceptors.Open(t.Context(), spi.Env{Log: log}, spi.Ref{Use: name, With: spi.Raw{JSON: []byte(with)}})
	return i, out, err
}

// handling is the context of a handler that serves a call.
type handling struct {
	context.Context
	call *spi.Call
}

func (h handling) Value(key any) any {
	if spi.IsCallKey(key) {
		return h.call
	}
	return h.Context.Value(key)
}

// sides returns a call and its context as each side sees them.
func sides(ctx context.Context) map[string]struct {
	ctx  context.Context
	call *spi.Call
} {
	say := func() *spi.Call {
		return &spi.Call{Method: &spi.Method{Service: "Greeter", Name: "Say"}, Peer: "127.0.0.1:7070"}
	}
	serving, making, inside := say(), say(), say()
	return map[string]struct {
		ctx  context.Context
		call *spi.Call
	}{"served": {handling{ctx, serving}, serving}, "made": {ctx, making}, "made in a handler": {handling{ctx, inside}, making}}
}

var took = regexp.MustCompile(` took="?[0-9.]+[nµm]?s"?`)

func TestAccessLog(t *testing.T) {
	for _, tt := range []struct {
		name, with string
		err        error
		want       string
	}{
		{"answered", "", nil, `level=info msg="call %s" code=OK kind=interceptor method=Greeter.Say name=access-log peer="127.0.0.1:7070"`},
		{"failed", "", &spi.Error{Code: spi.NotFound}, `level=info msg="call %s" code=NOT_FOUND kind=interceptor method=Greeter.Say name=access-log peer="127.0.0.1:7070"`},
		{"gave up", "", context.Canceled, `level=info msg="call %s" code=CANCELED kind=interceptor method=Greeter.Say name=access-log peer="127.0.0.1:7070"`},
		{"warn", `{"level":"warn"}`, nil, `level=warning msg="call %s" code=OK kind=interceptor method=Greeter.Say name=access-log peer="127.0.0.1:7070"`},
		{"debug, which is off", `{"level":"debug"}`, nil, ""},
	} {
		for side, given := range sides(t.Context()) {
			t.Run(tt.name+", "+side, func(t *testing.T) {
				i, out, err := open(t, "access-log", tt.with)
				if err != nil {
					t.Fatal(err)
				}
				err = i(func(context.Context, *spi.Call) error { return tt.err })(given.ctx, given.call)
				if err != tt.err {
					t.Errorf("got error %v, want the same: %v", err, tt.err)
				}
				line := out.String()
				if tt.want != "" && !took.MatchString(line) {
					t.Errorf("got %q, want how long it took", line)
				}
				want := strings.ReplaceAll(tt.want, "%s", strings.Fields(side)[0])
				if got := strings.TrimSpace(took.ReplaceAllString(line, "")); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		}
	}
}

func TestAccessLogOfAPanic(t *testing.T) {
	i, out, err := open(t, "access-log", "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if p := recover(); p != "no" || !strings.Contains(out.String(), `msg="call did not return" code=PANIC`) {
			t.Errorf("got panic %v and %q, want the panic and a line", p, out)
		}
	}()
	given := sides(t.Context())["served"]
	_ = i(func(context.Context, *spi.Call) error { panic("no") })(given.ctx, given.call)
}

func TestAccessLogUnknownLevel(t *testing.T) {
	_, _, err := open(t, "access-log", `{"level":"wran"}`)
	if want := "level: unknown value \"wran\"; did you mean \"warn\"?\n  known: debug, info, warn, error"; !errors.Is(err, spi.ErrInvalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("got error %v, want one with %q", err, want)
	}
}

func TestRecover(t *testing.T) {
	for side, want := range map[string]spi.Error{
		"served": {Code: spi.Internal, Reason: spi.ReasonHandlerPanic, Phase: spi.PhaseHandler, Message: "the handler panicked", Hint: "the provider's log has the stack"},
		"made": {Code: spi.Internal, Reason: spi.ReasonHandlerPanic, Service: "Greeter", Method: "Say", Endpoint: "127.0.0.1:7070", Sent: spi.SentMaybe,
			Message: "an interceptor panicked", Hint: "the log has the stack"},
	} {
		t.Run(side, func(t *testing.T) {
			i, out, err := open(t, "recover", "")
			if err != nil {
				t.Fatal(err)
			}
			given := sides(t.Context())[side]
			err = i(func(context.Context, *spi.Call) error { panic("no") })(given.ctx, given.call)
			got, ok := err.(*spi.Error)
			if !ok || got.Details != nil || got.Cause != nil || got.Error() != want.Error() || got.Reason != want.Reason {
				t.Errorf("got %#v, want %#v", err, want)
			}
			for _, text := range []string{"level=error", want.Message, "panic=no", "method=Greeter.Say", "interceptor_test.go"} {
				if !strings.Contains(out.String(), text) {
					t.Errorf("log: got %s, want it to contain %q", out, text)
				}
			}
		})
	}
}

func TestRecoverLeavesTheRest(t *testing.T) {
	i, out, err := open(t, "recover", "")
	if err != nil {
		t.Fatal(err)
	}
	given, failure := sides(t.Context())["made"], errors.New("x")
	for _, want := range []error{nil, failure} {
		if got := i(func(context.Context, *spi.Call) error { return want })(given.ctx, given.call); got != want {
			t.Errorf("got error %v, want %v", got, want)
		}
	}
	if out.Len() > 0 {
		t.Errorf("log: got %s, want nothing", out)
	}
}
