package spi_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

// steps records what happens to an extension.
type steps struct {
	log    []string
	failAt string
}

func (s *steps) step(name string) error {
	s.log = append(s.log, name)
	if s.failAt == name {
		return errors.New(name + " went wrong")
	}
	return nil
}

// recorder is the configuration of an extension that records its life.
type recorder struct {
	Zone watched `json:"zone"`
}

// watched is a value that records when it is decoded.
type watched struct{ text string }

var decoding *steps // the test that is running; nil: none

func (w *watched) UnmarshalText(text []byte) error {
	w.text = string(text)
	if decoding == nil || w.text == "" {
		return nil
	}
	return decoding.step("decode " + w.text)
}

func (w watched) MarshalText() ([]byte, error) { return []byte(w.text), nil }

func (r *recorder) Validate() error { return decoding.step("validate " + r.Zone.text) }

// TestLifecycle: look up, check keys, decode over the defaults, validate, open,
// use, close; a step that fails is the last, and a failed open leaves nothing.
func TestLifecycle(t *testing.T) {
	errRefused := errors.New("open us2 went wrong")
	for _, tt := range []struct {
		name, use, with, failAt string
		resolve                 bool // stop before open
		want                    string
		wantErr                 string
	}{
		{"whole life", "rec", `{"zone":"us2"}`, "", false, "decode us2, validate us2, open us2, use, close", ""},
		{"defaults", "rec", ``, "", false, "decode eu1, validate eu1, open eu1, use, close", ""},
		{"resolve", "rec", `{"zone":"us2"}`, "", true, "decode us2, validate us2", ""},
		{"unknown name", "other", `{"zone":"us2"}`, "", false, "", "no registry named \"other\"\n  known: rec      plugins loaded: none"},
		{"unknown key", "rec", `{"zone":"us2","what":1}`, "", false, "", "with.what: unknown key\n  keys of registry \"rec\": zone"},
		{"decode fails", "rec", `{"zone":"us2"}`, "decode us2", false, "decode us2", `configuration of registry "rec": decode us2 went wrong`},
		{"validate fails", "rec", `{"zone":"us2"}`, "validate us2", false, "decode us2, validate us2", `registry "rec": validate us2 went wrong`},
		{"open fails", "rec", `{"zone":"us2"}`, "open us2", false, "decode us2, validate us2, open us2", `open registry "rec": open us2 went wrong`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &steps{failAt: tt.failAt}
			p := spi.NewPoint[*opened]("registry")
			err := spi.Register(p, "rec", "Records.", recorder{Zone: watched{"eu1"}}, func(_ context.Context, _ spi.Env, cfg recorder) (*opened, error) {
				if s.step("open "+cfg.Zone.text) != nil {
					return nil, errRefused
				}
				return &opened{s}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			decoding = s
			defer func() { decoding = nil }()
			ref := spi.Ref{Use: tt.use, With: spi.Raw{JSON: []byte(tt.with)}}
			var v *opened
			if tt.resolve {
				_, err = p.Resolve(ref)
			} else if v, err = p.Open(t.Context(), spi.Env{}, ref); err == nil {
				_ = s.step("use")
				_ = v.Close()
			}
			if got := strings.Join(s.log, ", "); got != tt.want {
				t.Errorf("steps: got %s, want %s", got, tt.want)
			}
			if err != nil && err.Error() != tt.wantErr || err == nil && tt.wantErr != "" {
				t.Errorf("error: got %v, want %s", err, tt.wantErr)
			}
			if tt.wantErr == "" {
				return
			}
			if v != nil {
				t.Errorf("a failed open returned %v, want nil", v)
			}
			if opens := slices.Contains(s.log, "open us2"); errors.Is(err, errRefused) != opens {
				t.Errorf("errors.Is(%v, what open returned): got %t, want %t", err, !opens, opens)
			}
			s.failAt, ref.Use, ref.With.JSON = "", "rec", nil
			if v, err := p.Open(t.Context(), spi.Env{}, ref); err != nil || v == nil {
				t.Errorf("open after a failed one: got %v, %v, want a value", v, err)
			}
		})
	}
}

type opened struct{ *steps }

func (o *opened) Close() error { return o.step("close") }

var _ io.Closer = (*opened)(nil)
