// Package spitest is the conformance kit: what the contracts of package spi say in
// words, as tests. An author of an extension calls one function:
//
//	func TestConformance(t *testing.T) {
//		spitest.LoadBalancer(t, nearest.New(nearest.Config{Zone: "eu1"}))
//	}
//
// Each rule is a subtest of its own and says what it asks for when it is broken.
// Run with -race: some rules use the extension from many goroutines.
//
// The kit tests what every implementation must do, not how well it does it: a
// balancer that always picks the same endpoint conforms.
//
// Functions that begin with Check apply the same rules outside of go test; package
// plugins/conform uses them for extensions in another process.
//
// The package imports the standard library and spi. Programs that serve or call do
// not import it.
package spitest
