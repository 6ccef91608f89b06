package control

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// Whatever is asked, there is an answer of one line: what was asked for, or an error.
func FuzzReport(f *testing.F) {
	for _, seed := range []string{`{"get":"conns"}`, `{"get":"plugins"}`, `{"do":"restart","plugin":"acme","sha256":"00"}`, `{"do":"stop"}`, `{"get":1}`, `null`, `[]`, ``, "\x00"} {
		f.Add([]byte(seed))
	}
	s := &Server{app: App{
		Conns:   func() []core.ConnInfo { return nil },
		Plugins: func() []spi.PluginStatus { return nil },
		Restart: func(_ context.Context, name, _ string) error {
			if name == "" {
				return spi.ErrUnknown
			}
			return nil
		},
	}}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := s.report(line)
		if _, err := json.Marshal(r); err != nil || (r.Error == "") == (r.Conns == nil && r.Plugins == nil) {
			t.Errorf("%q: got %+v, %v", line, r, err)
		}
	})
}

// What is the name of a socket names a process.
func FuzzParseName(f *testing.F) {
	for _, seed := range []string{name(os.Getpid(), 0), "1-2.sock", "-1.sock", "1-.sock", "0-0.sock", "+1-0.sock", "1.sock", "x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if pid, ok := parseName(text); ok && pid <= 0 {
			t.Errorf("%q: got process %d", text, pid)
		}
	})
}
