// Package coretest lets a test put a network between a consumer and a provider,
// break it on purpose, and speak the protocol frame by frame.
//
// A [Network] lives in memory and starts no goroutine, so it works inside a
// testing/synctest bubble, where time costs nothing. A [Link] is the way to one
// address of it and can be refused, stalled, emptied, damaged and cut. A [Peer] is
// one side of a connection as a script, for what a real provider or consumer would
// never do.
//
// A complete test, of a program that must survive a provider that falls silent:
//
//	package shop_test
//
//	func TestSilentProvider(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			var network coretest.Network
//			defer network.Close()
//			listener, err := network.Listen("stock:7070")
//			if err != nil {
//				t.Fatal(err)
//			}
//
//			cfg := core.DefaultConsumerConfig()
//			cfg.Endpoints = []spi.Endpoint{{Address: "stock:7070"}}
//			cfg.Dial = network.Dial
//			cfg.SerializerName, cfg.Serializer, cfg.LoadBalancer = "json", serializer, balancer
//			consumer, err := core.NewConsumer(cfg)
//			if err != nil {
//				t.Fatal(err)
//			}
//			defer consumer.Close()
//
//			conn, err := listener.Accept()
//			if err != nil {
//				t.Fatal(err)
//			}
//			provider := coretest.NewPeer(conn)
//			defer provider.Close()
//			if _, err := provider.BeProvider(coretest.Hello{Serializers: []string{"json"}}); err != nil {
//				t.Fatal(err)
//			}
//
//			network.Link("stock:7070").ToConsumer.Stall()
//			go provider.Await(coretest.TypeRequest) // it arrives, and nothing ever comes back
//			err = consumer.Invoke(t.Context(), &spi.Call{Method: consumer.Method("Stock", "Count"), Timeout: time.Second})
//			if !errors.Is(err, context.DeadlineExceeded) {
//				t.Errorf("got %v, want the deadline", err)
//			}
//		})
//	}
//
// coretest imports the standard library, spi and the frames of core; it is for
// tests only.
package coretest
