// Package core makes calls between a [Consumer] and a [Provider].
//
// A complete program, on one machine, without configuration files:
//
//	service, _ := core.NewService("", Greeter{})
//	cfg := core.DefaultProviderConfig()
//	cfg.Serializers = map[string]spi.Serializer{"json": serializer}
//	provider, _ := core.NewProvider(cfg)
//	_ = provider.Register(service)
//	l, _ := net.Listen("tcp", "127.0.0.1:0")
//	go provider.Serve(l)
//
//	use := core.DefaultConsumerConfig()
//	use.Endpoints = []spi.Endpoint{{Address: l.Addr().String()}}
//	use.SerializerName, use.Serializer, use.LoadBalancer = "json", serializer, balancer
//	consumer, _ := core.NewConsumer(use)
//	var greeting string
//	err := consumer.Invoke(ctx, &spi.Call{Method: consumer.Method("Greeter", "Hello"), Args: spi.Values{"world"}, Reply: &greeting})
//
// Most programs use the facade, package bhrpc, which reads a configuration and
// opens the extensions that it names.
//
// docs/connections.md draws who owns what: one function runs a connection on either
// side, one goroutine owns an endpoint, and nobody but a flusher goroutine ever
// waits in a write. docs/protocol.md is what travels.
//
// core imports spi, heartbeat and its own internal packages, and no extension.
package core
