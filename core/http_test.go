package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// browser is a client of HTTP for what listens at one address of the network.
type browser struct {
	*world
	*http.Client
}

func (w *world) browser(address string) *browser {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.network.Dial(ctx, address) }}
	w.Cleanup(transport.CloseIdleConnections)
	return &browser{w, &http.Client{Transport: transport}}
}

// ask sends a request, with headers as "Name: value", and returns the answer, its
// body read.
func (b *browser) ask(ctx context.Context, method, path, body string, headers ...string) (*http.Response, string) {
	b.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:7070"+path, strings.NewReader(body))
	b.must(err)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	answer, err := b.Do(r)
	b.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	b.must(err)
	return answer, string(text)
}

// speaker says what it was asked and by whom.
type speaker struct{}

type basket struct {
	Item  string
	Count int
}

func (speaker) Order(o basket) (string, error)            { return fmt.Sprintf("%d %s", o.Count, o.Item), nil }
func (speaker) Sum(numbers []int) (n int, err error)      { return len(numbers), nil }
func (speaker) Join(a string, b int) (string, error)      { return fmt.Sprint(a, b), nil }
func (speaker) Nothing() (string, error)                  { return "<nothing>", nil }
func (speaker) Peer(ctx context.Context) (string, error)  { return spi.CallFrom(ctx).Peer, nil }
func (speaker) Until(ctx context.Context) (string, error) { return fmt.Sprint(left(ctx)), nil }
func (speaker) Echo(ctx context.Context) (spi.Metadata, error) {
	call := spi.CallFrom(ctx)
	call.ReplyMetadata.Set("trace", "abc")
	return call.Metadata, nil
}

func left(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return -1
}

