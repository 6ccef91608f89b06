package core_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/heartbeat"
	"github.com/bhrpc/bhrpc/spi"
)

// listedOnce keeps the endpoints that it is built with and chooses the first.
type listedOnce struct{ listed []spi.Endpoint }

func (l *listedOnce) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	l.listed = endpoints
	return firstPicker(len(endpoints)), nil
}

// What calls waited for an endpoint that was silent is not held against it when it is
// there again: neither of those that were lost, nor of those that had no more time
// before.
func TestLoadOfTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		catalog := spi.NewCatalog()
		w.must(heartbeat.Register(catalog))
		beat, err := catalog.Heartbeats.Open(t.Context(), spi.Env{Role: spi.RoleConsumer}, spi.Ref{Use: "three-strike", With: spi.Raw{JSON: []byte(`{"interval": "1s"}`)}})
		w.must(err)
		l := w.listen("p:1")
		balancer := new(listedOnce)
		reconnected := make(chan struct{}, 1)
		c := w.consumer(func(cfg *core.ConsumerConfig) {
			cfg.Heartbeat, cfg.LoadBalancer = beat, balancer
			cfg.Observers = []*core.Observer{{Reconnected: func(core.Reconnected) { reconnected <- struct{}{} }}}
		}, "p:1")
		silent := w.accept(l)
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		late := start[string](hurried, c, "Echo", "Say", "late")
		lost := start[string](t.Context(), c, "Echo", "Say", "lost")
		var reader sync.WaitGroup
		defer reader.Wait()
		reader.Go(func() {
			for {
				if _, err := silent.Read(); err != nil {
					return
				}
			}
		})
		_, err = late.wait()
		w.expect(err, failure{code: spi.DeadlineExceeded, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "the deadline passed"})
		load := balancer.listed[0].Load
		if got := load.Latency(0); got < time.Second {
			t.Errorf("got a latency of %v after a call that had no more time, want a second at least", got)
		}
		_, err = lost.wait()
		w.expect(err, failure{code: spi.Unavailable, reason: spi.ReasonHeartbeatTimeout, phase: spi.PhaseWait, sent: spi.SentMaybe, endpoint: "p:1", message: "3 heartbeats unanswered"})
		w.accept(l)
		<-reconnected
		if got := load.Latency(0); got != 0 || load.InFlight() != 0 {
			t.Errorf("got a latency of %v and %d calls in flight when it is there again, want none", got, load.InFlight())
		}
	})
}
