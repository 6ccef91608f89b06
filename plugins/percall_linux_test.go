package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/spi"
)

// perCallRoles are plugins that are asked for every call.
var perCallRoles = map[string]func(){
	"liar": serveLies,
	"per call": func() {
		cat := spi.NewCatalog()
		err := errors.Join(
			spi.Register(cat.Proxies, "desk", "Does what the method is called.", deskConfig{}, openDesk),
			spi.Register(cat.Proxies, "plain", "Has no hooks.", plainConfig{}, openPlain),
			spi.Register(cat.Serializers, "marked", "JSON behind a mark.", markedConfig{Mark: "#"}, openMarked),
			spi.Register(cat.Serializers, "broken", "Cannot be opened.", struct{}{}, func(context.Context, spi.Env, struct{}) (spi.Serializer, error) { return nil, errors.New("no licence") }),
		)
		if err == nil {
			err = Serve(cat)
		}
		if err != nil {
			panic(err)
		}
	},
}

type deskConfig struct {
	Greeting string `json:"greeting" doc:"what it adds to the metadata"`
}

func openDesk(_ context.Context, _ spi.Env, cfg deskConfig) (spi.Proxy, error) {
	return spi.FromHooks(&desk{greeting: cfg.Greeting}), nil
}

// desk does what the method is called.
type desk struct {
	greeting string
	mu       sync.Mutex
	told     []spi.Outcome
}

func (d *desk) Before(_ context.Context, in spi.Invocation) (spi.Verdict, error) {
	switch in.Method {
	case "Echo":
		answer, err := json.Marshal(in)
		return spi.Verdict{Answer: answer}, err
	case "Rewrite":
		return spi.Verdict{Metadata: append(in.Metadata, spi.Pair{Key: "greeting", Value: d.greeting})}, nil
	case "Clear":
		return spi.Verdict{Metadata: spi.Metadata{}}, nil
	case "Nonsense":
		return spi.Verdict{Answer: json.RawMessage(`{`)}, nil
	case "Refuse":
		return spi.Verdict{Refuse: &spi.Refusal{Code: spi.NotFound, Message: "not here", Details: map[string]string{"where": "there"}}}, nil
	case "RefuseOddly":
		return spi.Verdict{Refuse: &spi.Refusal{Code: 99, Message: "no"}}, nil
	case "Fail":
		return spi.Verdict{}, errors.New("out of ink")
	case "FailWith":
		return spi.Verdict{}, &spi.Error{Code: spi.ResourceExhausted, Reason: "ink", Message: "out of ink", Hint: "buy some", Details: map[string]string{"colour": "blue"}}
	case "Panic":
		panic("as the test asked")
	case "Hang":
		select {}
	case "Exit":
		os.Exit(3)
	case "Told":
		d.mu.Lock()
		defer d.mu.Unlock()
		answer, err := json.Marshal(d.told)
		d.told = nil
		return spi.Verdict{Answer: answer}, err
	}
	return spi.Verdict{}, nil
}

func (d *desk) After(_ context.Context, out spi.Outcome) {
	switch out.Method {
	case "PanicAfter":
		panic("as the test asked")
	case "HangAfter":
		select {}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, out)
}

type noHooks struct{ spi.Proxy }

// plainConfig cannot be left out, so that only its use finds that there are no hooks.
type plainConfig struct {
	Really bool `json:"really" doc:"must be true"`
}

func openPlain(_ context.Context, _ spi.Env, cfg plainConfig) (spi.Proxy, error) {
	if !cfg.Really {
		return nil, errors.New("really: must be true")
	}
	return noHooks{}, nil
}

type markedConfig struct {
	Mark string `json:"mark" doc:"what every encoding begins with"`
}

func openMarked(_ context.Context, _ spi.Env, cfg markedConfig) (spi.Serializer, error) {
	return marked{cfg.Mark}, nil
}

// marked is JSON behind a mark. Some texts make it do something else.
type marked struct{ mark string }

func (s marked) Append(dst []byte, v any) ([]byte, error) {
	switch v {
	case "panic":
		panic("as the test asked")
	case "hang":
		select {}
	case "exit":
		os.Exit(3)
	case "exit once": // whoever starts the process again has marked that
		if os.Mkdir(os.Getenv("BHRPC_TEST_ONCE"), 0o700) == nil {
			os.Exit(3)
		}
	case "refuse":
		return nil, errors.New("not this one")
	case "types":
		v = "none"
	}
	if list, ok := v.([]any); ok && len(list) > 0 && list[0] == "types" {
		var types []string
		for _, e := range list[1:] {
			types = append(types, fmt.Sprintf("%T", e))
		}
		v = types
	}
	data, err := json.Marshal(v)
	return append(append(dst, s.mark...), data...), err
}

func (s marked) Decode(data []byte, v any) error {
	text, ok := strings.CutPrefix(string(data), s.mark)
	if !ok {
		return fmt.Errorf("%.20q does not begin with %q", data, s.mark)
	}
	if text == "a map of numbers" {
		*v.(*any) = map[any]any{1: 2}
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("something follows")
	}
	return nil
}

