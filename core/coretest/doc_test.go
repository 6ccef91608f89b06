package coretest_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/core/coretest"
	"github.com/bhrpc/bhrpc/spi"
)

type jsonSerializer struct{}

func (jsonSerializer) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

func (jsonSerializer) Decode(data []byte, v any) error { return json.Unmarshal(data, v) }

type firstUsable struct{}

func (firstUsable) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
	return firstPicker(len(endpoints)), nil
}

type firstPicker int

func (n firstPicker) Pick(info *spi.CallInfo) (int, error) { return info.Usable.Next(0, int(n)), nil }

var (
	serializer spi.Serializer   = jsonSerializer{}
	balancer   spi.LoadBalancer = firstUsable{}
)

// TestSilentProvider is the program of the package's documentation.
func TestSilentProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network coretest.Network
		defer network.Close()
		listener, err := network.Listen("stock:7070")
		if err != nil {
			t.Fatal(err)
		}

		cfg := core.DefaultConsumerConfig()
		cfg.Endpoints = []spi.Endpoint{{Address: "stock:7070"}}
		cfg.Dial = network.Dial
		cfg.SerializerName, cfg.Serializer, cfg.LoadBalancer = "json", serializer, balancer
		consumer, err := core.NewConsumer(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer consumer.Close()

		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		provider := coretest.NewPeer(conn)
		defer provider.Close()
		if _, err := provider.BeProvider(coretest.Hello{Serializers: []string{"json"}}); err != nil {
			t.Fatal(err)
		}

		network.Link("stock:7070").ToConsumer.Stall()
		go provider.Await(coretest.TypeRequest) // it arrives, and nothing ever comes back
		err = consumer.Invoke(t.Context(), &spi.Call{Method: consumer.Method("Stock", "Count"), Timeout: time.Second})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	})
}
