package spi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// hooks answers every Before alike and keeps what it is told.
type hooks struct {
	verdict spi.Verdict
	err     error
	asked   []spi.Invocation
	told    []spi.Outcome
}

func (h *hooks) Before(_ context.Context, in spi.Invocation) (spi.Verdict, error) {
	<-time.After(2 * time.Millisecond)
	h.asked = append(h.asked, in)
	return h.verdict, h.err
}

func (h *hooks) After(_ context.Context, out spi.Outcome) { h.told = append(h.told, out) }

// provider is an Invoker that takes 3 ms and answers "made" or fails.
type provider struct {
	err   error
	calls []spi.Metadata // of each call made
}

func (p *provider) Method(service, name string) *spi.Method {
	return &spi.Method{Service: service, Name: name, Host: p}
}

func (p *provider) Invoke(_ context.Context, call *spi.Call) error {
	<-time.After(3 * time.Millisecond)
	call.Peer = "10.0.0.7:7070"
	p.calls = append(p.calls, call.Metadata)
	if p.err == nil && call.Reply != nil {
		*call.Reply.(*string) = "made"
	}
	return p.err
}

func TestHooks(t *testing.T) {
	const beforeOnly, both = spi.Duration(2 * time.Millisecond), spi.Duration(5 * time.Millisecond)
	given := spi.Metadata{{"user", "ann"}}
	denied := &spi.Error{Code: spi.ResourceExhausted, Reason: "quota", Message: "9 of 9", Hint: "wait", Details: map[string]string{"left": "0"}}
	reset := &spi.Error{Code: spi.Unavailable, Endpoint: "10.0.0.7:7070", Message: "reset", Sent: spi.SentMaybe}
	failed := func(e spi.Error) *spi.Error {
		e.Service, e.Method, e.Phase, e.Sent = "Greeter", "Hello", spi.PhaseProxy, spi.SentNo
		return &e
	}
	var notText *json.UnmarshalTypeError
	for _, tt := range []struct {
		name    string
		verdict spi.Verdict
		err     error // of Before
		made    error // of the call, if it is made
		calls   []spi.Metadata
		reply   string
		want    error // Cause apart
		told    spi.Outcome
	}{
		{name: "pass", calls: []spi.Metadata{given}, reply: "made", told: spi.Outcome{Took: both, Endpoint: "10.0.0.7:7070"}},
		{name: "pass, call fails", made: reset, calls: []spi.Metadata{given}, reply: "old", want: reset,
			told: spi.Outcome{Took: both, Endpoint: "10.0.0.7:7070", Code: spi.Unavailable, Message: reset.Error()}},
		{name: "pass, call fails with a strange error", made: io.EOF, calls: []spi.Metadata{given}, reply: "old", want: io.EOF,
			told: spi.Outcome{Took: both, Endpoint: "10.0.0.7:7070", Code: spi.Unknown, Message: "EOF"}},
		{name: "rewrite metadata", verdict: spi.Verdict{Metadata: spi.Metadata{{"user", "bob"}, {"via", "hook"}}},
			calls: []spi.Metadata{{{"user", "bob"}, {"via", "hook"}}}, reply: "made", told: spi.Outcome{Took: both, Endpoint: "10.0.0.7:7070"}},
		{name: "remove metadata", verdict: spi.Verdict{Metadata: spi.Metadata{}},
			calls: []spi.Metadata{{}}, reply: "made", told: spi.Outcome{Took: both, Endpoint: "10.0.0.7:7070"}},
		{name: "answer", verdict: spi.Verdict{Answer: json.RawMessage(`"cached"`)}, reply: "cached", told: spi.Outcome{Took: beforeOnly}},
		{name: "answer null", verdict: spi.Verdict{Answer: json.RawMessage(`null`)}, reply: "old", told: spi.Outcome{Took: beforeOnly}},
		{name: "answer that does not fit", verdict: spi.Verdict{Answer: json.RawMessage(`{"a":1}`)}, reply: "old",
			want: failed(spi.Error{Code: spi.Internal, Message: "answer of the proxy hook: json: cannot unmarshal object into Go value of type string"}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.Internal, Message: "INTERNAL Greeter.Hello (phase: proxy, sent: no): answer of the proxy hook: json: cannot unmarshal object into Go value of type string"}},
		{name: "refuse", verdict: spi.Verdict{Refuse: &spi.Refusal{Code: spi.Unauthenticated, Message: "who?", Details: map[string]string{"realm": "x"}}}, reply: "old",
			want: failed(spi.Error{Code: spi.Unauthenticated, Reason: spi.ReasonRefused, Message: "who?", Details: map[string]string{"realm": "x"}}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.Unauthenticated, Message: "UNAUTHENTICATED Greeter.Hello (phase: proxy, sent: no): who?"}},
		{name: "refuse without a code", verdict: spi.Verdict{Refuse: &spi.Refusal{}}, reply: "old",
			want: failed(spi.Error{Code: spi.PermissionDenied, Reason: spi.ReasonRefused}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.PermissionDenied, Message: "PERMISSION_DENIED Greeter.Hello (phase: proxy, sent: no)"}},
		{name: "refuse and answer", verdict: spi.Verdict{Answer: json.RawMessage(`"cached"`), Refuse: &spi.Refusal{Code: 77}}, reply: "old",
			want: failed(spi.Error{Code: spi.PermissionDenied, Reason: spi.ReasonRefused}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.PermissionDenied, Message: "PERMISSION_DENIED Greeter.Hello (phase: proxy, sent: no)"}},
		{name: "error", err: io.ErrUnexpectedEOF, verdict: spi.Verdict{Answer: json.RawMessage(`"ignored"`)}, reply: "old",
			want: failed(spi.Error{Code: spi.Unknown, Message: "proxy hook: unexpected EOF"}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.Unknown, Message: "UNKNOWN Greeter.Hello (phase: proxy, sent: no): proxy hook: unexpected EOF"}},
		{name: "error of the context", err: fmt.Errorf("ask: %w", context.DeadlineExceeded), reply: "old",
			want: failed(spi.Error{Code: spi.DeadlineExceeded, Message: "proxy hook: ask: context deadline exceeded"}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.DeadlineExceeded, Message: "DEADLINE_EXCEEDED Greeter.Hello (phase: proxy, sent: no): proxy hook: ask: context deadline exceeded"}},
		{name: "error with a code", err: denied, reply: "old",
			want: failed(spi.Error{Code: spi.ResourceExhausted, Reason: "quota", Message: "proxy hook: 9 of 9", Hint: "wait", Details: map[string]string{"left": "0"}}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.ResourceExhausted, Message: "RESOURCE_EXHAUSTED Greeter.Hello (phase: proxy, sent: no): proxy hook: 9 of 9; wait"}},
		{name: "wrapped error with a code", err: fmt.Errorf("limits: %w", denied), reply: "old",
			want: failed(spi.Error{Code: spi.ResourceExhausted, Reason: "quota", Message: "proxy hook: limits: RESOURCE_EXHAUSTED: 9 of 9; wait", Details: map[string]string{"left": "0"}}),
			told: spi.Outcome{Took: beforeOnly, Code: spi.ResourceExhausted, Message: "RESOURCE_EXHAUSTED Greeter.Hello (phase: proxy, sent: no): proxy hook: limits: RESOURCE_EXHAUSTED: 9 of 9; wait"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, p := &hooks{verdict: tt.verdict, err: tt.err}, &provider{err: tt.made}
				invoke := spi.FromHooks(h).(spi.Wrapper).Intercept(p.Invoke)
				reply := "old"
				call := &spi.Call{Method: p.Method("Greeter", "Hello"), Reply: &reply, Metadata: given, Peer: "left from another call"}
				err := invoke(t.Context(), call)

				var got, want *spi.Error
				if errors.As(err, &got) && errors.As(tt.want, &want) && got != want {
					if tt.err != nil && !errors.Is(err, tt.err) || tt.err == nil && got.Cause != nil && !errors.As(got, &notText) {
						t.Errorf("Cause: got %v", got.Cause)
					}
					bare := *got
					bare.Cause = nil
					if !reflect.DeepEqual(&bare, want) {
						t.Errorf("error\ngot  %+v\nwant %+v", bare, *want)
					}
				} else if err != tt.want {
					t.Errorf("error: got %v, want %v", err, tt.want)
				}
				if reply != tt.reply {
					t.Errorf("reply: got %s, want %s", reply, tt.reply)
				}
				if !reflect.DeepEqual(p.calls, tt.calls) {
					t.Errorf("calls made: got %q, want %q", p.calls, tt.calls)
				}
				if want := []spi.Invocation{{Service: "Greeter", Method: "Hello", Metadata: given}}; !reflect.DeepEqual(h.asked, want) {
					t.Errorf("Before: got %q, want %q", h.asked, want)
				}
				tt.told.Service, tt.told.Method = "Greeter", "Hello"
				if want := []spi.Outcome{tt.told}; !reflect.DeepEqual(h.told, want) {
					t.Errorf("After\ngot  %+v\nwant %+v", h.told, want)
				}
			})
		})
	}
}

