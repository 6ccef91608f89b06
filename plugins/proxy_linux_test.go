package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

func closeIt(t testing.TB, v any) {
	t.Helper()
	if err := v.(io.Closer).Close(); err != nil {
		t.Errorf("Close of %T: got %v, want nothing", v, err)
	}
}

func openProxy(t testing.TB, cat *spi.Catalog, with string) spi.Wrapper {
	t.Helper()
	log, _ := logger()
	p, err := cat.Proxies.Open(t.Context(), spi.Env{Log: log}, spi.Ref{Use: "desk", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	return p.(spi.Wrapper)
}

// invoke makes a call through a proxy and returns what arrived behind it, nil if
// nothing did, and the reply.
func invoke(ctx context.Context, w spi.Wrapper, method string, end error) (arrived *spi.Call, reply json.RawMessage, err error) {
	call := &spi.Call{Method: &spi.Method{Service: "Desk", Version: "2", Group: "eu", Name: method}, Metadata: spi.Metadata{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}, Reply: &reply}
	err = w.Intercept(func(_ context.Context, call *spi.Call) error {
		arrived = call
		call.Peer = "host:1"
		return end
	})(ctx, call)
	return arrived, reply, err
}

func TestHooksOfAPlugin(t *testing.T) {
	_, cat, _ := withPerCall(t, nil)
	w := openProxy(t, cat, `{"greeting":"hello"}`)
	defer closeIt(t, w)
	was := spi.Metadata{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}
	tests := []struct {
		name, method string
		metadata     spi.Metadata // that arrives; nil: nothing does
		reply        string
		err          *spi.Error // code, reason, message, hint and details; nil: none
	}{
		{"passes", "Pass", was, "", nil},
		{"rewrites", "Rewrite", append(was[:2:2], spi.Pair{Key: "greeting", Value: "hello"}), "", nil},
		{"removes all metadata", "Clear", spi.Metadata{}, "", nil},
		{"answers, and sees everything", "Echo", nil, `{"service":"Desk","version":"2","group":"eu","method":"Echo","metadata":[{"key":"a","value":"1"},{"key":"a","value":"2"}]}`, nil},
		{"answers with nonsense", "Nonsense", nil, "", &spi.Error{Code: spi.Internal, Message: "answer of the proxy hook: unexpected end of JSON input"}},
		{"refuses", "Refuse", nil, "", &spi.Error{Code: spi.NotFound, Reason: spi.ReasonRefused, Message: "not here", Details: map[string]string{"where": "there"}}},
		{"refuses with a code that is none", "RefuseOddly", nil, "", &spi.Error{Code: spi.PermissionDenied, Reason: spi.ReasonRefused, Message: "no"}},
		{"fails", "Fail", nil, "", &spi.Error{Code: spi.Unknown, Message: "proxy hook: out of ink"}},
		{"fails with a code", "FailWith", nil, "", &spi.Error{Code: spi.ResourceExhausted, Reason: "ink", Message: "proxy hook: out of ink", Hint: "buy some", Details: map[string]string{"colour": "blue"}}},
		{"goes on", "Pass", was, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arrived, reply, err := invoke(t.Context(), w, tt.method, nil)
			if (arrived != nil) != (tt.metadata != nil) || arrived != nil && !(len(arrived.Metadata) == 0 && len(tt.metadata) == 0 || reflect.DeepEqual(arrived.Metadata, tt.metadata)) {
				t.Errorf("what arrived: got %+v, want the metadata %v", arrived, tt.metadata)
			}
			if string(reply) != tt.reply {
				t.Errorf("reply: got %s, want %s", reply, tt.reply)
			}
			var got *spi.Error
			if errors.As(err, &got) != (tt.err != nil) || tt.err != nil && (got.Code != tt.err.Code || got.Reason != tt.err.Reason || got.Message != tt.err.Message ||
				got.Hint != tt.err.Hint || !reflect.DeepEqual(got.Details, tt.err.Details) || got.Phase != spi.PhaseProxy || got.Sent != spi.SentNo) {
				t.Errorf("error: got %#v, want %#v in phase proxy, sent no", got, tt.err)
			}
		})
	}
}

// TestAfterIsTold: outcomes arrive, in order, at the latest when the proxy is closed.
func TestAfterIsTold(t *testing.T) {
	p, cat, _ := withPerCall(t, nil)
	w := openProxy(t, cat, "")
	calls := []struct {
		method string
		end    error
	}{{"Pass", nil}, {"Pass", &spi.Error{Code: spi.NotFound, Message: "bad \xff text"}}, {"PanicAfter", nil}, {"Refuse", nil}}
	for _, c := range calls {
		_, _, _ = invoke(t.Context(), w, c.method, c.end)
	}
	closeIt(t, w)
	closeIt(t, w) // twice
	again := openProxy(t, cat, "")
	defer closeIt(t, again)
	_, reply, err := invoke(t.Context(), again, "Told", nil)
	var got []spi.Outcome
	if err := errors.Join(err, json.Unmarshal(reply, &got)); err != nil {
		t.Fatal(err)
	}
	want := []spi.Outcome{
		{Service: "Desk", Method: "Pass", Endpoint: "host:1"},
		{Service: "Desk", Method: "Pass", Endpoint: "host:1", Code: spi.NotFound, Message: "NOT_FOUND: bad \ufffd text"},
		{Service: "Desk", Method: "Refuse", Code: spi.NotFound, Message: "NOT_FOUND Desk.Refuse (phase: proxy, sent: no): not here"},
	}
	for i := range got {
		if got[i].Took <= 0 {
			t.Errorf("outcome %d took %v, want some time", i, got[i].Took)
		}
		got[i].Took = 0
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("outcomes: got %+v, want %+v", got, want)
	}
	if e := p.usages.describe([]spi.Info{{Kind: "proxy", Name: "desk"}}, time.Now()); len(e) != 1 || e[0].Opened != 1 || e[0].Dropped != 1 || e[0].Fallbacks != 0 {
		t.Errorf("usage: got %+v, want one open and one outcome dropped, at which the hook panicked", e)
	}
}

// TestAfterHangs: what is never acknowledged keeps nothing that comes later waiting.
func TestAfterHangs(t *testing.T) {
	p, cat, _ := withPerCall(t, nil)
	w := openProxy(t, cat, "")
	defer closeIt(t, w)
	w.(*proxy).hooks.acked = 500 * time.Millisecond
	_, _, _ = invoke(t.Context(), w, "HangAfter", nil)
	told := func() bool {
		_, _, _ = invoke(t.Context(), w, "Pass", nil)
		_, reply, _ := invoke(t.Context(), w, "Told", nil)
		return strings.Contains(string(reply), `"method":"Pass"`)
	}
	for !told() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("got nothing told, want what came after the hook that hangs")
		}
	}
	if e := p.usages.describe([]spi.Info{{Kind: "proxy", Name: "desk"}}, time.Now()); e[0].Dropped == 0 {
		t.Errorf("usage: got %+v, want the outcome dropped that was not acknowledged", e)
	}
}

