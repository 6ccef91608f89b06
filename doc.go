// Package bhrpc is an extensible RPC framework: every policy of a remote call is a
// named extension chosen by a configuration key.
//
// A provider and a consumer, complete:
//
//	type Hello struct{}
//
//	func (Hello) Say(ctx context.Context, name string) (string, error) { return "hello, " + name, nil }
//
//	func main() { log.Fatal(bhrpc.Serve(Hello{})) }
//
// and
//
//	func main() {
//		c, err := bhrpc.Dial("127.0.0.1:7070")
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer c.Close()
//		fmt.Println(bhrpc.Call[string](context.Background(), c, "Hello.Say", "world"))
//	}
//
// [Open] reads a configuration file in place of Dial, [Load] lets the program add
// to it, and [App.Bind] makes a struct of funcs callable in place of Call.
//
// This package is the facade: it wires catalog, configuration and engine together
// and has no logic of its own. It imports spi, core, extensions, internal/config
// and internal/control; nothing in this module but cmd and examples imports it.
package bhrpc