func TestHTTP(t *testing.T) {
	for _, tt := range []struct {
		name    string
		method  string // "": POST
		path    string
		headers []string
		body    string
		status  int
		want    string
	}{
		{name: "a call", path: "/echo/Say", body: `["world"]`, status: 200, want: "\"world\"\n"},
		{name: "one argument that is no array", path: "/echo/Say", body: `"world"`, status: 200, want: "\"world\"\n"},
		{name: "an object", path: "/speaker/Order", body: ` {"Item": "tea", "Count": 2}`, status: 200, want: "\"2 tea\"\n"},
		{name: "an object in an array", path: "/speaker/Order", body: `[{"Item": "tea", "Count": 2}]`, status: 200, want: "\"2 tea\"\n"},
		{name: "several arguments", path: "/speaker/Join", body: "[\"a\",\n1]", status: 200, want: "\"a1\"\n"},
		{name: "an argument that is an array", path: "/speaker/Sum", body: `[[1,2,3]]`, status: 200, want: "3\n"},
		{name: "no arguments", path: "/speaker/Nothing", status: 200, want: "\"\\u003cnothing\\u003e\"\n"},
		{name: "an empty array", path: "/speaker/Nothing", body: "[]", status: 200, want: "\"\\u003cnothing\\u003e\"\n"},
		{name: "no result", path: "/faulty/Void", body: `["x"]`, status: 200, want: "null\n"},
		{name: "the peer", path: "/speaker/Peer", status: 200, want: "\"consumer:1\"\n"},
		{name: "no deadline", path: "/speaker/Until", status: 200, want: "\"-1ns\"\n"},
		{name: "a deadline", path: "/speaker/Until", headers: []string{"Bhrpc-Timeout: 500ms"}, status: 200, want: "\"500ms\"\n"},
		{name: "metadata", path: "/speaker/Echo", headers: []string{"Bhrpc-Meta-Tenant: blue", "bhrpc-meta-a: 1", "Other: x"}, status: 200,
			want: `[{"key":"a","value":"1"},{"key":"tenant","value":"blue"}]` + "\n"},
		{name: "a version by header", path: "/echo/Say", headers: []string{"Bhrpc-Version: 2.0", "Bhrpc-Group: blue"}, body: `["v2"]`, status: 200, want: "\"v2\"\n"},
		{name: "a version by query", path: "/echo/Say?version=2.0&group=blue", body: `["v2"]`, status: 200, want: "\"v2\"\n"},
		{name: "the query beats the header", path: "/echo/Say?group=blue", headers: []string{"Bhrpc-Version: 2.0", "Bhrpc-Group: red"}, body: `["v2"]`, status: 200, want: "\"v2\"\n"},
		{name: "a version that is not there", path: "/echo/Say?version=3", body: `["v2"]`, status: 404, want: `{"code":"UNIMPLEMENTED","message":"service echo#3# not found"}` + "\n"},
		{name: "a method that is not there", path: "/echo/Sya", body: `["world"]`, status: 404, want: `{"code":"UNIMPLEMENTED","message":"method echo.Sya not found","hint":"did you mean echo.Say(string) string?"}` + "\n"},
		{name: "half a path", path: "/echo", body: `["world"]`, status: 404, want: `{"code":"UNIMPLEMENTED","message":"a call is a POST to /Service/Method","hint":"GET / lists the services"}` + "\n"},
		{name: "too few arguments", path: "/speaker/Join", body: `["a"]`, status: 400,
			want: `{"code":"INVALID_ARGUMENT","message":"want 2 arguments, got 1; the body is a JSON array of them","hint":"it is speaker.Join(string, int) string"}` + "\n"},
		{name: "no array for several", path: "/speaker/Join", body: `{"a":1}`, status: 400,
			want: `{"code":"INVALID_ARGUMENT","message":"want 2 arguments, got 1; the body is a JSON array of them","hint":"it is speaker.Join(string, int) string"}` + "\n"},
		{name: "no JSON", path: "/speaker/Join", body: `[a]`, status: 400,
			want: `{"code":"INVALID_ARGUMENT","message":"body: invalid character 'a' looking for beginning of value","hint":"it is speaker.Join(string, int) string"}` + "\n"},
		{name: "a wrong type", path: "/echo/Say", body: `[1]`, status: 400,
			want: `{"code":"INVALID_ARGUMENT","message":"argument 1: json: cannot unmarshal number into Go value of type string","hint":"it is echo.Say(string) string"}` + "\n"},
		{name: "a wrong timeout", path: "/echo/Say", headers: []string{"Bhrpc-Timeout: soon"}, body: `["x"]`, status: 400,
			want: `{"code":"INVALID_ARGUMENT","message":"Bhrpc-Timeout \"soon\" is no duration","hint":"write it as 500ms or 2s"}` + "\n"},
		{name: "a compressed body", path: "/echo/Say", headers: []string{"Content-Encoding: gzip"}, body: `x`, status: 415,
			want: `{"code":"UNIMPLEMENTED","message":"a body with Content-Encoding is not read here","hint":"send it plain"}` + "\n"},
		{name: "an error of the handler", path: "/faulty/Coded", status: 404,
			want: `{"code":"NOT_FOUND","message":"order 7 is not here","reason":"no_such_order","hint":"look in the archive","details":{"order":"7"}}` + "\n"},
		{name: "an error without a code", path: "/faulty/Plain", status: 500, want: `{"code":"UNKNOWN","message":"stock is empty"}` + "\n"},
		{name: "a panic", path: "/faulty/Panic", status: 500, want: `{"code":"INTERNAL","message":"the handler panicked","reason":"handler_panic","hint":"the provider's log has the stack"}` + "\n"},
		{name: "a handler that ends its goroutine", path: "/faulty/Exit", status: 500, want: `{"code":"INTERNAL","message":"the handler ended its goroutine","reason":"handler_exit","hint":"the provider's log has the stack"}` + "\n"},
		{name: "a result that cannot be written", path: "/faulty/Unencodable", status: 500, want: `{"code":"INTERNAL","message":"result: json: unsupported type: chan int"}` + "\n"},
		{name: "the list", method: "GET", path: "/", status: 200, want: "echo.Say(string) string\necho#2.0#blue.Say(string) string\n\ntry: curl -s 127.0.0.1:7070/echo/Say -d '[\"world\"]'\n"},
		{name: "a call by GET", method: "GET", path: "/echo/Say", status: 405, want: `{"code":"UNIMPLEMENTED","message":"a call is a POST to /Service/Method","hint":"its body is a JSON array of arguments, such as [\"world\"]"}` + "\n"},
		{name: "alive", method: "GET", path: "/healthz", status: 200, want: "ok\n"},
		{name: "ready", method: "GET", path: "/readyz", status: 200, want: "ready\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				other, err := core.NewService("echo", echo{})
				w.must(err)
				other.Version, other.Group = "2.0", "blue"
				impls := []any{echo{}, other}
				if tt.method == "" {
					impls = append(impls, speaker{}, faulty{})
				} else {
					tt.body = ""
				}
				p := w.provider("p:1", nil, impls...)
				method := tt.method
				if method == "" {
					method = "POST"
				}
				answer, got := w.browser("p:1").ask(t.Context(), method, tt.path, tt.body, tt.headers...)
				if answer.StatusCode != tt.status || got != tt.want {
					t.Errorf("got  %d %s\nwant %d %s", answer.StatusCode, got, tt.status, tt.want)
				}
				if tt.name == "metadata" && answer.Header.Get("Bhrpc-Meta-Trace") != "abc" {
					t.Errorf("got %v, want the answer's metadata", answer.Header)
				}
				synctest.Wait()
				if got := p.Requests(); got != 0 {
					t.Errorf("got %d requests left, want 0", got)
				}
			})
		})
	}
}

