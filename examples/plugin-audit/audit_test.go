package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	audit "github.com/bhrpc/bhrpc/examples/plugin-audit"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

// open opens the proxy as a program does that has it linked in.
func open(t *testing.T, cfg map[string]any) (spi.Wrapper, error) {
	t.Helper()
	cat := spi.NewCatalog()
	if err := audit.Register(cat); err != nil {
		t.Fatal(err)
	}
	with, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	p, err := cat.Proxies.Open(context.Background(), spi.Env{}, spi.Ref{Use: "audit", With: spi.Raw{JSON: with}})
	if err != nil {
		return nil, err
	}
	return p.(spi.Wrapper), nil
}

func TestContract(t *testing.T) {
	p, err := open(t, map[string]any{"file": filepath.Join(t.TempDir(), "audit.log"), "rules": []rule{{"method": "Say"}}})
	if err != nil {
		t.Fatal(err)
	}
	spitest.Proxy(t, p)
	if err := p.(io.Closer).Close(); err != nil {
		t.Errorf("Close: got %v, want nothing", err)
	}
}

type rule = map[string]any

// lines returns what was written.
func lines(t *testing.T, file string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	for text := range strings.Lines(string(data)) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("line %q: %v", text, err)
		}
		all = append(all, line)
	}
	return all
}

func TestAudit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	p, err := open(t, map[string]any{"file": file, "rules": []rule{
		{"service": "Account", "method": "Close", "unless": rule{"role": "admin"}, "code": "PERMISSION_DENIED", "message": "ask an admin"},
		{"metadata": rule{"tenant": "gone"}, "code": "NOT_FOUND"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	fails := spi.Errorf(spi.Internal, "it broke")
	tests := []struct {
		name            string
		service, method string
		metadata        spi.Metadata
		ends            error // of a call that is made
		made            bool
		code            spi.Code
		message         string // within the error's
	}{
		{"passes", "Account", "Open", nil, nil, true, 0, ""},
		{"fails", "Account", "Open", nil, fails, true, spi.Internal, "it broke"},
		{"refused", "Account", "Close", nil, nil, false, spi.PermissionDenied, "ask an admin"},
		{"refused to another role", "Account", "Close", spi.Metadata{{Key: "role", Value: "guest"}}, nil, false, spi.PermissionDenied, "ask an admin"},
		{"unless", "Account", "Close", spi.Metadata{{Key: "role", Value: "admin"}}, nil, true, 0, ""},
		{"another service's", "Door", "Close", nil, nil, true, 0, ""},
		{"refused by metadata", "Door", "Open", spi.Metadata{{Key: "tenant", Value: "gone"}}, nil, false, spi.NotFound, "Door.Open is refused"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			made := false
			err := p.Intercept(func(_ context.Context, call *spi.Call) error {
				made, call.Peer = true, "10.0.0.7:7070"
				return tt.ends
			})(t.Context(), &spi.Call{Method: &spi.Method{Service: tt.service, Name: tt.method}, Metadata: tt.metadata})
			if made != tt.made || spi.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.message) {
				t.Errorf("call: got made %v, %v, want made %v, %v, %q", made, err, tt.made, tt.code, tt.message)
			}
			line := lines(t, file)[i]
			endpoint, _ := line["endpoint"].(string)
			if line["service"] != tt.service || line["method"] != tt.method || line["code"] != tt.code.String() || (endpoint != "") != tt.made {
				t.Errorf("line: got %v, want %s.%s, %v and an endpoint if it was made", line, tt.service, tt.method, tt.code)
			}
		})
	}
	for range 2 {
		if err := p.(io.Closer).Close(); err != nil {
			t.Errorf("Close: got %v, want nothing", err)
		}
	}
}

// Many calls write whole lines.
func TestConcurrent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	p, err := open(t, map[string]any{"file": file})
	if err != nil {
		t.Fatal(err)
	}
	call := p.Intercept(func(context.Context, *spi.Call) error { return errors.New("no") })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				_ = call(t.Context(), &spi.Call{Method: &spi.Method{Service: "S", Name: "M"}})
			}
		})
	}
	all.Wait()
	if got := len(lines(t, file)); got != 800 {
		t.Errorf("got %d lines, want 800", got)
	}
	if err := p.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if err := call(t.Context(), &spi.Call{Method: &spi.Method{Service: "S", Name: "M"}}); err == nil || err.Error() != "no" {
		t.Errorf("call after Close: got %v, want what it ends with", err)
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name string
		with map[string]any
		want string
	}{
		{"relative file", map[string]any{"file": "audit.log"}, "is not an absolute path"},
		{"no such directory", map[string]any{"file": "/no/such/directory/audit.log"}, "open the audit file"},
		{"refuses everything", map[string]any{"rules": []rule{{"code": "ABORTED"}}}, "rules, entry 0: it would refuse every call"},
		{"unknown code", map[string]any{"rules": []rule{{"method": "M"}, {"method": "N", "code": "NOTFOUND"}}}, `rules, entry 1, code: unknown value "NOTFOUND"; did you mean "NOT_FOUND"?`},
		{"fits nothing", map[string]any{"rules": []rule{{"metadata": rule{"a": "1"}, "unless": rule{"a": "1"}}}}, "it fits no call"},
		{"misspelt", map[string]any{"rules": []rule{{"metod": "M"}}}, `did you mean "method"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := open(t, tt.with); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open with %v: got %v, want %q", tt.with, err, tt.want)
			}
		})
	}
}
