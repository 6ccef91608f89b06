//go:build fault && linux

package fault_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// bytesCall is a call of which every byte is damaged once.
var bytesCall = loadArgs{Methods: []string{"Till.Echo"}, Timeout: time.Second, Size: 40}

// bytesBody is how long its body is, there and back: the text in quotes, and the
// checksum.
const bytesBody = 40 + 2 + 4

// TestDamagedBytes flips one bit of every byte of a connection with one call, there
// and back: whatever comes of it, the call ends, and both processes live. With
// checksums no wrong answer is taken for a right one, and damage within a body costs
// that call only.
func TestDamagedBytes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		checksum bool
	}{{"without checksums", false}, {"with checksums", true}} {
		t.Run(tt.name, func(t *testing.T) {
			provider, address := startProvider(t, providerArgs{Keys: map[string]any{"provider.checksum": tt.checksum, "provider.heartbeat": "none"}})
			proxy, damaged := startProxy(t, address)
			keys := hastyReconnect()
			keys["consumer.checksum"] = tt.checksum
			keys["consumer.heartbeat"] = "none" // a PING would move the bytes
			consumer := startConsumer(t, keys, damaged)
			call := func() (r record) { consumer.ask("call", bytesCall, &r); return r }
			if r := call(); r.Code != 0 {
				t.Fatal(r.Message)
			}
			codes := make(map[string]int)
			total := int64(0)
			for _, d := range []*direction{proxy.toProvider, proxy.toConsumer} {
				bytes := d.length()
				total += bytes
				for at := range bytes {
					d.damageAt(at, 1<<(at%8))
					renew(t, proxy)
					r := call()
					if took := r.End.Sub(r.Begin); took > bytesCall.Timeout+endSlack+lag() {
						t.Errorf("byte %d damaged: got the end of the call after %v, want it within %v", at, took, bytesCall.Timeout)
					}
					codes[fmt.Sprint(r.Code)]++
					if tt.checksum {
						if r.Code == spi.Unknown {
							t.Errorf("byte %d damaged: got a wrong answer: %s", at, r.Message)
						}
						if at >= bytes-bytesBody {
							dataLoss(t, proxy, at, r, call)
						}
					}
				}
				d.damageAt(0, 0)
				renew(t, proxy)
				var r record
				if !within(backWithin, func() bool { r = call(); return r.Code == 0 }) {
					t.Errorf("got %s after the damage, want OK", r.Message)
				}
			}
			provider.figures() // it answers
			row(t, "14", "one bit of each of %d bytes, both ways, %s: calls ended with %v", total, tt.name, codes)
		})
	}
}

// renew ends the connections through p and waits for the next one: a call that began
// before its consumer had noticed would be lost with the old one.
func renew(t *testing.T, p *proxy) {
	t.Helper()
	before := p.connections()
	p.reset()
	if !within(backWithin, func() bool { return p.connections() > before }) {
		t.Fatal("got no new connection")
	}
}

// dataLoss checks what damage within a body has cost: call r, and not the connection.
func dataLoss(t *testing.T, p *proxy, at int64, r record, call func() record) {
	t.Helper()
	if r.Code != spi.DataLoss || r.Lost {
		t.Errorf("byte %d, of a body, damaged: got %s, want DATA_LOSS", at, r.Message)
	}
	before := p.connections()
	if next := call(); next.Code != 0 || p.connections() != before {
		t.Errorf("byte %d, of a body, damaged: got %s for the next call, after %d connections more, want OK on the same", at, next.Message, p.connections()-before)
	}
}
