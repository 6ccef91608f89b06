package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Directories returns where sockets may be, the preferred one first. runtime is the
// user's directory for such things, $XDG_RUNTIME_DIR, or "".
func Directories(runtime string) []string {
	var all []string
	if filepath.IsAbs(runtime) {
		all = append(all, filepath.Join(runtime, "bhrpc"))
	}
	name := "bhrpc"
	if uid := os.Getuid(); uid >= 0 { // there are no such numbers on Windows
		name += "-" + strconv.Itoa(uid)
	}
	return append(all, filepath.Join(os.TempDir(), name))
}

// checked returns nil if dir is a directory that only this user can enter.
func checked(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("use %s: it is a symbolic link; remove it", dir)
	case !info.IsDir():
		return fmt.Errorf("use %s: it is not a directory; remove it", dir)
	}
	return private(dir, info)
}

// made returns nil if dir is such a directory, which it makes if there is nothing of
// the name.
func made(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return checked(dir)
}

const extension = ".sock"

// socket is the file of one App.
type socket struct {
	path string
	pid  int
}

// name returns the file name of the nth App of a process.
func name(pid, n int) string { return fmt.Sprintf("%d-%d%s", pid, n, extension) }

// parseName returns the process id in the name of a socket.
func parseName(name string) (pid int, ok bool) {
	stem, ok := strings.CutSuffix(name, extension)
	if !ok {
		return 0, false
	}
	left, right, ok := strings.Cut(stem, "-")
	if !ok {
		return 0, false
	}
	pid, err := strconv.Atoi(left)
	_, other := strconv.ParseUint(right, 10, 32)
	return pid, err == nil && other == nil && pid > 0
}

// sockets lists those in a directory, by name.
func sockets(dir string) ([]socket, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []socket
	for _, e := range entries {
		if pid, ok := parseName(e.Name()); ok {
			all = append(all, socket{filepath.Join(dir, e.Name()), pid})
		}
	}
	return all, nil
}

// ownStale is how old a socket with this process's own id must be to be a dead
// process's: one of this process may be about to listen.
const ownStale = 10 * time.Second

// sweep removes the sockets of dead processes. What cannot be removed is left: the
// tool does not show it either.
func sweep(dir string) {
	all, err := sockets(dir)
	if err != nil {
		return
	}
	for _, s := range all {
		if s.dead() && s.refuses() {
			_ = os.Remove(s.path)
		}
	}
}

// dead reports whether the process of the socket has ended.
func (s socket) dead() bool {
	if s.pid == os.Getpid() {
		info, err := os.Lstat(s.path)
		return err == nil && time.Since(info.ModTime()) > ownStale
	}
	p, err := os.FindProcess(s.pid)
	if err != nil {
		return true
	}
	defer func() { _ = p.Release() }()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// refuses reports whether nobody listens on the socket.
func (s socket) refuses() bool {
	nc, err := net.DialTimeout("unix", s.path, time.Second)
	if err == nil {
		_ = nc.Close()
	}
	return isRefused(err)
}
