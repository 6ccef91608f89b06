package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Config is what stands under `with:`.
type Config struct {
	File  string `json:"file" doc:"absolute path of the file that lines are appended to; empty: standard error, which of a plugin is the host's log"`
	Rules []Rule `json:"rules" doc:"which calls are refused; the first that fits counts"`
}

// Validate lists everything that is wrong.
func (c *Config) Validate() error { return validate(c.File, c.Rules) }

// Register adds the proxy "audit" to a catalog.
func Register(cat *spi.Catalog) error {
	return spi.Register(cat.Proxies, "audit", "Writes a line of JSON for every call, and refuses calls by rule.", Config{}, open)
}

func open(_ context.Context, _ spi.Env, cfg Config) (spi.Proxy, error) {
	h := &auditor{rules: cfg.Rules, out: os.Stderr}
	if cfg.File != "" {
		file, err := os.OpenFile(cfg.File, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the audit file: %w", err)
		}
		h.out, h.file = file, file
	}
	return spi.FromHooks(h), nil
}

// auditor implements [spi.Hooks], and io.Closer.
type auditor struct {
	rules []Rule
	file  *os.File // nil: out is standard error

	mu  sync.Mutex
	out io.Writer // one line at a time
}

// Before refuses the call if a rule says so.
func (a *auditor) Before(_ context.Context, in spi.Invocation) (spi.Verdict, error) {
	for i := range a.rules {
		if a.rules[i].fits(in) {
			return spi.Verdict{Refuse: a.rules[i].refusal(in)}, nil
		}
	}
	return spi.Verdict{}, nil
}

// line is what is written of a call.
type line struct {
	Time     time.Time `json:"time"` // when it is written: a plugin hears of calls a moment after their end
	Service  string    `json:"service"`
	Method   string    `json:"method"`
	Endpoint string    `json:"endpoint,omitempty"`
	Took     float64   `json:"took_ms"`
	Code     string    `json:"code"`
	Message  string    `json:"message,omitempty"`
}

// After writes the line of the call, those that were refused included. A line that
// cannot be written is lost: the call has been made.
func (a *auditor) After(_ context.Context, out spi.Outcome) {
	text, err := json.Marshal(line{time.Now().UTC().Truncate(time.Millisecond), out.Service, out.Method, out.Endpoint, float64(out.Took.D().Microseconds()) / 1000, out.Code.String(), out.Message})
	if err != nil {
		return // not possible with these fields
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = a.out.Write(append(text, '\n'))
}

// Close closes the file. It is safe to call twice.
func (a *auditor) Close() error {
	if a.file == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.out == io.Discard {
		return nil
	}
	a.out = io.Discard // calls still under way
	return a.file.Close()
}
