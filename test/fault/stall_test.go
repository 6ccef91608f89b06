//go:build fault && linux

package fault_test

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

// stallSlack is what a disconnection may take beyond the write timeout: until the
// kernel takes no more, which may try a second time, and what the machine adds.
const stallSlack = 4 * time.Second

// staller is who finds out about a peer that takes no bytes, and how soon.
type staller struct {
	name        string
	heartbeat   any    // value of the key
	timeout     string // value of the key write_timeout
	least, most time.Duration
	reasons     []string
}

// stallers are the write timeout alone, and a heartbeat that is quicker.
func stallers() []staller {
	const timeout = 3 * time.Second
	least, most := quickBeat.deadAfter()
	return []staller{
		{"write timeout 3s", "none", timeout.String(), timeout, timeout + stallSlack, []string{spi.ReasonWriteStalled}},
		{"heartbeat 200ms", quickBeat.key(), "0s", least, most, []string{spi.ReasonHeartbeatTimeout, spi.ReasonWriteStalled}},
	}
}

// noticed waits until a process has lost its connection with a peer, "" for any, and
// holds when and why against who is to find out.
func (s staller) noticed(t *testing.T, p *proc, peer string, since time.Time) (lost event, took time.Duration) {
	t.Helper()
	lost = ended(t, p, peer, 1, s.most+time.Second)
	took = lost.At.Sub(since)
	if took < s.least && lost.Silent < s.least || took > s.most+lag() || !slices.Contains(s.reasons, lost.Reason) {
		t.Errorf("got it disconnected after %v, %v of silence, for %s, want it after %v to %v for one of %q", took, lost.Silent, lost.Reason, s.least, s.most, s.reasons)
	}
	return lost, took
}

// TestProviderStopsReading: a provider that takes no more bytes costs its consumer
// the write queue and the calls that chose it, which end in time; it is disconnected
// after the write timeout, or three strikes if they are sooner, and the calls to others
// go on.
func TestProviderStopsReading(t *testing.T) {
	for _, by := range stallers() {
		t.Run(by.name, func(t *testing.T) { providerStopsReading(t, by) })
	}
}

func providerStopsReading(t *testing.T, by staller) {
	for _, tt := range []struct {
		name   string
		freeze func(provider *proc, p *proxy)
		thaw   func(provider *proc, p *proxy)
	}{
		{"process stopped", func(provider *proc, _ *proxy) { provider.signal(syscall.SIGSTOP) }, func(provider *proc, _ *proxy) { provider.signal(syscall.SIGCONT) }},
		{"nothing passes", func(_ *proc, p *proxy) { p.toProvider.stall(true) }, func(_ *proc, p *proxy) { p.toProvider.stall(false) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const (
				queue   = 4 * mib
				size    = 60_000
				waiting = 100                            // callers, at the rate and with the timeout of the load
				most    = queue + waiting*3*size + 8*mib // queue; text, answer, and buffer of each caller; pools
			)
			load := loadArgs{Methods: []string{"Till.Size"}, Rate: 200, Timeout: time.Second, Size: size}
			frozen, behind := startProvider(t, providerArgs{})
			proxy, a := startProxy(t, behind)
			_, b := startProvider(t, providerArgs{})
			keys := quickReconnect()
			keys["consumer.write_timeout"], keys["consumer.heartbeat"], keys["consumer.handshake_timeout"] = by.timeout, by.heartbeat, "1s"
			keys["consumer.loadbalancer"] = "round-robin"
			consumer := startConsumer(t, keys, a, b)
			consumer.ask("call", load, nil)
			idle := consumer.figures()
			consumer.ask("load", load, nil)
			pass(500 * time.Millisecond)
			begin := time.Now()
			pass(2 * time.Second)
			broken := time.Now()
			tt.freeze(frozen, proxy)
			pass(by.least * 2 / 3)
			cost := consumer.figures().since(idle)
			end, took := by.noticed(t, consumer, a, broken)
			lost := end.At
			tt.thaw(frozen, proxy)
			healed := time.Now()
			pass(backWithin + time.Second)
			var h history
			consumer.ask("history", nil, &h)

			if cost.Live > most {
				t.Errorf("got %+v, want at most %d bytes", cost, most)
			}
			h.check(t, rules{timeout: load.Timeout})
			unsent := 0
			for _, c := range h.between(time.Time{}, healed.Add(backWithin)).failed() {
				switch {
				case c.Endpoint != a && c.Code == spi.DeadlineExceeded && c.Begin.Before(lost) && c.End.After(lost.Add(-100*time.Millisecond)):
					// It waited for the other one until that was gone, and had no time left.
				case c.Endpoint != a:
					t.Errorf("call %d to the healthy provider: %s", c.ID, c.Message)
				case c.Code == spi.DeadlineExceeded && c.Phase == spi.PhaseQueue && c.Sent == spi.SentNo:
					unsent++
				case c.Code == spi.DeadlineExceeded && (c.Sent == spi.SentMaybe || c.Phase == spi.PhaseDial):
				case c.Code == spi.Unavailable && c.Lost:
				default:
					t.Errorf("call %d: got %s", c.ID, c.Message)
				}
			}
			if unsent == 0 && by.least > load.Timeout {
				t.Error("got no call that waited for room until its deadline, want some")
			}
			for _, c := range h.between(healed.Add(backWithin), time.Now()).failed() {
				t.Errorf("call %d after the fault: %s", c.ID, c.Message)
			}
			consumer.events().check(t, by.reasons...)
			quiet(t, consumer, b)
			before, during := h.between(begin, broken).at(b), h.between(broken, lost.Add(-load.Timeout-endSlack)).at(b)
			other := "without a strike"
			if by.least > load.Timeout { // or all that was queued goes to the other one at the end
				undisturbed(t, before, during)
				other = fmt.Sprintf("p99 %v → %v", before.p99(), during.p99())
			}
			row(t, "13a", "%s, %s: disconnected after %v (%s, %d strikes), %d calls ended at their deadline unsent, %.1f MiB more; the other endpoint %s",
				tt.name, by.name, took.Round(10*time.Millisecond), end.Reason, end.Strikes, unsent, float64(cost.Live)/mib, other)
		})
	}
}

