// Package extensions registers the built-in extensions:
//
//	cat := spi.NewCatalog()
//	if err := extensions.Register(cat); err != nil {
//		return err
//	}
//
// Each kind has a package of its own below this one, with one file per
// implementation and a Register of its own. An implementation with a heavy client
// library is a package below that, which a program imports and registers itself.
//
// docs/extensions.md, generated from here, describes each of them.
package extensions
