package plugins

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/extensions"
	"github.com/bhrpc/bhrpc/spi"
)

// counted is a strategy that says when it wanted some PINGs.
type counted struct {
	spi.Heartbeat
	enough chan struct{} // closed at the last; by Decide, which one goroutine calls
	left   int
}

func (c *counted) Decide(s spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	d, st := c.Heartbeat.Decide(s, st)
	if d.SendPing {
		if c.left--; c.left == 0 {
			close(c.enough)
		}
	}
	return d, st
}

// TestHeartbeatOfAPluginBetweenPeers: a consumer and a provider whose strategy, from a
// plugin, wants a PING all the time and calls nobody dead. Neither finds the other's
// too many; when the line is dead the consumer connects again.
func TestHeartbeatOfAPluginBetweenPeers(t *testing.T) {
	_, cat := openHeartbeats(t, nil)
	others := spi.NewCatalog()
	if err := extensions.Register(others); err != nil {
		t.Fatal(err)
	}
	json, err := others.Serializers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "json"})
	if err != nil {
		t.Fatal(err)
	}
	p2c, err := others.LoadBalancers.Open(t.Context(), spi.Env{}, spi.Ref{Use: "p2c"})
	if err != nil {
		t.Fatal(err)
	}
	connected, ended := make(chan core.Connected, 64), make(chan core.Disconnected, 64)
	observers := []*core.Observer{{
		Connected: func(c core.Connected) {
			if c.Role == spi.RoleConsumer {
				connected <- c
			}
		},
		Disconnected: func(d core.Disconnected) { ended <- d },
	}}
	network := new(coretest.Network)
	t.Cleanup(func() { network.Close() })
	enough := func(hb spi.Heartbeat) *counted {
		return &counted{Heartbeat: hb, enough: make(chan struct{}), left: 20}
	}

	served := core.DefaultProviderConfig()
	atProvider := enough(openStrategy(t, cat, spi.RoleProvider, ""))
	served.Heartbeat, served.Observers, served.Log = atProvider, observers, quiet()
	served.Serializers = map[string]spi.Serializer{"json": json}
	provider, err := core.NewProvider(served)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := network.Listen("p:1")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = provider.Serve(listener) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = provider.Shutdown(ctx)
		serving.Wait()
	})

	calling := core.DefaultConsumerConfig()
	atConsumer := enough(openStrategy(t, cat, spi.RoleConsumer, ""))
	calling.Heartbeat, calling.Observers, calling.Log = atConsumer, observers, quiet()
	calling.SerializerName, calling.Serializer, calling.LoadBalancer = "json", json, p2c
	calling.Endpoints, calling.Dial = []spi.Endpoint{{Address: "p:1"}}, network.Dial
	consumer, err := core.NewConsumer(calling)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { consumer.Close() })

	first := <-connected
	<-atConsumer.enough
	<-atProvider.enough
	network.Link("p:1").ToConsumer.Stall()
	for d := range ended { // if the machine stood still, from before
		if strings.Contains(d.Cause, "PINGs") {
			t.Errorf("got the end of a connection of the %s by %s: %s, want none for that", d.Role, d.Reason, d.Cause)
		}
		if d.Role == spi.RoleConsumer {
			break
		}
	}
	network.Link("p:1").Heal()
	if again := <-connected; again.ID <= first.ID {
		t.Errorf("got connection %d again, want another one", again.ID)
	}
}
