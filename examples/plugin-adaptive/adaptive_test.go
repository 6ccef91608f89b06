package adaptive_test

import (
	"context"
	"strings"
	"testing"
	"time"

	adaptive "github.com/bhrpc/bhrpc/examples/plugin-adaptive"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

// open opens the strategy as a program does that has it linked in.
func open(with string) (spi.Heartbeat, error) {
	cat := spi.NewCatalog()
	if err := adaptive.Register(cat); err != nil {
		return nil, err
	}
	return cat.Heartbeats.Open(context.Background(), spi.Env{}, spi.Ref{Use: "adaptive", With: spi.Raw{JSON: []byte(with)}})
}

func TestContract(t *testing.T) {
	for _, with := range []string{``, `{"interval": "100ms", "max_interval": "10m", "strikes": 5, "trust": 1}`, `{"interval": "3s", "max_interval": "3s"}`} {
		t.Run(with, func(t *testing.T) {
			hb, err := open(with)
			if err != nil {
				t.Fatal(err)
			}
			spitest.Heartbeat(t, hb)
		})
	}
}

const (
	s    = time.Second
	soon = s / 10
)

// live plays a connection: PING n is answered after rtt(n), or never if that is
// negative. It returns when PINGs were sent, and the last decision and when it was
// made: that the peer is dead, or the first after until.
func live(hb spi.Heartbeat, until time.Duration, rtt func(n uint64) time.Duration) (pings []time.Duration, at time.Duration, d spi.Decision) {
	var snapshot spi.Snapshot
	var state spi.State
	answers := map[time.Duration]uint64{} // by the moment when they arrive
	for now := time.Duration(0); ; now += s / 10 {
		if n, ok := answers[now]; ok {
			snapshot.AckSeq, snapshot.LastIn, snapshot.LastRTT = n, now, now-pings[n-1]
			snapshot.PongCount++
			snapshot.InCount++
		}
		if now < at {
			continue
		}
		snapshot.Now, snapshot.Due = now, now
		if d, state = hb.Decide(snapshot, state); d.Liveness == spi.Dead || now > until {
			return pings, now, d
		}
		if d.SendPing {
			pings = append(pings, now)
			snapshot.PingSeq, snapshot.LastPingAt = uint64(len(pings)), now
			if after := rtt(snapshot.PingSeq); after >= 0 {
				answers[now+after] = snapshot.PingSeq
			}
		}
		at = now + d.Next
	}
}

func TestInterval(t *testing.T) {
	at := func(moments ...time.Duration) []time.Duration { return moments }
	tests := []struct {
		name string
		rtt  func(n uint64) time.Duration
		want []time.Duration // when the first PINGs are sent
	}{
		{"a reliable peer is asked less and less often", func(uint64) time.Duration { return soon },
			at(0, 5*s, 6*s, 7*s, 9*s, 11*s, 13*s, 15*s, 19*s, 23*s, 27*s, 31*s, 36*s, 41*s)},
		{"one PING without an answer, and it begins anew", func(n uint64) time.Duration {
			if n == 8 {
				return -1
			}
			return soon
		}, at(0, 5*s, 6*s, 7*s, 9*s, 11*s, 13*s, 15*s, 16*s, 17*s, 18*s, 19*s, 21*s)},
		{"a slow link is given the time it takes", func(n uint64) time.Duration {
			if n == 1 {
				return s / 2 // mean .5 s, deviation .25 s: 1.5 s for the next
			}
			return 3 * s / 2
		}, at(0, 5*s, 7400*time.Millisecond)}, // mean .625 s, deviation .4375 s: 2.375 s
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hb, err := open("")
			if err != nil {
				t.Fatal(err)
			}
			got, _, d := live(hb, time.Minute, tt.rtt)
			if d.Liveness != spi.Alive {
				t.Fatalf("after a minute: got %v, want alive", d.Liveness)
			}
			for i, want := range tt.want {
				if got[i] != want {
					t.Fatalf("PINGs: got %v, want them at %v", got, tt.want)
				}
			}
		})
	}
}

