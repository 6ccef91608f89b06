package plugins

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

func openSerializer(t testing.TB, cat *spi.Catalog, with string) spi.Serializer {
	t.Helper()
	log, _ := logger()
	s, err := cat.Serializers.Open(t.Context(), spi.Env{Log: log}, spi.Ref{Use: "marked", With: spi.Raw{JSON: []byte(with)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIt(t, s); closeIt(t, s) }) // twice
	return s
}

func TestSerializerOfAPlugin(t *testing.T) {
	_, cat, _ := withPerCall(t, nil)
	spitest.Serializer(t, openSerializer(t, cat, ""))
}

func TestTranscode(t *testing.T) {
	_, cat, _ := withPerCall(t, nil)
	s := openSerializer(t, cat, `{"mark":"!"}`)
	type pair struct {
		N    int64   `json:"n"`
		F    float64 `json:"f"`
		Data []byte  `json:"data"`
	}
	data, err := s.Append([]byte("kept"), pair{math.MaxInt64, 1e20, []byte{0, 255}})
	if want := `kept!{"data":"AP8=","f":100000000000000000000,"n":9223372036854775807}`; string(data) != want || err != nil {
		t.Errorf("Append: got %s, %v, want %s", data, err, want)
	}
	var back pair
	if err := s.Decode(data[len("kept"):], &back); err != nil || !reflect.DeepEqual(back, pair{math.MaxInt64, 1e20, []byte{0, 255}}) {
		t.Errorf("Decode: got %+v, %v, want what was encoded", back, err)
	}
	types, err := s.Append(nil, []any{"types", 1, -1, uint64(math.MaxUint64), 1.5, 2.0, 1e20, true, nil, "x", map[string]int{"a": 1}, []byte("x")})
	if want := `!["int64","int64","uint64","float64","int64","float64","bool","\u003cnil\u003e","string","map[string]interface {}","string"]`; string(types) != want || err != nil {
		t.Errorf("types: got %s, %v, want %s", types, err, want)
	}
	if _, err := s.Append(nil, json.RawMessage("18446744073709551617")); err == nil || !strings.Contains(err.Error(), "does not fit in 64 bits") {
		t.Errorf("Append of an integer of 65 bits: got %v, want an error", err)
	}
	if _, err := s.Append(nil, "refuse"); err == nil || !strings.Contains(err.Error(), `plugin "acme": not this one`) {
		t.Errorf("Append of what the plugin refuses: got %v, want its words", err)
	}
	var into any
	if err := s.Decode([]byte("!a map of numbers"), &into); err == nil || !strings.Contains(err.Error(), "no neutral form") {
		t.Errorf("Decode of what JSON cannot write: got %v, want an error", err)
	}
	if _, err := s.Append(nil, make([]byte, maxMessage)); spi.CodeOf(err) != spi.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("Append of a message that is too large: got %v, want an error that says so", err)
	}
	if _, err := s.Append(nil, "goes on"); err != nil {
		t.Errorf("Append after all that: got %v, want nothing", err)
	}
}

func TestSerializerThatDoesNotAnswer(t *testing.T) {
	brief := func(cfg *spi.PluginConfig) { cfg.CallTimeout = spi.Duration(200 * time.Millisecond) }
	tests := []struct {
		name, text string
		change     func(*spi.PluginConfig)
		killed     bool
		want       spi.Code
	}{
		{"panic", "panic", nil, false, spi.Internal},
		{"hangs", "hang", brief, false, spi.Unavailable},
		{"ends", "exit", brief, false, spi.Unavailable},
		{"killed", "", brief, true, spi.Unavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, cat, _ := withPerCall(t, tt.change)
			s := openSerializer(t, cat, "")
			if tt.killed {
				end(t, p)
			}
			_, err := s.Append(nil, tt.text)
			if spi.CodeOf(err) != tt.want || err == nil || !strings.Contains(err.Error(), `"acme"`) {
				t.Errorf("Append: got %v, want code %v and the name of the plugin", err, tt.want)
			}
		})
	}
}

