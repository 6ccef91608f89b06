package core_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// faulty fails in every way.
type faulty struct {
	next *core.Consumer // for a call within a call
}

var errStock = errors.New("stock is empty")

func (faulty) Fine(text string) (string, error) { return text, nil }
func (faulty) Void(string) error                { return nil }
func (faulty) Number(n int) (int, error)        { return n, nil }
func (faulty) Plain() error                     { return errStock }
func (faulty) Coded() error {
	return &spi.Error{Code: spi.NotFound, Reason: "no_such_order", Message: "order 7 is not here", Hint: "look in the archive", Details: map[string]string{"order": "7"}}
}
func (f faulty) Wrapped() error          { return fmt.Errorf("reserve: %w", f.Coded()) }
func (faulty) Formatted() error          { return spi.Errorf(spi.Aborted, "lost a race: %w", errStock) }
func (faulty) WrongCode() error          { return &spi.Error{Code: 99, Message: "odd"} }
func (faulty) Deadline() error           { return fmt.Errorf("lock: %w", context.DeadlineExceeded) }
func (faulty) Panic() error              { panic("out of cheese") }
func (faulty) NilPanic() error           { return (*faulty)(nil).next.Close() }
func (faulty) Exit() error               { runtime.Goexit(); return nil }
func (faulty) Unencodable() (any, error) { return make(chan int), nil }
func (faulty) Long() error {
	return &spi.Error{Code: spi.Internal, Message: strings.Repeat("x", 20_000)}
}
func (faulty) Large(n int) (string, error) { return strings.Repeat("x", n), nil }
func (faulty) LargeDetails() error {
	return &spi.Error{Code: spi.Internal, Message: "much", Details: map[string]string{"all": strings.Repeat("x", 40_000)}}
}
func (faulty) LargeMetadata(ctx context.Context, n int) error {
	spi.CallFrom(ctx).ReplyMetadata.Set("large", strings.Repeat("x", n))
	return nil
}
func (faulty) LargeMetadataAndError(ctx context.Context, n int) error {
	spi.CallFrom(ctx).ReplyMetadata.Set("large", strings.Repeat("x", n))
	return errStock
}
func (f faulty) Nested(ctx context.Context) error {
	_, err := invoke[string](ctx, f.next, "faulty", "Coded")
	return err
}
func (f faulty) NestedAway(ctx context.Context) error {
	_, err := invoke[string](ctx, f.next, "away", "Call")
	return err
}

