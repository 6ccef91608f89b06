// Package proxy holds the built-in proxies, which make client-side values callable:
//
//   - reflect: fills a struct of func fields. The default.
//   - dynamic: a function that takes the name of the method, for tools and gateways
//     that know no types.
//
// A struct for the reflect proxy:
//
//	type Greeter struct {
//		_ struct{} `bhrpc:"service=demo.Greeter"` // without it the type's name
//
//		Say  func(ctx context.Context, name string) (string, error)
//		Wave func() error                        `bhrpc:"method=WaveHand,timeout=2s"`
//		Read func(id int) (string, error)        `bhrpc:"idempotent"` // may be sent twice
//		Log  func(text string)                   `bhrpc:"-"` // not the proxy's
//	}
//
// A func field takes a context, if it wants one, and the method's arguments; it
// returns the method's result, if it has one, and an error.
//
// Programs import this package for [Dynamic] only.
package proxy
