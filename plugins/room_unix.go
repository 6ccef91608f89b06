//go:build unix

package plugins

import (
	"os"
	"syscall"
)

// tryLock locks the file until it is closed, or fails if somebody else has it.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