func TestErrors(t *testing.T) {
	const maxMessage, maxMetadata = 64 << 10, 2 << 10
	remote := func(code spi.Code, reason string, phase spi.Phase, message, hint string) failure {
		return failure{code: code, reason: reason, phase: phase, endpoint: "p:1", remote: true, message: message, hint: hint}
	}
	local := func(code spi.Code, phase spi.Phase, sent spi.Sent, message, hint string) failure {
		return failure{code: code, phase: phase, sent: sent, endpoint: "p:1", message: message, hint: hint}
	}
	long := strings.Repeat("n", 256)
	for _, tt := range []struct {
		name    string
		service string // "" is faulty
		method  string
		args    spi.Values
		reply   any
		meta    spi.Metadata
		want    failure
	}{
		{name: "plain error", method: "Plain", want: remote(spi.Unknown, "", spi.PhaseHandler, "stock is empty", "")},
		{name: "coded error", method: "Coded", want: remote(spi.NotFound, "no_such_order", spi.PhaseHandler, "order 7 is not here", "look in the archive")},
		{name: "wrapped coded error", method: "Wrapped",
			want: remote(spi.NotFound, "no_such_order", spi.PhaseHandler, "reserve: NOT_FOUND: order 7 is not here; look in the archive", "")},
		{name: "formatted error", method: "Formatted", want: remote(spi.Aborted, "", spi.PhaseHandler, "lost a race: stock is empty", "")},
		{name: "code out of range", method: "WrongCode", want: remote(spi.Unknown, "", spi.PhaseHandler, "odd", "")},
		{name: "context error of the handler", method: "Deadline", want: remote(spi.DeadlineExceeded, "", spi.PhaseHandler, "lock: context deadline exceeded", "")},
		{name: "panic", method: "Panic", want: remote(spi.Internal, spi.ReasonHandlerPanic, spi.PhaseHandler, "the handler panicked", "the provider's log has the stack")},
		{name: "panic of the runtime", method: "NilPanic", want: remote(spi.Internal, spi.ReasonHandlerPanic, spi.PhaseHandler, "the handler panicked", "the provider's log has the stack")},
		{name: "goexit", method: "Exit", want: remote(spi.Internal, spi.ReasonHandlerExit, spi.PhaseHandler, "the handler ended its goroutine", "the provider's log has the stack")},
		{name: "result that cannot be encoded", method: "Unencodable", want: remote(spi.Internal, "", spi.PhaseEncode, "result: json: unsupported type: chan int", "")},
		{name: "long message", method: "Long", want: remote(spi.Internal, "", spi.PhaseHandler, strings.Repeat("x", 8192)+"…", "")},
		{name: "large details", method: "LargeDetails", want: remote(spi.Internal, "", spi.PhaseHandler, "much", "")},
		{name: "error of a nested call", method: "Nested",
			want: remote(spi.NotFound, "no_such_order", spi.PhaseHandler, "NOT_FOUND faulty.Coded at p:2 (phase: handler): order 7 is not here", "")},
		{name: "nested call that reached nobody", method: "NestedAway",
			want: remote(spi.Unimplemented, "", spi.PhaseHandler, "UNIMPLEMENTED away.Call at p:2 (phase: dispatch): service away not found", "")},

		{name: "unknown service", service: "fualty", method: "Fine", want: remote(spi.Unimplemented, "", spi.PhaseDispatch, "service fualty not found", "did you mean faulty?")},
		{name: "unknown service, none near", service: "Elsewhere", method: "Fine", want: remote(spi.Unimplemented, "", spi.PhaseDispatch, "service Elsewhere not found", "")},
		{name: "unknown method", method: "Fien", want: remote(spi.Unimplemented, "", spi.PhaseDispatch, "method faulty.Fien not found", "did you mean faulty.Fine(string) string?")},
		{name: "unknown method, none near", method: "Whatever", want: remote(spi.Unimplemented, "", spi.PhaseDispatch, "method faulty.Whatever not found", "")},
		{name: "one argument too many", method: "Fine", args: spi.Values{"a", "b"}, want: remote(spi.InvalidArgument, "", spi.PhaseDecode, "want 1 argument, got 2", "it is faulty.Fine(string) string")},
		{name: "an argument for none", method: "Plain", args: spi.Values{"a"}, want: remote(spi.InvalidArgument, "", spi.PhaseDecode, "want 0 arguments, got 1", "it is faulty.Plain()")},
		{name: "no argument for one", method: "Fine", want: remote(spi.InvalidArgument, "", spi.PhaseDecode, "want 1 argument, got 0", "it is faulty.Fine(string) string")},
		{name: "wrong type", method: "Fine", args: spi.Values{1}, want: remote(spi.InvalidArgument, "", spi.PhaseDecode, "argument 1: json: cannot unmarshal number", "it is faulty.Fine(string) string")},

		{name: "argument that cannot be encoded", method: "Fine", args: spi.Values{make(chan int)}, want: local(spi.InvalidArgument, spi.PhaseEncode, spi.SentNo, "argument 1: json: unsupported type: chan int", "")},
		{name: "second argument that cannot be encoded", method: "Fine", args: spi.Values{1, func() {}}, want: local(spi.InvalidArgument, spi.PhaseEncode, spi.SentNo, "argument 2: json: unsupported type: func()", "")},
		{name: "result of another type", method: "Fine", args: spi.Values{"a"}, reply: new(int), want: local(spi.Internal, spi.PhaseDecode, spi.SentMaybe, "result: json: cannot unmarshal string", "the caller wants a *int")},
		{name: "result of a method without", method: "Void", args: spi.Values{"a"}, reply: new(int), want: failure{code: spi.Internal, reason: spi.ReasonNoResult, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1", message: "the method has no result", hint: "the caller wants a *int"}},
		{name: "large request", method: "Fine", args: spi.Values{strings.Repeat("x", maxMessage)},
			want: local(spi.ResourceExhausted, spi.PhaseEncode, spi.SentNo, "the provider takes 65536 and 2048", "")},
		{name: "large metadata", method: "Fine", args: spi.Values{"a"}, meta: spi.Metadata{{Key: "large", Value: strings.Repeat("x", maxMetadata)}},
			want: local(spi.ResourceExhausted, spi.PhaseEncode, spi.SentNo, "the provider takes 65536 and 2048", "")},
		{name: "long metadata key", method: "Fine", args: spi.Values{"a"}, meta: spi.Metadata{{Key: long, Value: "v"}}, want: local(spi.InvalidArgument, spi.PhaseEncode, spi.SentNo, "keys have 1 to 255 bytes", "")},
		{name: "empty metadata key", method: "Fine", args: spi.Values{"a"}, meta: spi.Metadata{{Value: "v"}}, want: local(spi.InvalidArgument, spi.PhaseEncode, spi.SentNo, "keys have 1 to 255 bytes", "")},
		{name: "long service", service: long, method: "Fine", want: local(spi.InvalidArgument, spi.PhaseEncode, spi.SentNo, "names have at most 255 bytes", "")},
		{name: "long method", method: long, want: local(spi.InvalidArgument, spi.PhaseEncode, spi.SentNo, "names have at most 255 bytes", "")},
		{name: "large answer", method: "Large", args: spi.Values{maxMessage}, want: remote(spi.ResourceExhausted, "", spi.PhaseEncode, "the consumer takes 65536 and 2048", "")},
		{name: "large metadata of the answer", method: "LargeMetadata", args: spi.Values{maxMetadata}, want: remote(spi.ResourceExhausted, "", spi.PhaseEncode, "the consumer takes 65536 and 2048", "")},
		{name: "large metadata of an error", method: "LargeMetadataAndError", args: spi.Values{maxMetadata}, want: remote(spi.Unknown, "", spi.PhaseHandler, "stock is empty", "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				limit := func(l *core.Limits) { l.Message, l.Metadata = maxMessage, maxMetadata }
				w.provider("p:2", nil, faulty{})
				next := w.consumer(nil, "p:2")
				w.provider("p:1", func(cfg *core.ProviderConfig) { limit(&cfg.Limits) }, faulty{next})
				c := w.consumer(func(cfg *core.ConsumerConfig) { limit(&cfg.Limits) }, "p:1")
				if tt.service == "" {
					tt.service = "faulty"
				}
				call := &spi.Call{Method: c.Method(tt.service, tt.method), Args: tt.args, Reply: tt.reply, Metadata: tt.meta}
				for range 2 {
					other := start[string](t.Context(), c, "faulty", "Fine", "at the same time")
					err := c.Invoke(t.Context(), call)
					e := w.expect(err, tt.want)
					if e.Service != tt.service || e.Method != tt.method {
						t.Errorf("got an error of %s.%s, want %s.%s", e.Service, e.Method, tt.service, tt.method)
					}
					if errors.Is(err, spi.ErrConnLost) {
						t.Error("got an error that matches spi.ErrConnLost, want one that does not: the connection is fine")
					}
					if got, err := other.wait(); got != "at the same time" || err != nil {
						t.Errorf("got %q, %v from another call, want it to go on", got, err)
					}
				}
				if got := w.network.Link("p:1").Dials(); got != 1 {
					t.Errorf("got %d connections, want the first one to stay", got)
				}
			})
		})
	}
}