// TestHooksWithoutReply: an answer that nobody wants is not decoded.
func TestHooksWithoutReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := &hooks{verdict: spi.Verdict{Answer: json.RawMessage(`"cached"`)}}, &provider{}
		invoke := spi.FromHooks(h).(spi.Wrapper).Intercept(p.Invoke)
		if err := invoke(t.Context(), &spi.Call{Method: p.Method("Greeter", "Hello")}); err != nil || len(p.calls) != 0 || len(h.told) != 1 {
			t.Errorf("got %v, %d calls made, %d told to After, want none, 0, 1", err, len(p.calls), len(h.told))
		}
	})
}

func TestHooksProxy(t *testing.T) {
	h, p := &hooks{}, &provider{}
	proxy := spi.FromHooks(h)
	if has, ok := proxy.(interface{ Hooks() spi.Hooks }); !ok || has.Hooks() != spi.Hooks(h) {
		t.Errorf("got %v, want a method Hooks that returns the hooks", proxy)
	}
	if err := proxy.Bind(new(struct{}), p); err == nil {
		t.Error("Bind: got no error, want one that says that this proxy only wraps")
	}
}

// TestVerdictJSON: what a verdict says survives the way between two processes.
func TestVerdictJSON(t *testing.T) {
	for _, tt := range []struct {
		name    string
		verdict spi.Verdict
	}{
		{"pass", spi.Verdict{}},
		{"rewrite", spi.Verdict{Metadata: spi.Metadata{{"user", "bob"}}}},
		{"remove metadata", spi.Verdict{Metadata: spi.Metadata{}}},
		{"answer", spi.Verdict{Answer: json.RawMessage(`{"a":1}`)}},
		{"answer null", spi.Verdict{Answer: json.RawMessage(`null`)}},
		{"refuse", spi.Verdict{Refuse: &spi.Refusal{Code: spi.NotFound, Message: "no", Details: map[string]string{"a": "b"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := json.Marshal(tt.verdict)
			if err != nil {
				t.Fatal(err)
			}
			var got spi.Verdict
			if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, tt.verdict) {
				t.Errorf("through %s: got %+v, %v, want %+v", text, got, err, tt.verdict)
			}
		})
	}
}

type closingHooks struct {
	spi.Hooks
	closed int
}

func (h *closingHooks) Close() error { h.closed++; return errors.New("closed") }

// TestHooksClose: the wrapper closes hooks that can be closed.
func TestHooksClose(t *testing.T) {
	h := new(closingHooks)
	if err := spi.FromHooks(h).(io.Closer).Close(); h.closed != 1 || err == nil || err.Error() != "closed" {
		t.Errorf("Close: got %d, %v, want one and its error", h.closed, err)
	}
	if err := spi.FromHooks(struct{ spi.Hooks }{}).(io.Closer).Close(); err != nil {
		t.Errorf("Close of hooks that cannot be closed: got %v, want nothing", err)
	}
}