// TestHTTPGuards: web pages cannot call a provider on the same machine unless the
// configuration says so, under whatever name they know it.
func TestHTTPGuards(t *testing.T) {
	const page = "https://shop.example"
	for _, tt := range []struct {
		name    string
		method  string
		path    string
		headers []string
		status  int
		reason  string            // in the answer
		answer  map[string]string // headers
	}{
		{name: "an IP address", headers: []string{"Host: 192.0.2.1:7070"}, status: 200},
		{name: "an IPv6 address", headers: []string{"Host: [::1]:7070"}, status: 200},
		{name: "an IPv6 address without a port", headers: []string{"Host: [::1]"}, status: 200},
		{name: "localhost", headers: []string{"Host: LocalHost:7070"}, status: 200},
		{name: "a name of the configuration", headers: []string{"Host: Orders.internal.:80"}, status: 200},
		{name: "the name that is advertised", headers: []string{"Host: orders-7:7070"}, status: 200},
		{name: "another name", headers: []string{"Host: evil.example"}, status: 403, reason: "host"},
		{name: "a name that ends alike", headers: []string{"Host: localhost.evil.example"}, status: 403, reason: "host"},
		{name: "health under another name", method: "GET", path: "/healthz", headers: []string{"Host: evil.example"}, status: 403, reason: "host"},
		{name: "a page", headers: []string{"Origin: https://evil.example"}, status: 403, reason: "origin"},
		{name: "a page without a name", headers: []string{"Origin: null"}, status: 403, reason: "origin"},
		{name: "a page whose name ends alike", headers: []string{"Origin: " + page + ".evil.example"}, status: 403, reason: "origin"},
		{name: "a page by another scheme", headers: []string{"Origin: http://shop.example"}, status: 403, reason: "origin"},
		{name: "what a page loads", method: "GET", path: "/", headers: []string{"Sec-Fetch-Site: cross-site"}, status: 403, reason: "origin"},
		{name: "health for a page", method: "GET", path: "/readyz", headers: []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, status: 200},
		{name: "a page that may", headers: []string{"Origin: " + page, "Sec-Fetch-Site: cross-site"}, status: 200,
			answer: map[string]string{"Access-Control-Allow-Origin": page, "Vary": "Origin", "Access-Control-Expose-Headers": "*"}},
		{name: "a page that may asks first", method: "OPTIONS", headers: []string{"Origin: " + page, "Access-Control-Request-Headers: bhrpc-timeout"}, status: 204,
			answer: map[string]string{"Access-Control-Allow-Origin": page, "Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "bhrpc-timeout"}},
		{name: "a page that may not asks first", method: "OPTIONS", headers: []string{"Origin: https://evil.example"}, status: 403, reason: "origin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provider("p:1", func(cfg *core.ProviderConfig) {
					cfg.HTTP.Origins, cfg.HTTP.Hosts, cfg.Advertise = []string{page}, []string{"orders.internal"}, "orders-7:7070"
				}, echo{})
				method, path := "POST", "/echo/Say"
				if tt.method != "" {
					method = tt.method
				}
				if tt.path != "" {
					path = tt.path
				}
				answer, text := w.browser("p:1").ask(t.Context(), method, path, `["x"]`, tt.headers...)
				if reason := fmt.Sprintf(`"reason":%q`, tt.reason); answer.StatusCode != tt.status || tt.reason != "" && !strings.Contains(text, reason) {
					t.Errorf("got %d %s, want %d and reason %q", answer.StatusCode, text, tt.status, tt.reason)
				}
				for name, want := range tt.answer {
					if got := answer.Header.Get(name); got != want {
						t.Errorf("got %s %q, want %q", name, got, want)
					}
				}
				if tt.answer == nil && answer.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("got %v, want no permission in it", answer.Header)
				}
			})
		})
	}
}