func TestErrorDetailsAndMatching(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", nil, faulty{})
		c := w.consumer(nil, "p:1")
		want := map[string]string{"order": "7"}
		for _, method := range []string{"Coded", "Wrapped"} {
			_, err := invoke[string](t.Context(), c, "faulty", method)
			if e := new(spi.Error); !errors.As(err, &e) || !reflect.DeepEqual(e.Details, want) {
				t.Errorf("%s: got details of %v, want %v", method, err, want)
			}
		}
		if _, err := invoke[string](t.Context(), c, "faulty", "Deadline"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want it to match context.DeadlineExceeded", err)
		}
		if _, err := invoke[string](t.Context(), c, "faulty", "Plain"); errors.Is(err, errStock) {
			t.Errorf("got %v, which matches an error of the provider; want a copy of its text only", err)
		}
	})
}

// TestCrashIsLogged: the caller is told where the stack is, and it is there.
func TestCrashIsLogged(t *testing.T) {
	for _, tt := range []struct{ method, panicked, message string }{
		{"Panic", "out of cheese", "the handler panicked"},
		{"NilPanic", "runtime error: invalid memory address or nil pointer dereference", "the handler panicked"},
		{"Exit", "", "the handler ended its goroutine"},
	} {
		for _, inline := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s inline=%t", tt.method, inline), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					s, err := core.NewService("", faulty{})
					w.must(err)
					if inline {
						w.must(s.Inline(tt.method))
					}
					w.provider("p:1", nil, s)
					c := w.consumer(nil, "p:1")
					_, err = invoke[string](t.Context(), c, "faulty", tt.method)
					if inline && tt.method == "Exit" { // it took the reader along, after its answer
						synctest.Wait()
					}
					if spi.CodeOf(err) != spi.Internal {
						t.Errorf("got %v, want INTERNAL", err)
					}
					for _, e := range w.logs.AllEntries() {
						if e.Level != logrus.ErrorLevel {
							continue
						}
						if !strings.HasPrefix(e.Message, tt.message+"\n") || !strings.Contains(e.Message, "core_test.faulty."+tt.method) {
							t.Errorf("got %q, want %q and the stack down to the method", e.Message, tt.message)
						}
						if got := fmt.Sprint(e.Data["panic"]); tt.panicked != "" && got != tt.panicked {
							t.Errorf("got panic %q, want %q", got, tt.panicked)
						}
						if e.Data["method"] != "faulty."+tt.method || e.Data["consumer"] != "consumer:1" {
							t.Errorf("got fields %v, want the method and the consumer", e.Data)
						}
						return
					}
					t.Errorf("got no line at level error, want one; all: %q", w.logged(logrus.DebugLevel))
				})
			})
		}
	}
}

func TestSerializerOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("p:1", func(cfg *core.ProviderConfig) {
			cfg.Serializers = map[string]spi.Serializer{"json": jsonSerializer{}, "cbor": jsonSerializer{}}
		}, echo{})

		c := w.consumer(func(cfg *core.ConsumerConfig) { cfg.SerializerName = "xml" }, "p:1")
		_, err := invoke[string](t.Context(), c, "echo", "Say", "x")
		w.expect(err, failure{code: spi.Unimplemented, phase: spi.PhaseHandshake, sent: spi.SentNo, endpoint: "p:1",
			message: `the provider does not offer serializer "xml"; it offers cbor, json`, hint: "choose one of them by the key consumer.serializer"})

		nc, err := w.network.Dial(t.Context(), "p:1")
		w.must(err)
		peer := coretest.NewPeer(nc)
		defer peer.Close()
		_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"xml", "json"}})
		w.must(err)
		for _, tt := range []struct {
			number        uint8
			message, hint string
		}{
			{1, `serializer "xml" is not offered here`, "the provider offers cbor, json"},
			{3, "a serializer that its HELLO did not list is not offered here", "the provider offers cbor, json"},
			{0, "a serializer that its HELLO did not list is not offered here", "the provider offers cbor, json"},
		} {
			request := coretest.Request(uint64(tt.number)+1, "echo", "Say", []byte(`"x"`))
			request.Serializer = tt.number
			w.must(peer.Write(request))
			if f := w.readAs(peer, coretest.TypeError); f.Message != tt.message || spi.Code(f.Code) != spi.Unimplemented || f.ID != request.ID {
				t.Errorf("serializer %d: got %s, want UNIMPLEMENTED %q", tt.number, f, tt.message)
			}
		}
		request := coretest.Request(9, "echo", "Say", []byte(`"x"`))
		request.Serializer = 2
		w.must(peer.Write(request))
		if f := w.readAs(peer, coretest.TypeResponse); string(f.Body) != `"x"` || f.Serializer != 2 {
			t.Errorf("got %s in serializer %d, want the echo in the provider's number for json", f, f.Serializer)
		}
	})
}

// TestAnswersThatAreNone: a provider that answers nonsense fails the call, not the
// connection.
func TestAnswersThatAreNone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(request coretest.Frame) coretest.Frame
		want   failure
	}{
		{"another serializer", func(r coretest.Frame) coretest.Frame {
			return coretest.Frame{Type: coretest.TypeResponse, ID: r.ID, Serializer: 7, Body: []byte(`"x"`)}
		}, failure{code: spi.Internal, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1", message: "another serializer", hint: "the caller wants a *string"}},
		{"malformed metadata", func(r coretest.Frame) coretest.Frame {
			return coretest.Frame{Type: coretest.TypeResponse, ID: r.ID, Serializer: 1, Metadata: []byte{4, 9}, Body: []byte(`"x"`)}
		}, failure{code: spi.Internal, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1", message: "metadata of the answer", hint: "the caller wants a *string"}},
		{"malformed error", func(r coretest.Frame) coretest.Frame {
			return coretest.Frame{Type: coretest.TypeError, Code: 5, ID: r.ID, Body: []byte{1, 9}}
		}, failure{code: spi.Internal, phase: spi.PhaseDecode, sent: spi.SentMaybe, endpoint: "p:1", message: "error from the provider", hint: "the caller wants a *string"}},
		{"error without a code", func(r coretest.Frame) coretest.Frame { return coretest.Failure(r.ID, 0, "odd") },
			failure{code: spi.Unknown, endpoint: "p:1", remote: true, message: "odd"}},
		{"unknown code", func(r coretest.Frame) coretest.Frame { return coretest.Failure(r.ID, 17, "odd") },
			failure{code: spi.Unknown, endpoint: "p:1", remote: true, message: "odd"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				l := w.listen("p:1")
				c := w.consumer(nil, "p:1")
				peer := w.accept(l)
				call := start[string](t.Context(), c, "echo", "Say", "x")
				w.must(peer.Write(tt.answer(w.readAs(peer, coretest.TypeRequest))))
				_, err := call.wait()
				w.expect(err, tt.want)

				call = start[string](t.Context(), c, "echo", "Say", "y")
				request := w.readAs(peer, coretest.TypeRequest)
				w.must(peer.Write(coretest.Frame{Type: coretest.TypeResponse, ID: 12345, Serializer: 1, Body: []byte(`"nobody asked"`)}))
				w.must(peer.Answer(request, []byte(`"y"`)))
				w.must(peer.Answer(request, []byte(`"twice"`)))
				if got, err := call.wait(); got != "y" || err != nil {
					t.Errorf("got %q, %v from the next call, want y", got, err)
				}
			})
		})
	}
}
