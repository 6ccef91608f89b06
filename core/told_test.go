package core_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

// told collects events, as short texts and as they are.
type told struct {
	mu     sync.Mutex
	start  time.Time
	lines  []string
	all    []any
	counts map[string]int
}

func tell() *told { return &told{start: time.Now(), counts: make(map[string]int)} }

func (o *told) note(event any, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	o.lines = append(o.lines, line)
	o.all = append(o.all, event)
	o.counts[strings.Fields(line)[0]]++
}

func (o *told) observer() *core.Observer {
	return &core.Observer{
		Connected:  func(e core.Connected) { o.note(e, "connected %d", e.ID) },
		Strike:     func(e core.Strike) { o.note(e, "strike %d %d/%d", e.ID, e.N, e.Of) },
		Recovered:  func(e core.Recovered) { o.note(e, "recovered %d from %d", e.ID, e.Strikes) },
		LocalPause: func(e core.LocalPause) { o.note(e, "pause %d", e.ID) },
		Disconnected: func(e core.Disconnected) {
			o.note(e, "disconnected %d %s after %d", e.ID, e.Reason, e.Strikes)
		},
		ReconnectAttempt: func(e core.ReconnectAttempt) { o.note(e, "attempt %d", e.Attempt) },
		Reconnected:      func(e core.Reconnected) { o.note(e, "reconnected %d in %d", e.ID, e.Attempt) },
		Superseded:       func(e core.Superseded) { o.note(e, "superseded %d by %d", e.ID, e.By) },
	}
}

// text returns what was told since the last call.
func (o *told) text() string {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	all := strings.Join(o.lines, ", ")
	o.lines = nil
	return all
}

func (o *told) count(word string) int {
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counts[word]
}

// last returns the last event of a type.
func last[E any](t *testing.T, o *told) E {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, event := range slices.Backward(o.all) {
		if e, ok := event.(E); ok {
			return e
		}
	}
	t.Fatalf("got no %v", reflect.TypeFor[E]())
	panic("not reached")
}

// beating gives a consumer a heartbeat and an observer, and a quick reconnect.
func beating(h spi.Heartbeat, o *told, more ...func(*core.ConsumerConfig)) func(*core.ConsumerConfig) {
	return func(cfg *core.ConsumerConfig) {
		cfg.Heartbeat, cfg.Timeout = h, spi.Duration(24*time.Hour)
		if o != nil {
			cfg.Observers = append(cfg.Observers, o.observer())
		}
		for _, edit := range more {
			edit(cfg)
		}
	}
}

func served(h spi.Heartbeat, o *told) func(*core.ProviderConfig) {
	return func(cfg *core.ProviderConfig) {
		cfg.Heartbeat = h
		if o != nil {
			cfg.Observers = append(cfg.Observers, o.observer())
		}
	}
}

// until waits, in steps, for something to hold, and fails the test after a while.
func (w *world) until(what string, most time.Duration, holds func() bool) time.Duration {
	w.Helper()
	start := time.Now()
	for {
		synctest.Wait()
		if holds() {
			return time.Since(start)
		}
		if time.Since(start) > most {
			w.Fatalf("not within %v: %s", most, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