// TestHTTPTurnedOff: by the key, by a missing serializer, and the list by its own
// key.
func TestHTTPTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.provider("off:1", func(cfg *core.ProviderConfig) { cfg.HTTP.Enabled = false }, echo{})
		w.provider("gob:1", func(cfg *core.ProviderConfig) {
			cfg.Serializers = map[string]spi.Serializer{"gob": jsonSerializer{}}
		}, echo{})
		w.provider("secret:1", func(cfg *core.ProviderConfig) { cfg.Introspection = false }, echo{})
		if answer, err := w.browser("off:1").Get("http://localhost/"); err == nil {
			t.Errorf("got %s, want the end of the connection", answer.Status)
		}
		synctest.Wait()
		if got := w.logs.LastEntry(); got.Data["reason"] != spi.ReasonProtocolError || !strings.Contains(fmt.Sprint(got.Data["cause"]), "provider.http.enabled") {
			t.Errorf("got %v, want the key named", got.Data)
		}
		answer, text := w.browser("gob:1").ask(t.Context(), "POST", "/echo/Say", `["x"]`)
		if answer.StatusCode != 501 || !strings.Contains(text, "need the serializer json") {
			t.Errorf("without json: got %d %s", answer.StatusCode, text)
		}
		if answer, text := w.browser("secret:1").ask(t.Context(), "GET", "/", ""); answer.StatusCode != 405 {
			t.Errorf("without introspection: got %d %s", answer.StatusCode, text)
		}
	})
}

