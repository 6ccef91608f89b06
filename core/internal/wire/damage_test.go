package wire_test

import (
	"testing"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// Every change of one byte of a header is noticed. The check is linear, so one
// header stands for all. Of changes of more bytes one in 65,536 is not.
func TestHeaderNoticesDamage(t *testing.T) {
	good := wire.AppendHeader(nil, wire.Header{Type: wire.Request, Serializer: 1, ID: 7 << 20, Metadata: 19, Body: 7})
	for i := range good {
		for mask := 1; mask < 1<<8; mask++ {
			b := append([]byte(nil), good...)
			b[i] ^= byte(mask)
			if _, err := wire.ParseHeader(b); err == nil {
				t.Errorf("byte %d changed by %#x: got no error, want one", i, mask)
			}
		}
	}
}