func TestHooksThatDoNotAnswer(t *testing.T) {
	brief := func(cfg *spi.PluginConfig) { cfg.CallTimeout = spi.Duration(200 * time.Millisecond) }
	pass := func(cfg *spi.PluginConfig) { cfg.OnFailure = map[string]string{"proxy": "pass"} }
	tests := []struct {
		name, method string
		change       func(*spi.PluginConfig)
		killed       bool
		deadline     time.Duration // of the call; 0: none
		want         spi.Code      // 0: the call goes on
	}{
		{"panic", "Panic", nil, false, 0, spi.Internal},
		{"panic, pass", "Panic", pass, false, 0, spi.Internal},
		{"hangs", "Hang", brief, false, 0, spi.Unavailable},
		{"hangs, pass", "Hang", func(c *spi.PluginConfig) { brief(c); pass(c) }, false, 0, 0},
		{"hangs, and the caller does not wait", "Hang", nil, false, 50 * time.Millisecond, spi.DeadlineExceeded},
		{"hangs, pass, and the caller does not wait", "Hang", pass, false, 50 * time.Millisecond, spi.DeadlineExceeded},
		{"ends", "Exit", nil, false, 0, spi.Unavailable},
		{"killed", "Pass", nil, true, 0, spi.Unavailable},
		{"killed, pass", "Pass", pass, true, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, cat, _ := withPerCall(t, tt.change)
			w := openProxy(t, cat, "")
			defer closeIt(t, w)
			if tt.killed {
				end(t, p)
			}
			ctx := t.Context()
			if tt.deadline != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				defer cancel()
			}
			arrived, _, err := invoke(ctx, w, tt.method, nil)
			if spi.CodeOf(err) != tt.want || (arrived != nil) != (tt.want == 0) {
				t.Fatalf("call: got %v, arrived %v, want code %v", err, arrived != nil, tt.want)
			}
			var e *spi.Error
			if errors.As(err, &e) && (e.Phase != spi.PhaseProxy || e.Sent != spi.SentNo) {
				t.Errorf("error: got %v, want phase proxy, sent no", err)
			}
			if tt.want != spi.DeadlineExceeded && err != nil && !strings.Contains(err.Error(), `"acme"`) {
				t.Errorf("error: got %v, want it to name the plugin", err)
			}
			used := p.usages.describe([]spi.Info{{Kind: "proxy", Name: "desk"}}, time.Now())[0]
			if want := tt.want == 0; used.Fallback != want || (used.Fallbacks == 1) != want {
				t.Errorf("usage: got %+v, want that something stood in: %v", used, want)
			}
		})
	}
}

// TestTextsThatCannotTravel: a call that the hooks refuse does not go on because they
// cannot be asked about it.
func TestTextsThatCannotTravel(t *testing.T) {
	_, cat, _ := withPerCall(t, func(cfg *spi.PluginConfig) { cfg.OnFailure = map[string]string{"proxy": "pass"} })
	w := openProxy(t, cat, "")
	defer closeIt(t, w)
	const odd = "\xff"
	tests := []struct {
		name, method, key, value string
		want                     spi.Code
	}{
		{"UTF-8", "Refuse", "a", "é", spi.NotFound},
		{"value", "Refuse", "a", odd, spi.InvalidArgument},
		{"key", "Refuse", odd, "1", spi.InvalidArgument},
		{"method", odd, "a", "1", spi.InvalidArgument},
		{"too large", "Refuse", "a", strings.Repeat("x", maxMessage), spi.ResourceExhausted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			arrived := false
			call := &spi.Call{Method: &spi.Method{Service: "Desk", Name: tt.method}, Metadata: spi.Metadata{{Key: tt.key, Value: tt.value}}}
			err := w.Intercept(func(context.Context, *spi.Call) error { arrived = true; return nil })(t.Context(), call)
			if arrived || spi.CodeOf(err) != tt.want {
				t.Errorf("got %v, arrived %t, want code %v and nothing behind", err, arrived, tt.want)
			}
		})
	}
}

// TestFullQueue: calls go on, and what does not fit is counted.
func TestFullQueue(t *testing.T) {
	h := &hooks{queue: make(chan spi.Outcome, 2), use: &usage{}}
	for range 5 {
		h.After(t.Context(), spi.Outcome{})
	}
	if got := h.use.dropped.Load(); got != 3 {
		t.Errorf("dropped: got %d, want 3", got)
	}
}
