//go:build fault && linux

package fault_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// TestProviderWithoutDescriptors: a provider that has no descriptors left says so
// and goes on with the connections it has; when there are some again, it accepts.
func TestProviderWithoutDescriptors(t *testing.T) {
	const (
		files = 64
		most  = 8 * mib
	)
	provider, address := startProvider(t, providerArgs{Files: files})
	h := startHealthy(t, address)
	leaks := leakCheck(t, files, provider)
	idle := provider.figures()
	crowd := startCrowd(t, crowdArgs{Address: address, Conns: 4 * files, Behave: "silent"})
	crowd.ask("gather", nil, nil)
	if !within(patience, func() bool { return provider.log.count("cannot accept", "too many open files") > 0 }) {
		t.Error("got nothing logged of the descriptors that are missing")
	}
	pass(time.Second)
	cost := provider.figures().since(idle)
	if cost.memory() > most {
		t.Errorf("got %+v, want at most %d bytes", cost, most)
	}
	crowd.ask("leave", nil, nil)
	var first record
	newcomer := startConsumer(t, quickReconnect(), address)
	newcomer.ask("call", healthyLoad, &first)
	if first.Code != 0 {
		t.Errorf("got %s for a consumer that came afterwards, want OK", first.Message)
	}
	before, during := h.judge()
	newcomer.signal(syscall.SIGKILL)
	newcomer.wait()
	leaks()
	paused := provider.log.count("cannot accept")
	if paused > 50 {
		t.Errorf("got %d lines logged about accepting, want a few", paused)
	}
	row(t, "24", "provider with %d descriptors, %d connects: %.1f MiB more, %d lines about accepting, healthy p99 %v → %v", files, 4*files, float64(cost.memory())/mib, paused, before, during)
}

// TestConsumerWithoutDescriptors: a consumer that has no descriptors left fails its
// calls with that reason, and recovers.
func TestConsumerWithoutDescriptors(t *testing.T) {
	const files = 64
	provider, address := startProvider(t, providerArgs{})
	consumer := start(t, "consumer", consumerArgs{Addresses: []string{address}, Files: files, Keys: quickReconnect()}, nil)
	call := func() (r record) { consumer.ask("call", healthyLoad, &r); return r }
	if r := call(); r.Code != 0 {
		t.Fatal(r.Message)
	}
	leaks := leakCheck(t, 10, consumer)
	var hoarded int
	consumer.ask("hoard", nil, &hoarded)
	if r := call(); r.Code != 0 {
		t.Errorf("got %s on the connection that is open, want OK", r.Message)
	}
	provider.signal(syscall.SIGKILL)
	provider.wait()
	var failed record
	out := func() bool {
		consumer.ask("hoard", nil, &hoarded) // what the lost connection and an attempt to connect have left
		failed = call()
		return strings.Contains(failed.Message, "too many open files")
	}
	if !within(patience, out) {
		t.Errorf("got %q, want it to say that there are too many open files", failed.Message)
	}
	if failed.Code != spi.Unavailable || failed.Sent != spi.SentNo || failed.Phase != spi.PhaseDial || !failed.Lost {
		t.Errorf("got %+v, want UNAVAILABLE in phase dial, sent: no", failed)
	}
	startProvider(t, providerArgs{Listen: address})
	consumer.ask("drop", nil, nil)
	if !within(backWithin, func() bool { return call().Code == 0 }) {
		t.Errorf("got no call through %v after there were descriptors again", backWithin)
	}
	leaks()
	row(t, "24", "consumer with %d descriptors, %d of them taken: %s", files, hoarded, failed.Message)
}
