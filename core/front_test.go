package core

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestProtocolOf(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first string
		want  protocol
	}{
		{"nothing", "", undecided},
		{"magic", "\xb4", native},
		{"magic and more", "\xb4\x52\x01", native},
		{"TLS", "\x16", secure},
		{"TLS and more", "\x16\x03\x01", secure},
		{"half a method", "GE", undecided},
		{"a method", "GET ", web},
		{"a request", "DELETE / HTTP/1.1", web},
		{"a space first", " GET", unknown},
		{"lower case", "get / HTTP/1.1", unknown},
		{"SSH", "SSH-2.0", unknown},
		{"16 letters", "ABCDEFGHIJKLMNOP", undecided},
		{"16 letters and a space", "ABCDEFGHIJKLMNOP ", web},
		{"17 letters", "ABCDEFGHIJKLMNOPQ", unknown},
		{"the magic of Java", "\x00\x10", unknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := protocolOf([]byte(tt.first)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// FuzzProtocolOf: what has been decided is never decided otherwise when more bytes
// come, and the decision comes within the longest method.
func FuzzProtocolOf(f *testing.F) {
	for _, seed := range []string{"\xb4\x52", "GET / HTTP/1.1\r\n", "\x16\x03\x01", "POST", "", "ABCDEFGHIJKLMNOPQR"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		decision := undecided
		for n := range len(b) + 1 {
			got := protocolOf(b[:n])
			if decision != undecided && got != decision {
				t.Fatalf("got %d after %d bytes, and %d before", got, n, decision)
			}
			decision = got
		}
		if decision == undecided && len(b) > maxMethod {
			t.Fatalf("got no decision after %d bytes", len(b))
		}
	})
}

// FuzzSplitArguments: the parts of a body put together again are the body.
func FuzzSplitArguments(f *testing.F) {
	for _, seed := range []string{``, `["world"]`, `[1, {"a":[2]}, "]"]`, `{"a":1}`, `"x"`, `[`, `[]`, `[1]2`, ` [ null ] `, "[]\f", "\v[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := splitArguments(body)
		trimmed := bytes.Trim(body, " \t\r\n")
		switch {
		case err != nil:
			if json.Valid(body) {
				t.Fatalf("%q: got %v for JSON", body, err)
			}
		case len(trimmed) == 0:
			if len(list) != 0 {
				t.Fatalf("%q: got %q, want nothing", body, list)
			}
		case trimmed[0] != '[':
			if len(list) != 1 || !bytes.Equal(list[0], trimmed) {
				t.Fatalf("%q: got %q, want it whole", body, list)
			}
		default:
			var got, want bytes.Buffer
			again, err := json.Marshal(list)
			if err != nil {
				t.Fatalf("%q: got %q, which is no JSON: %v", body, list, err)
			}
			if err := json.Compact(&got, again); err != nil {
				t.Fatal(err)
			}
			json.HTMLEscape(&want, compact(t, body))
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Fatalf("got %s, want %s", &got, &want)
			}
		}
	})
}

func compact(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