// TestConsumerReadsSlowly: a consumer that asks for much and reads little is
// disconnected after the write timeout, or three strikes if they are sooner, and the
// others notice nothing.
func TestConsumerReadsSlowly(t *testing.T) {
	for _, by := range stallers() {
		t.Run(by.name, func(t *testing.T) { consumerReadsSlowly(t, by) })
	}
}

func consumerReadsSlowly(t *testing.T, by staller) {
	const (
		requests = 100
		size     = 250_000
		queue    = 4 * mib
		most     = queue + requests*2*size + 8*mib // queue; result and buffer of each handler that waits for room in it; pools
	)
	provider, address := startProvider(t, providerArgs{Keys: map[string]any{"provider.write_timeout": by.timeout, "provider.heartbeat": by.heartbeat}})
	h := startHealthyWith(t, map[string]any{"consumer.heartbeat": quickBeat.key()}, address)
	leaks := leakCheck(t, requests, provider)
	idle := provider.figures()
	stop := slowReader(t, address, requests, size)
	begin := time.Now()
	pass(by.least * 2 / 3)
	cost := provider.figures().since(idle)
	end, took := by.noticed(t, provider, "", begin)
	for h.tooShort() {
		pass(100 * time.Millisecond)
	}
	before, during := h.judge()
	stop()
	provider.events().check(t, by.reasons...)
	h.strikes()
	if cost.Live > most {
		t.Errorf("got %+v, want at most %d bytes", cost, most)
	}
	leaks()
	row(t, "13b", "%d answers of %d bytes for a consumer that reads 1 KiB/s, %s: disconnected after %v (%s, %d strikes), %.1f MiB more; healthy p99 %v → %v",
		requests, size, by.name, took.Round(10*time.Millisecond), end.Reason, end.Strikes, float64(cost.Live)/mib, before, during)
}

// slowReader asks for answers and reads 1 KiB of them each second, until the
// function that it returns is called.
func slowReader(t *testing.T, address string, requests, size int) (stop func()) {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	must(t, err)
	must(t, nc.(*net.TCPConn).SetReadBuffer(16*kib))
	peer := coretest.NewPeer(nc)
	_, err = peer.BeConsumer(coretest.Hello{Serializers: []string{"json"}})
	must(t, err)
	for i := range requests {
		must(t, peer.Write(coretest.Request(uint64(i+1)<<20, "Till", "Print", strconv.AppendInt(nil, int64(size), 10))))
	}
	var reader sync.WaitGroup
	stopped := make(chan struct{})
	reader.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		b := make([]byte, kib)
		for {
			if _, err := nc.Read(b); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-stopped:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stopped)
		_ = nc.Close()
		reader.Wait()
	})
}