// TestHTTPLimits: of a message, before and while it is read, of its time, of headers,
// and of requests at once.
func TestHTTPLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", func(cfg *core.ProviderConfig) {
			cfg.Limits.Message, cfg.Limits.Metadata, cfg.MaxRequests = 64<<10, 1<<10, 1
		}, echo{}, g.service())
		b := w.browser("p:1")
		large := `["` + strings.Repeat("x", 64<<10) + `"]`
		if answer, text := b.ask(t.Context(), "POST", "/echo/Say", large); answer.StatusCode != 413 || !strings.Contains(text, "RESOURCE_EXHAUSTED") {
			t.Errorf("large body: got %d %s", answer.StatusCode, text)
		}
		r, _ := http.NewRequest("POST", "http://localhost/echo/Say", io.MultiReader(strings.NewReader(large))) // without a length
		answer, err := b.Do(r)
		w.must(err)
		if answer.Body.Close(); answer.StatusCode != 413 {
			t.Errorf("large body in chunks: got %d", answer.StatusCode)
		}
		if answer, _ := b.ask(t.Context(), "POST", "/echo/Say", `["x"]`, "Bhrpc-Meta-Large: "+strings.Repeat("x", 8<<10)); answer.StatusCode != 431 {
			t.Errorf("large metadata: got %d", answer.StatusCode)
		}
		held := start[string](t.Context(), w.consumer(nil, "p:1"), "Gate", "Pass", "held")
		<-g.entered
		if answer, text := b.ask(t.Context(), "POST", "/echo/Say", `["x"]`); answer.StatusCode != 429 || !strings.Contains(text, "provider.max_requests") {
			t.Errorf("too many requests: got %d %s", answer.StatusCode, text)
		}
		close(g.leave)
		if _, err := held.wait(); err != nil {
			t.Error(err)
		}
		synctest.Wait() // its place is free a little after its answer
		if answer, text := b.ask(t.Context(), "POST", "/echo/Say", `["x"]`); answer.StatusCode != 200 {
			t.Errorf("afterwards: got %d %s", answer.StatusCode, text)
		}
		synctest.Wait()
		if got := p.Requests(); got != 0 {
			t.Errorf("got %d requests left, want 0", got)
		}
	})
}

// TestHTTPSlowly: who takes too long for a header or a body is turned away at an
// exact time.
func TestHTTPSlowly(t *testing.T) {
	for _, tt := range []struct {
		name   string
		sent   string
		after  time.Duration
		answer string // its beginning; "": none
	}{
		{"half a header", "POST /echo/Say HTTP/1.1\r\nHost: local", 3 * time.Second, ""},
		{"half a body", "POST /echo/Say HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[\"", 30 * time.Second, "HTTP/1.1 408 Request Timeout"},
		{"nothing after an answer", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 2 * time.Minute, "HTTP/1.1 200 OK"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := w.provider("p:1", nil, echo{})
				nc, err := w.network.Dial(t.Context(), "p:1")
				w.must(err)
				defer nc.Close()
				begin := time.Now()
				_, err = nc.Write([]byte(tt.sent))
				w.must(err)
				answer, _ := io.ReadAll(nc)
				if got := time.Since(begin); got != tt.after || !strings.HasPrefix(string(answer), tt.answer) || tt.answer == "" && len(answer) > 0 {
					t.Errorf("got %q after %v, want %q after %v", answer, got, tt.answer, tt.after)
				}
				synctest.Wait()
				if got := p.ConnCount(); got != 0 {
					t.Errorf("got %d conns left, want 0", got)
				}
			})
		})
	}
}

// TestHTTPTakesItsTime: the bound on reading a body is none on the handler.
func TestHTTPTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		w.provider("p:1", nil, g.service())
		time.AfterFunc(time.Hour, func() { close(g.leave) })
		body := `["slow"]` + strings.Repeat(" ", 120<<10-8) // as much as must come at once
		if answer, text := w.browser("p:1").ask(t.Context(), "POST", "/Gate/Pass", body); answer.StatusCode != 200 || text != "\"slow\"\n" {
			t.Errorf("got %d %s after an hour, want the answer", answer.StatusCode, text)
		}
	})
}

// TestHTTPGoesAway: who does not wait for the answer ends the handler.
func TestHTTPGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		cause := make(chan error, 1)
		p := w.provider("p:1", func(cfg *core.ProviderConfig) {
			cfg.Interceptors = []spi.Interceptor{func(next spi.InvokeFunc) spi.InvokeFunc {
				return func(ctx context.Context, call *spi.Call) error {
					err := next(ctx, call)
					cause <- context.Cause(ctx)
					return err
				}
			}}
		}, g.service())
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-g.entered
			cancel()
		}()
		r, err := http.NewRequestWithContext(ctx, "POST", "http://localhost/Gate/Pass", strings.NewReader(`["x"]`))
		w.must(err)
		if _, err := w.browser("p:1").Do(r); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the request cancelled", err)
		}
		if got := <-cause; !errors.Is(got, core.ErrPeerGone) {
			t.Errorf("got cause %v, want %v", got, core.ErrPeerGone)
		}
		synctest.Wait()
		if p.ConnCount()+p.Requests() != 0 {
			t.Errorf("got %d conns and %d requests left, want none", p.ConnCount(), p.Requests())
		}
	})
}