// TestTranscodeWithoutHope: nobody waits for a process that will not be there in time.
func TestTranscodeWithoutHope(t *testing.T) {
	p, cat, _ := withPerCall(t, func(cfg *spi.PluginConfig) {
		cfg.CallTimeout = spi.Duration(time.Minute)
		cfg.Restart = quick(1)
	})
	s := openSerializer(t, cat, "")
	kill(t, next(t, p, 0))
	kill(t, next(t, p, 1))
	awaitState(t, p, stateOpen)
	begun := time.Now()
	_, err := s.Append(nil, "x")
	if want := `plugin "acme" is not running; the next start is in `; spi.CodeOf(err) != spi.Unavailable || !strings.Contains(err.Error(), want) {
		t.Errorf("Append while the circuit is open: got %v, want UNAVAILABLE and %q", err, want)
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("Append while the circuit is open took %v, want no wait", took)
	}
	if err := p.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(nil, "x"); err != nil {
		t.Errorf("Append after Restart: got %v, want nothing", err)
	}
}

// TestTranscodeAgain: what a process did not survive is asked of the next.
func TestTranscodeAgain(t *testing.T) {
	once := filepath.Join(t.TempDir(), "once")
	_, cat, _ := withPerCall(t, func(cfg *spi.PluginConfig) {
		cfg.Env["BHRPC_TEST_ONCE"] = once
		cfg.Restart = quick(100)
	})
	s := openSerializer(t, cat, "")
	if data, err := s.Append(nil, "exit once"); string(data) != `#"exit once"` || err != nil {
		t.Errorf("Append: got %s, %v, want the answer of the next process", data, err)
	}
	if _, err := os.Stat(once); err != nil {
		t.Errorf("the first process did not end: %v", err)
	}
}

func TestNumber(t *testing.T) {
	tests := []struct {
		name, text string
		want       any // nil: an error
	}{
		{"zero", "0", int64(0)},
		{"least", "-9223372036854775808", int64(math.MinInt64)},
		{"below the least", "-9223372036854775809", nil},
		{"largest", "9223372036854775807", int64(math.MaxInt64)},
		{"unsigned", "18446744073709551615", uint64(math.MaxUint64)},
		{"beyond", "18446744073709551616", nil},
		{"as a float of that size is written", "18446744073709552000", float64(1 << 64)},
		{"whole float", "100000000000000000000", 1e20},
		{"fraction", "1.0", 1.0},
		{"exponent", "1e2", 100.0},
		{"beyond a float", "1e400", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := number(tt.text)
			if (err == nil) != (tt.want != nil) || err == nil && got != tt.want {
				t.Errorf("number(%s): got %v (%T), %v, want %v (%T)", tt.text, got, got, err, tt.want, tt.want)
			}
		})
	}
	if got, err := number("-0"); err != nil || got != 0.0 || !math.Signbit(got.(float64)) {
		t.Errorf("number(-0): got %v, %v, want minus zero", got, err)
	}
}

// FuzzNeutral: a document is refused, or survives the way to a serializer and back.
func FuzzNeutral(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-0,1.5,null,true,"\u00e9"]}`, `18446744073709551615`, `1e20`, `""`, `{`, `[1e400]`} {
		f.Add([]byte(seed))
	}
	s := marked{"#"}
	f.Fuzz(func(t *testing.T, document []byte) {
		data, err := fromNeutral(s, document)
		if err != nil {
			return
		}
		back, err := toNeutral(s, data)
		if err != nil {
			t.Fatalf("back from %q: %v", data, err)
		}
		again, err := fromNeutral(s, back)
		if err != nil || string(again) != string(data) {
			t.Errorf("%q became %q, then %q, %v", document, data, again, err)
		}
	})
}

func TestSerializerNeedsJSON(t *testing.T) {
	p, _, _ := withPerCall(t, nil)
	cat := spi.NewCatalog()
	if err := p.Register(cat); err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Serializers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "marked"}); !errors.Is(err, spi.ErrUnknown) || !strings.Contains(err.Error(), `needs serializer "json"`) {
		t.Errorf("Open: got %v, want that json is missing", err)
	}
}
