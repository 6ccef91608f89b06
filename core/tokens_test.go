package core

import "testing"

// TestYields: a connection gives its place once, to one that names it and is another.
func TestYields(t *testing.T) {
	var known tokens
	known.enter(&providerConn{token: [16]byte{1}})
	known.enter(&providerConn{}) // of a consumer that does not name its connections
	for _, tt := range []struct {
		when     string
		name, to byte
		want     bool
	}{
		{"named by nobody", 0, 2, false},
		{"named by itself", 1, 1, false},
		{"unknown", 5, 2, false},
		{"named by another", 1, 2, true},
		{"named again", 1, 3, false},
	} {
		if got := known.yields([16]byte{tt.name}, [16]byte{tt.to}); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.when, got, tt.want)
		}
	}
}
