package link

import (
	"slices"
	"strings"
	"testing"
)

// However the bytes of a connection come, the same frames are seen, and the next
// header is never behind what has come.
func FuzzFrames(f *testing.F) {
	frame := func(kind byte, body int) string {
		return "\xB4\x52" + string(kind) + strings.Repeat("\x00", 20) + string([]byte{byte(body)}) + strings.Repeat("b", body)
	}
	f.Add([]byte(frame(6, 0)+frame(2, 30)+frame(6, 0)), uint8(7))
	f.Add([]byte(frame(1, 3)+"no frame"), uint8(25))
	f.Add([]byte("\xB4"), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		kinds := func(step int) (seen []byte) {
			var at frames
			for chunk := range slices.Chunk(data, step) {
				if next := at.next(); next < 0 || at.lost && next != 0 {
					t.Fatalf("got the next header at %d", next)
				}
				at.follow(chunk, func(kind byte) { seen = append(seen, kind) })
			}
			return seen
		}
		whole := kinds(len(data) + 1)
		if got := kinds(int(step) + 1); !slices.Equal(got, whole) {
			t.Errorf("got frames %v in pieces of %d, want %v", got, step+1, whole)
		}
	})
}
