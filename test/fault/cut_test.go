//go:build fault && linux

package fault_test

import (
	"slices"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// cutReasons is what a call may be told; connecting, where the reset came before
// there was a connection.
var cutReasons = []string{spi.ReasonEOF, spi.ReasonReset, spi.ReasonConnecting}

// TestCutAnywhere ends connections after every number of bytes of a call, with a
// reset and by closing half of them: the call fails with what was lost, and a later
// one goes through.
func TestCutAnywhere(t *testing.T) {
	provider, address := startProvider(t, providerArgs{})
	proxy, cut := startProxy(t, address)
	consumer := startConsumer(t, hastyReconnect(), cut)
	leaks := leakCheck(t, 100, provider, consumer)
	call := loadArgs{Methods: []string{"Till.Echo"}, Timeout: time.Second, Size: 40}
	n := 0
	for _, d := range []*direction{proxy.toProvider, proxy.toConsumer} {
		for _, half := range []bool{false, true} {
			for at := range int64(220) {
				n++
				d.cutAfter(at, half)
				proxy.reset()
				var r record
				consumer.ask("call", call, &r)
				if r.Code != 0 && (r.Code != spi.Unavailable || !r.Lost || !slices.Contains(cutReasons, r.Reason)) {
					t.Errorf("cut after %d bytes (half %v): got %s, want OK or UNAVAILABLE because of %v", at, half, r.Message, cutReasons)
				}
				if took := r.End.Sub(r.Begin); took > call.Timeout+endSlack+lag() {
					t.Errorf("cut after %d bytes (half %v): got the end of the call after %v, want it within %v", at, half, took, call.Timeout)
				}
			}
		}
		d.cutAfter(-1, false)
	}
	proxy.reset()
	var r record
	if !within(backWithin, func() bool { consumer.ask("call", call, &r); return r.Code == 0 }) {
		t.Errorf("got %s after the cuts, want OK", r.Message)
	}
	leaks()
	row(t, "14", "%d cuts, at every byte of a call, both ways, whole and half: every call OK or UNAVAILABLE in time", n)
}

// TestSingleBytes: bytes that come one at a time make the same frames.
func TestSingleBytes(t *testing.T) {
	_, address := startProvider(t, providerArgs{})
	proxy, slow := startProxy(t, address)
	proxy.toProvider.drip(10 * time.Microsecond)
	proxy.toConsumer.drip(10 * time.Microsecond)
	consumer := startConsumer(t, nil, slow)
	for size := 0; size < 100; size += 11 {
		var r record
		consumer.ask("call", loadArgs{Methods: []string{"Till.Echo"}, Timeout: 5 * time.Second, Size: size}, &r)
		if r.Code != 0 {
			t.Errorf("%d bytes: got %s, want OK", size, r.Message)
		}
	}
	if got := proxy.connections(); got != 1 {
		t.Errorf("got %d connections, want one for all calls", got)
	}
}
