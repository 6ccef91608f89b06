package plugins

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	roomPrefix = "bhrpc-plugins-"
	roomLock   = "lock"

	// socketPath is how long a path of a socket may be: 108 bytes on Linux and 104
	// elsewhere, with the terminating zero.
	socketPath = 103
	// socketTail is what a generation and go-plugin append to the room's path.
	socketTail = len("/18446744073709551615/plugin-dir4294967295/plugin4294967295")

	// roomMade is far longer than a room has no lock while it is made. One without it
	// that is older was left by a host that was killed.
	roomMade = time.Hour
)

// room is the private directory of a plugin. It holds a directory for each
// generation, and a lock that ends with the process that made it.
type room struct {
	dir  string
	lock *os.File // locked where the system can
}

// openRoom makes a room under base, and removes those of hosts that are gone.
func openRoom(base string) (*room, error) {
	if length := len(base) + len("/"+roomPrefix+"4294967295") + socketTail; length > socketPath {
		return nil, fmt.Errorf("make a private directory: sockets below %s would have paths of up to %d bytes, %d are possible; set TMPDIR to a shorter one", base, length, socketPath)
	}
	sweepRooms(base)
	for range 3 { // a sweep may take one before it is locked
		dir, err := os.MkdirTemp(base, roomPrefix)
		if err != nil {
			return nil, fmt.Errorf("make a private directory: %w", err)
		}
		lock, err := os.OpenFile(filepath.Join(dir, roomLock), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			continue
		}
		if tryLock(lock) == nil && exists(lock.Name()) {
			return &room{dir, lock}, nil
		}
		lock.Close()
		_ = os.RemoveAll(dir)
	}
	return nil, fmt.Errorf("make a private directory: those made in %s disappear at once, or cannot be locked; set TMPDIR to another one", base)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// sweepRooms removes the rooms under base whose lock nobody holds. Nothing that others
// may have made is touched.
func sweepRooms(base string) {
	entries, _ := os.ReadDir(base)
	for _, entry := range entries {
		dir := filepath.Join(base, entry.Name())
		if !strings.HasPrefix(entry.Name(), roomPrefix) {
			continue
		}
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || checkOwner(dir, info) != nil {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, roomLock), os.O_RDWR, 0)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && time.Since(info.ModTime()) > roomMade {
				_ = os.RemoveAll(dir)
			}
			continue
		}
		if tryLock(lock) == nil {
			_ = os.RemoveAll(dir) // the next sweep tries again
		}
		lock.Close()
	}
}

// generation makes the directory of a generation.
func (r *room) generation(number uint64) (string, error) {
	dir := filepath.Join(r.dir, strconv.FormatUint(number, 10))
	return dir, os.Mkdir(dir, 0o700)
}

// Close removes the room.
func (r *room) Close() error {
	return errors.Join(os.RemoveAll(r.dir), r.lock.Close())
}
