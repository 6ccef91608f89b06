// Package spi is the contract between bhrpc and its extensions.
//
// It holds the small interfaces that an extension implements ([Serializer],
// [LoadBalancer], [Proxy], [Registry], [Compressor], [Interceptor]), the registry in which named
// implementations are found ([Catalog], [Point], [Register]), and the words
// that both sides share ([Call], [Endpoint], [Code], [Error]).
//
// A complete extension, linked into the program that uses it:
//
//	package first
//
//	// Config is what stands under `with:` in the configuration file.
//	type Config struct {
//		Skip uint `json:"skip" doc:"endpoints to leave out at the front of the list"`
//	}
//
//	func Register(cat *spi.Catalog) error {
//		return spi.Register(cat.LoadBalancers, "first", "Takes the first usable endpoint.", Config{}, open)
//	}
//
//	func open(_ context.Context, _ spi.Env, cfg Config) (spi.LoadBalancer, error) {
//		return balancer{cfg.Skip}, nil
//	}
//
//	type balancer struct{ skip uint }
//
//	func (b balancer) Build(endpoints []spi.Endpoint) (spi.Picker, error) {
//		n := uint(len(endpoints))
//		return picker{n: int(n), from: int(b.skip % n)}, nil
//	}
//
//	type picker struct{ n, from int }
//
//	func (p picker) Pick(info *spi.CallInfo) (int, error) {
//		return info.Usable.Next(p.from, p.n), nil
//	}
//
// There is no package-level registry and no registration in init: main (or the
// facade) makes a Catalog, fills it by explicit calls and passes it down, so
// that two programs' worth of extensions can live in one process and tests run
// in parallel.
//
// Everything imports spi; spi imports the standard library and logrus only.
package spi
