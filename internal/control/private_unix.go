//go:build unix

package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// private returns nil if a directory belongs to this user and nobody else may enter.
func private(dir string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("use %s: it belongs to another user", dir)
	}
	if open := info.Mode().Perm() &^ 0o700; open != 0 {
		return fmt.Errorf("use %s: others may enter it; say chmod 700 %s", dir, dir)
	}
	return nil
}

// isRefused reports the error of a socket that nobody listens on.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