func TestDeath(t *testing.T) {
	tests := []struct {
		name   string
		with   string
		rtt    time.Duration // of those that are answered
		dies   uint64        // PINGs from this one on are not answered
		want   time.Duration // from the last PING that was answered to the death
		strike int
	}{
		{"never answered", "", soon, 1, 3 * 5 * s, 3},
		{"young", "", soon, 2, 5*s + 3*s, 3},
		{"trusted", "", soon, 100, 5*s + 3*s, 3},
		{"five strikes", `{"strikes": 5}`, soon, 100, 5*s + 5*s, 5},
		{"far away, with an even round trip", "", 3 * s, 100, 5*s + 3*3*s, 3},
		{"far away, and hardly known", "", 3 * s, 2, 5*s + 3*5*s, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hb, err := open(tt.with)
			if err != nil {
				t.Fatal(err)
			}
			pings, at, d := live(hb, time.Hour, func(n uint64) time.Duration {
				if n >= tt.dies {
					return -1
				}
				return tt.rtt
			})
			since := time.Duration(0)
			if tt.dies > 1 {
				since = pings[tt.dies-2]
			}
			if got := at - since; d.Liveness != spi.Dead || d.Strikes != tt.strike || d.Reason != spi.ReasonHeartbeatTimeout || got < tt.want || got > tt.want+s/2 {
				t.Errorf("got %+v after %v, want dead after %v", d, got, tt.want)
			}
		})
	}
}

// A host may send PINGs of its own, as one does beside a plugin. They are judged, too,
// however long the peer was to be left alone.
func TestHostAsksToo(t *testing.T) {
	hb, err := open("")
	if err != nil {
		t.Fatal(err)
	}
	var snapshot spi.Snapshot
	var d spi.Decision
	var state spi.State
	ask := func(now time.Duration) {
		snapshot.Now, snapshot.Due = now, now
		d, state = hb.Decide(snapshot, state)
		if d.SendPing {
			snapshot.PingSeq++
			snapshot.LastPingAt = now
		}
	}
	answer := func(now time.Duration) {
		snapshot.AckSeq, snapshot.LastIn, snapshot.LastRTT = snapshot.PingSeq, now, now-snapshot.LastPingAt
		snapshot.PongCount++
		snapshot.InCount++
	}
	now := time.Duration(0)
	for range 100 { // until the peer is trusted, and has just answered
		if ask(now); !d.SendPing && d.Next > 3*s {
			break
		}
		if d.SendPing {
			answer(now + 1)
		}
		now += d.Next
	}
	if d.SendPing || d.Next <= 3*s {
		t.Fatalf("a hundred answers later: got %+v, want the peer to be left alone for long", d)
	}
	snapshot.PingSeq++ // the host's own
	snapshot.LastPingAt = now + 1
	silent := now
	for d.Liveness != spi.Dead {
		now += s / 2
		ask(now)
		if now > silent+10*s {
			t.Fatalf("10 s later: got %+v, want dead", d)
		}
	}
	if took := now - silent; took < 3*s || took > 5*s {
		t.Errorf("got dead after %v, want 3 s to 5 s", took)
	}
}

// Where this side is itself too late to judge, it does not: twice in a row.
func TestLocalPause(t *testing.T) {
	hb, err := open("")
	if err != nil {
		t.Fatal(err)
	}
	var snapshot spi.Snapshot
	d, state := hb.Decide(snapshot, spi.State{})
	for i, want := range []string{spi.ReasonLocalPause, spi.ReasonLocalPause, ""} {
		snapshot.PingSeq++
		snapshot.Due = snapshot.Now + d.Next
		snapshot.Now = snapshot.Due + 10*s
		if d, state = hb.Decide(snapshot, state); d.Reason != want || !d.SendPing || (d.Strikes > 0) != (want == "") {
			t.Errorf("late look %d: got %+v, want the reason %q and another PING", i+1, d, want)
		}
	}
}

func TestConfig(t *testing.T) {
	tests := []struct{ name, with, want string }{
		{"too often", `{"interval": "10ms"}`, "interval: 10ms"},
		{"longest below shortest", `{"interval": "2s", "max_interval": "1s"}`, "max_interval: 1s"},
		{"two strikes", `{"strikes": 2}`, "strikes: 2"},
		{"no trust", `{"trust": 0}`, "trust: 0"},
		{"misspelt", `{"strike": 3}`, `did you mean "strikes"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := open(tt.with); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open with %s: got %v, want %q", tt.with, err, tt.want)
			}
		})
	}
}
