//go:build unix

package plugins

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// executableBit says whether files here say that they are programs.
const executableBit = true

// openProgram does not wait for who writes to a named pipe.
const openProgram = os.O_RDONLY | syscall.O_NONBLOCK

// checkOwner refuses what somebody other than root and the host's user could change.
func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%w: the owner of %s is unknown", ErrUntrusted, path)
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("%w: %s belongs to user %d, not to root or user %d", ErrUntrusted, path, stat.Uid, os.Getuid())
	}
	sticky := info.IsDir() && info.Mode()&fs.ModeSticky != 0 && stat.Uid == 0
	if info.Mode()&0o022 != 0 && !sticky {
		return fmt.Errorf("%w: others may write to %s (mode %04o); `chmod go-w` ends that", ErrUntrusted, path, info.Mode().Perm())
	}
	return nil
}