// withPerCall opens the plugin of the tests that is asked for every call, with a
// catalog that has the built-in extensions and its own.
func withPerCall(t testing.TB, change func(*spi.PluginConfig)) (*Plugin, *spi.Catalog, *logtest.Hook) {
	t.Helper()
	cfg, _ := asPlugin(t, "per call")
	cfg.PerCall = true
	cfg.CallTimeout = spi.Duration(30 * time.Second) // of a busy machine
	if change != nil {
		change(&cfg)
	}
	log, logged := logtest.NewNullLogger()
	p, err := Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: got %v, want nothing", err)
		}
	})
	cat := spi.NewCatalog()
	if err := errors.Join(extensions.Register(cat), p.Register(cat)); err != nil {
		t.Fatal(err)
	}
	return p, cat, logged
}

// end kills the process of a plugin and keeps it from being started again.
func end(t *testing.T, p *Plugin) {
	t.Helper()
	if err := os.Remove(p.cfg.Path); err != nil {
		t.Fatal(err)
	}
	g := p.ready.Load()
	if err := syscall.Kill(g.process.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.exited()
}

func logger() (logrus.FieldLogger, *logtest.Hook) { return logtest.NewNullLogger() }

func TestPerCallIsOptIn(t *testing.T) {
	_, cat, _ := withPerCall(t, func(cfg *spi.PluginConfig) { cfg.PerCall = false })
	_, proxyErr := cat.Proxies.Open(t.Context(), spi.Env{}, spi.Ref{Use: "desk"})
	_, serializerErr := cat.Serializers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "marked"})
	for _, tt := range []struct {
		name string
		err  error
		unit string
	}{{"proxy", proxyErr, "call"}, {"serializer", serializerErr, "message"}} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), `it is in plugin "acme" and would cost `) || !strings.Contains(tt.err.Error(), "s (median of ") ||
			!strings.Contains(tt.err.Error(), ") per "+tt.unit+"; to accept that, set per_call: true of the plugin") {
			t.Errorf("Open of a %s: got %v, want the cost per %s and the key to set", tt.name, tt.err, tt.unit)
		}
	}
}

func TestPerCallRefused(t *testing.T) {
	_, cat, _ := withPerCall(t, nil)
	tests := []struct{ name, kind, use, with, want string }{
		{"proxy without hooks", "proxy", "plain", `{"really":true}`, `proxy "plain" has no hooks, so it cannot live in a plugin: its open must return what spi.FromHooks makes`},
		{"serializer that does not open", "serializer", "broken", "", "no licence"},
		{"misspelt key", "serializer", "marked", `{"marc":"!"}`, `did you mean "mark"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := spi.Ref{Use: tt.use, With: spi.Raw{JSON: []byte(tt.with)}}
			var err error
			if tt.kind == "proxy" {
				_, err = cat.Proxies.Open(t.Context(), spi.Env{}, ref)
			} else {
				_, err = cat.Serializers.Open(t.Context(), spi.Env{}, ref)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCostIsLogged(t *testing.T) {
	_, cat, _ := withPerCall(t, nil)
	log, logged := logger()
	proxy, err := cat.Proxies.Open(t.Context(), spi.Env{Log: log}, spi.Ref{Use: "desk"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, proxy)
	serializer, err := cat.Serializers.Open(t.Context(), spi.Env{Log: log}, spi.Ref{Use: "marked"})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, serializer)
	want := []string{"plugin proxy costs ", "plugin serializer costs "}
	for i, entry := range logged.AllEntries() {
		if i >= len(want) || !strings.HasPrefix(entry.Message, want[i]) || !strings.Contains(entry.Message, "s (median of ") {
			t.Errorf("line %d: got %q, want the cost", i, entry.Message)
		}
	}
	if n := len(logged.AllEntries()); n != len(want) {
		t.Errorf("lines: got %d, want %d", n, len(want))
	}
}

func TestOnFailureThatNothingStandsInFor(t *testing.T) {
	tests := []struct{ name, kind, value, want string }{
		{"proxy", "proxy", "p2c", `on_failure.proxy: unknown value "p2c"; known: fail, pass`},
		{"serializer", "serializer", "json", `on_failure.serializer: unknown value "json"; known: fail`},
		{"registry", "registry", "static", `on_failure.registry: unknown value "static"; known: fail`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &Plugin{cfg: spi.PluginConfig{Name: "acme", OnFailure: map[string]string{tt.kind: tt.value}}, log: quiet(),
				extensions: []spi.Info{{Kind: tt.kind, Name: "desk"}}}
			if err := p.Register(spi.NewCatalog()); !errors.Is(err, spi.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Register: got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestSlowness(t *testing.T) {
	tests := []struct {
		name        string
		fast, slow  int           // exchanges in each window
		windows     int           //
		gap         time.Duration // from one window to the next
		wantReports int
	}{
		{"fast", 1000, 10, 3, slowWindow, 0},
		{"slow", 1000, 11, 3, slowWindow, 1},
		{"again after a minute", 1000, 20, 8, slowWindow, 2},
		{"few", 0, slowFewest - 1, 3, slowWindow, 0},
		{"few are enough", 0, slowFewest, 3, slowWindow, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s slowness
			now, got := time.Second, 0
			note := func(took time.Duration) {
				if s.note(now, took) {
					got++
				}
			}
			for range tt.windows {
				for range tt.fast {
					note(slowExchange)
				}
				for range tt.slow {
					note(slowExchange + 1)
				}
				now += tt.gap
			}
			note(0)
			if got != tt.wantReports {
				t.Errorf("reports: got %d, want %d", got, tt.wantReports)
			}
		})
	}
}
