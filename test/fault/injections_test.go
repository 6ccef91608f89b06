//go:build faultnet && linux

package fault_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// injection breaks what joins two namespaces; with on false it heals it.
type injection func(near, far *netns, on bool)

// What comes in at the far end suffers by these.
const (
	dropAll   = "drop"
	dropLarge = "meta length > 500 drop"
	resetAll  = "meta l4proto tcp reject with tcp reset"
	refuseAll = "reject with icmp type host-prohibited"
)

// filtered is an injection of a rule, at the far end, at the near one, or at both.
func filtered(rule string, atFar, atNear bool) injection {
	return func(near, far *netns, on bool) {
		var rules []string
		if on {
			rules = []string{rule}
		}
		if atFar {
			far.filter(rules...)
		}
		if atNear {
			near.filter(rules...)
		}
	}
}

// unplugged is the injection of a cable that is out at the far end.
func unplugged(_, far *netns, on bool) {
	if on {
		far.unplug()
	} else {
		far.plug()
	}
}

// TestInjections: what the rows break is broken as they say, and nothing else, and it
// heals.
func TestInjections(t *testing.T) {
	for _, tt := range []struct {
		name   string
		size   int
		inject injection
		want   spi.Code
	}{
		{"nothing", 4000, func(*netns, *netns, bool) {}, 0},
		{"all is dropped", 40, filtered(dropAll, true, true), spi.DeadlineExceeded},
		{"what goes there is dropped", 40, filtered(dropAll, true, false), spi.DeadlineExceeded},
		{"what comes back is dropped", 40, filtered(dropAll, false, true), spi.DeadlineExceeded},
		{"all is reset", 40, filtered(resetAll, true, false), spi.Unavailable},
		{"all is refused", 40, filtered(refuseAll, true, false), spi.DeadlineExceeded},
		{"large packets are dropped", 4000, filtered(dropLarge, true, false), spi.DeadlineExceeded},
		{"large packets are dropped, these are small", 40, filtered(dropLarge, true, false), 0},
		{"the cable is out", 40, unplugged, spi.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			near, far := newNetns(t), newNetns(t)
			joinCable(near, far)
			_, address := far.provider(providerArgs{Listen: farIP + ":0"})
			consumer := near.consumer(quickReconnect(), address)
			load := loadArgs{Methods: []string{"Till.Echo"}, Timeout: 300 * time.Millisecond, Size: tt.size}
			call := func() (r record) { consumer.ask("call", load, &r); return r }
			if r := call(); r.Code != 0 {
				t.Fatalf("got %s before, want OK", r.Message)
			}
			tt.inject(near, far, true)
			got := call()
			tt.inject(near, far, false)
			if got.Code != tt.want {
				t.Errorf("got %v: %s, want %v", got.Code, got.Message, tt.want)
			}
			if !within(5*time.Second, func() bool { return call().Code == 0 }) {
				t.Error("got no call through when it was healed")
			}
		})
	}
}

// TestSweep: namespaces of processes that are gone are removed; of others, none.
func TestSweep(t *testing.T) {
	living := newNetns(t)
	gone := exec.Command("true")
	must(t, gone.Run())
	stale := fmt.Sprintf("bf%da", gone.ProcessState.Pid())
	foreign := fmt.Sprintf("bf%d", gone.ProcessState.Pid()) // not made here
	for _, name := range []string{stale, foreign} {
		output(t, "", "ip", "netns", "add", name)
	}
	defer output(t, "", "ip", "netns", "delete", foreign)
	sweepNetns(t)
	for name, want := range map[string]bool{living.name: true, stale: false, foreign: true} {
		if _, err := os.Lstat(filepath.Join(netnsDir, name)); (err == nil) != want {
			t.Errorf("got namespace %s there: %v, want %v", name, err == nil, want)
		}
	}
}

// TestForgetfulNAT: a router that hides the consumer passes connections on, until it
// forgets them, and then new ones.
func TestForgetfulNAT(t *testing.T) {
	near, far := newNetns(t), newNetns(t)
	router := joinNAT(t, near, far)
	_, address := far.provider(providerArgs{Listen: farIP + ":0"})
	load := loadArgs{Methods: []string{"Till.Echo"}, Timeout: 300 * time.Millisecond, Size: 40}
	var before, after, another record
	consumer := near.consumer(nil, address)
	consumer.ask("call", load, &before)
	router.forget()
	consumer.ask("call", load, &after)
	near.consumer(nil, address).ask("call", load, &another)
	if before.Code != 0 || after.Code != spi.DeadlineExceeded || another.Code != 0 {
		t.Errorf("got %v before it forgot, %v after it, %v on another connection, want OK, DEADLINE_EXCEEDED, OK", before.Code, after.Code, another.Code)
	}
}

// TestEmulator: an emulated link delays and loses packets as it is told, on each way.
func TestEmulator(t *testing.T) {
	const (
		delay = 100 * time.Millisecond
		slack = 50 * time.Millisecond
	)
	near, far := newNetns(t), newNetns(t)
	w := joinWire(t, near, far)
	_, address := far.provider(providerArgs{Listen: farIP + ":0"})
	consumer := near.consumer(nil, address)
	load := loadArgs{Methods: []string{"Till.Echo"}, Timeout: time.Second, Size: 4000}
	var r record
	consumer.ask("call", load, &r)
	for _, tt := range []struct {
		name        string
		there, back impairment
		least, most time.Duration
		want        spi.Code
	}{
		{"nothing", impairment{}, impairment{}, 0, slack, 0},
		{"delay", impairment{Delay: delay}, impairment{Delay: 2 * delay}, 3 * delay, 3*delay + slack, 0},
		{"jitter", impairment{Delay: delay, Jitter: delay}, impairment{}, delay, 2*delay + slack, 0},
		{"loss of what goes there", impairment{Loss: 1}, impairment{}, load.Timeout, load.Timeout + endSlack, spi.DeadlineExceeded},
		{"loss of what comes back", impairment{}, impairment{Loss: 1}, load.Timeout, load.Timeout + endSlack, spi.DeadlineExceeded},
	} {
		w.impair(tt.there, tt.back)
		consumer.ask("call", load, &r)
		if took := r.End.Sub(r.Begin); r.Code != tt.want || took < tt.least || took > tt.most+lag() {
			t.Errorf("%s: got %v %s after %v, want %v after %v to %v", tt.name, r.Code, r.Message, took, tt.want, tt.least, tt.most)
		}
	}
}
