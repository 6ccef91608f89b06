//go:build faultlong && linux

package fault_test

import (
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// longRow is how long each of these tests goes on: FAULT_LONG, or ten minutes.
func longRow(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("FAULT_LONG")
	if text == "" {
		return 10 * time.Minute
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// TestLoss: connections through a network that loses packets live, or where so much
// is lost that TCP itself is silent for longer than the heartbeat allows, their end
// costs time and no idempotent call. A consumer has 60 connections to one provider,
// by as many addresses.
func TestLoss(t *testing.T) {
	const (
		conns = 60
		late  = 20 // seconds for which calls wait that are made once a second
	)
	standard := beat{5 * time.Second, 3}
	for _, tt := range []struct {
		row, name   string
		there, back int // percent of packets that are lost
		consumer    beat
		provider    beat
		most        float64 // disconnections of each connection in an hour
	}{
		{"9a", "5 % lost each way", 5, 5, calmBeat, calmBeat, 0},
		{"9b", "30 % lost one way", 30, 0, standard, beat{10 * time.Second, 3}, 1},
		{"9c", "30 % lost each way", 30, 30, standard, beat{10 * time.Second, 3}, 10},
	} {
		t.Run(tt.row, func(t *testing.T) {
			lasts := longRow(t)
			near, far := newNetns(t), newNetns(t)
			joinCable(near, far)
			journal := filepath.Join(t.TempDir(), "journal")
			provider, address := far.provider(providerArgs{Listen: "0.0.0.0:0", Journal: journal, Keys: map[string]any{"provider.heartbeat": tt.provider.key()}})
			port := portOf(t, address)
			addresses := []string{farIP + ":" + port}
			for i := range conns - 1 {
				ip := fmt.Sprintf("10.99.0.%d", 3+i)
				far.ip("address add " + ip + "/24 dev " + device)
				addresses = append(addresses, ip+":"+port)
			}
			consumer := near.consumer(map[string]any{"consumer.heartbeat": tt.consumer.key(), "consumer.loadbalancer": "round-robin",
				"references.SafeTill.idempotent": []string{"Book"}}, addresses...)
			if !within(patience, func() bool { return consumer.events().open() == conns }) {
				t.Fatalf("got %d connections, want %d", consumer.events().open(), conns)
			}
			consumer.ask("load", loadArgs{Methods: []string{"Till.Echo"}, Rate: 5 * conns, Timeout: time.Minute}, nil)
			pass(2 * time.Second) // what a connection keeps once it was called is no leak
			consumer.ask("history", nil, new(history))
			leaks := leakCheck(t, conns+late*conns, consumer, provider)
			load := loadArgs{Methods: []string{"SafeTill.Book"}, Rate: conns, Timeout: time.Minute}
			far.filter(lossOf(tt.there)...)
			near.filter(lossOf(tt.back)...)
			consumer.ask("load", load, nil)
			pass(lasts)
			far.filter()
			near.filter()
			healed := time.Now()
			var h history
			consumer.ask("history", nil, &h)
			again := time.Now()
			if !within(patience, func() bool {
				again = time.Now()
				return consumer.events().open() == conns && provider.events().open() == conns
			}) {
				t.Errorf("H8: got %d connections at the consumer, %d at the provider, want %d", consumer.events().open(), provider.events().open(), conns)
			}
			h.check(t, rules{timeout: load.Timeout, journal: readJournal(t, journal), idempotent: "SafeTill", retried: true})
			ends := []string{spi.ReasonHeartbeatTimeout, spi.ReasonReset, spi.ReasonEOF, spi.ReasonWriteStalled, spi.ReasonSuperseded}
			consumer.events().check(t, ends...)
			provider.events().check(t, ends...)
			hours := lasts.Hours() * conns
			lost, dropped := len(consumer.events().of(eventDisconnected)), len(provider.events().of(eventDisconnected))
			if allowed := int(math.Ceil(tt.most * hours)); max(lost, dropped) > allowed {
				t.Errorf("got %d disconnections at the consumer, %d at the provider, want at most %d", lost, dropped, allowed)
			}
			attempts := len(consumer.events().of(eventAttempt))
			if limit := 8 * lost; attempts > limit {
				t.Errorf("got %d attempts to connect again after %d disconnections, want at most %d", attempts, lost, limit)
			}
			leaks()
			row(t, tt.row, "%s for %v: %d of %d calls lost, p99 %v; %d connections: %d strikes, %d disconnections (%.1f per connection and hour), %d attempts to connect again; all connected %v after it was healed",
				tt.name, lasts, len(h.failed()), h.Begun, h.p99(), conns, len(consumer.events().of(eventStrike)), lost, float64(lost)/hours, attempts, again.Sub(healed).Round(time.Millisecond))
		})
	}
}

// lossOf is the rule by which so many percent of packets are lost.
func lossOf(percent int) []string {
	if percent == 0 {
		return nil
	}
	return []string{fmt.Sprintf("meta l4proto tcp numgen random mod 100 < %d drop", percent)}
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	return port
}