// TestHTTPShutdown waits for the request in flight, closes connections that wait for
// the next, and tells those who ask.
func TestHTTPShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g, d := newWorld(t), newGate(), newDirectory()
		p := w.provider("p:1", func(cfg *core.ProviderConfig) { cfg.Registry = d }, g.service(), echo{})
		idle, asking, busy := w.browser("p:1"), w.browser("p:1"), w.browser("p:1")
		idle.ask(t.Context(), "POST", "/echo/Say", `["x"]`)
		var status int
		var text string
		over := make(chan bool)
		go func() {
			defer close(over)
			answer, body := busy.ask(t.Context(), "POST", "/Gate/Pass", `["held"]`)
			status, text = answer.StatusCode, body
		}()
		<-g.entered
		leaving, leave := make(chan bool, 1), make(chan bool)
		d.leaving = sync2(leaving, leave)
		down := make(chan error, 1)
		go func() { down <- p.Shutdown(t.Context()) }()
		<-leaving
		if answer, text := asking.ask(t.Context(), "GET", "/readyz", ""); answer.StatusCode != 503 || text != "draining\n" {
			t.Errorf("got %d %s while it withdraws, want 503", answer.StatusCode, text)
		}
		if answer, _ := asking.ask(t.Context(), "GET", "/healthz", ""); answer.StatusCode != 200 {
			t.Errorf("got %d while it withdraws, want it alive", answer.StatusCode)
		}
		for range 2 { // services
			leave <- true
		}
		synctest.Wait()
		if got := p.ConnCount(); len(down) != 0 || got != 1 {
			t.Errorf("got %d conns, want the busy one only, and Shutdown to wait for it", got)
		}
		close(g.leave)
		if <-over; status != 200 || text != "\"held\"\n" {
			t.Errorf("got %d %s, want the request in flight to finish", status, text)
		}
		if err := <-down; err != nil {
			t.Errorf("got %v from Shutdown, want nil", err)
		}
		if got := w.logged(logrus.WarnLevel); got != nil {
			t.Errorf("got %q, want no complaint", got)
		}
	})
}

// sync2 returns a function that tells asked, which has room for one, and waits for
// leave each time.
func sync2(asked, leave chan bool) func() {
	return func() {
		select {
		case asked <- true:
		default:
		}
		<-leave
	}
}

// TestHTTPShutdownIsNotTheConsumersEnd: a handler learns who goes.
func TestHTTPShutdownIsNotTheConsumersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s := newWorld(t), newWatcher()
		p := w.provider("p:1", nil, s)
		over := make(chan error, 1)
		go func() {
			_, err := w.browser("p:1").Post("http://localhost/watcher/Watch", "", strings.NewReader(`[]`))
			over <- err
		}()
		<-s.entered
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = p.Shutdown(ended)
		if e := <-s.ended; e.cause != context.Canceled {
			t.Errorf("got the context ended by %v, want %v", e.cause, context.Canceled)
		}
		if err := <-over; err == nil {
			t.Error("got an answer, want the connection cut")
		}
	})
}

// TestHTTPShutdownRunsOutOfTime cuts what is left.
func TestHTTPShutdownRunsOutOfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, g := newWorld(t), newGate()
		p := w.provider("p:1", nil, g.service())
		over := make(chan error, 1)
		go func() {
			_, err := w.browser("p:1").Post("http://localhost/Gate/Pass", "", strings.NewReader(`["x"]`))
			over <- err
		}()
		<-g.entered
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Shutdown(ctx); err == nil || err.Error() != "1 request cut off at the end of the drain time" {
			t.Errorf("got %v, want one request cut off", err)
		}
		if err := <-over; err == nil {
			t.Error("got an answer, want the connection cut")
		}
	})
}
