//go:build !race

// Under the race detector sync.Pool forgets at random, which allocates.

package serializer_test

import "testing"

func TestJSONAppendAllocations(t *testing.T) {
	dst := make([]byte, 0, 4096)
	for _, tt := range []struct {
		name  string
		value any
		want  float64
	}{{"value", *newMessage(), 0}, {"pointer", newMessage(), 1}} { // json-iterator's own for a pointer
		if got := testing.AllocsPerRun(100, func() { _, _ = iterator.Append(dst, tt.value) }); got > tt.want {
			t.Errorf("allocations of Append of a %s into a buffer with room: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
