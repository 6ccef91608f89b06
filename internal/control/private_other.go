//go:build !unix

package control

import (
	"errors"
	"io/fs"
	"syscall"
)

// private returns nil: the directory for temporary files is the user's own here.
func private(string, fs.FileInfo) error { return nil }

// refused is WSAECONNREFUSED, which syscall does not name.
const refused = syscall.Errno(10061)

// isRefused reports the error of a socket that nobody listens on.
func isRefused(err error) bool { return errors.Is(err, refused) }
