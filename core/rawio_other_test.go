//go:build !unix

package core

// rawForms is empty: there are no descriptors to read from.
func rawForms() []readerForm { return nil }
