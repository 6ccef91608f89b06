//go:build unix

package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestInstall(t *testing.T) {
	content := []byte("#!/bin/sh\n")
	sum := sha256.Sum256(content)
	good := hex.EncodeToString(sum[:])
	chmod := func(mode fs.FileMode) func(t *testing.T, path string) string {
		return func(t *testing.T, path string) string {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	tests := []struct {
		name    string
		want    string // hash
		prepare func(t *testing.T, path string) string
		err     error
		text    string
	}{
		{"as configured", good, nil, nil, ""},
		{"any hash", "", nil, nil, ""},
		{"another hash", strings.Repeat("0", 64), nil, ErrChecksum, "configure its new hash"},
		{"group may write", good, chmod(0o770), ErrUntrusted, "others may write to"},
		{"all may write", good, chmod(0o707), ErrUntrusted, "others may write to"},
		{"not executable", good, chmod(0o600), ErrUntrusted, "not executable"},
		{"setuid", good, chmod(0o700 | fs.ModeSetuid), ErrUntrusted, "setuid"},
		{"setgid", good, chmod(0o700 | fs.ModeSetgid), ErrUntrusted, "setuid or setgid"},
		{"missing", good, func(_ *testing.T, path string) string { return path + "2" }, fs.ErrNotExist, "open plugin program"},
		{"a directory", good, func(_ *testing.T, path string) string { return filepath.Dir(path) }, ErrUntrusted, "no regular file"},
		{"a pipe that nobody writes to", good, func(t *testing.T, path string) string {
			if err := syscall.Mkfifo(path+".pipe", 0o700); err != nil {
				t.Fatal(err)
			}
			return path + ".pipe"
		}, ErrUntrusted, "no regular file"},
		{"relative", good, func(*testing.T, string) string { return "acme" }, ErrUntrusted, "absolute path"},
		{"not the shortest path", good, func(_ *testing.T, path string) string {
			return filepath.Dir(path) + "/./" + filepath.Base(path)
		}, ErrUntrusted, "absolute path"},
		{"a link", good, func(t *testing.T, path string) string {
			if err := os.Symlink(path, path+".link"); err != nil {
				t.Fatal(err)
			}
			return path + ".link"
		}, ErrUntrusted, "symbolic link"},
		{"a directory that is a link", good, func(t *testing.T, path string) string {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(filepath.Dir(path), link); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(link, filepath.Base(path))
		}, ErrUntrusted, "symbolic link"},
		{"a directory that all may write to", good, func(t *testing.T, path string) string {
			chmod(0o777)(t, filepath.Dir(path))
			return path
		}, ErrUntrusted, "others may write to"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			chmod(0o700)(t, dir)
			path := filepath.Join(dir, "acme")
			if err := os.WriteFile(path, content, 0o700); err != nil {
				t.Fatal(err)
			}
			if tt.prepare != nil {
				path = tt.prepare(t, path)
			}
			target := filepath.Join(t.TempDir(), "copy")
			hash, err := install(path, tt.want, target)
			if !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("install: got %v, want %v with %q", err, tt.err, tt.text)
			}
			info, statErr := os.Stat(target)
			if err != nil {
				if statErr == nil {
					t.Error("install failed: got a copy, want none")
				}
				return
			}
			if hash != good || statErr != nil || info.Mode() != 0o500 {
				t.Errorf("install: got hash %s, copy %v %v, want %s and mode 0500", hash, info, statErr, good)
			}
		})
	}
}

// owned is what the system says of a file.
type owned struct {
	fs.FileInfo
	mode fs.FileMode
	user int
}

func (f owned) Mode() fs.FileMode { return f.mode }
func (f owned) IsDir() bool       { return f.mode.IsDir() }
func (f owned) Sys() any          { return &syscall.Stat_t{Uid: uint32(f.user)} }

func TestCheckOwner(t *testing.T) {
	own, other := os.Getuid(), os.Getuid()+1
	tests := []struct {
		name string
		file owned
		want string // part of the error; "": none
	}{
		{"own", owned{mode: 0o755, user: own}, ""},
		{"of root", owned{mode: 0o755, user: 0}, ""},
		{"of another", owned{mode: 0o755, user: other}, "belongs to user"},
		{"directory for all, of another", owned{mode: fs.ModeDir | fs.ModeSticky | 0o777, user: other}, "belongs to user"},
		{"directory for all, of root", owned{mode: fs.ModeDir | fs.ModeSticky | 0o777, user: 0}, ""},
		{"directory for all, of root, in which all may remove", owned{mode: fs.ModeDir | 0o777, user: 0}, "others may write"},
		{"sticky file", owned{mode: fs.ModeSticky | 0o777, user: 0}, "others may write"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := checkOwner("/x", tt.file)
			if (err == nil) != (tt.want == "") || err != nil && (!errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestRoomSweeps(t *testing.T) {
	base, err := os.MkdirTemp("", "[r") // short enough for a socket; no pattern
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(base)
	alive, err := openRoom(base)
	if err != nil {
		t.Fatal(err)
	}
	dead, err := openRoom(base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.generation(1); err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the end of its host does
	open, link := filepath.Join(base, roomPrefix+"open"), filepath.Join(base, roomPrefix+"link")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.WriteFile(filepath.Join(open, roomLock), nil, 0o600), os.Symlink(open, link)); err != nil {
		t.Fatal(err)
	}
	made, left := filepath.Join(base, roomPrefix+"made"), filepath.Join(base, roomPrefix+"left") // without a lock
	long := time.Now().Add(-2 * roomMade)
	if err := errors.Join(os.Mkdir(made, 0o700), os.Mkdir(left, 0o700), os.Chtimes(left, long, long)); err != nil {
		t.Fatal(err)
	}
	next, err := openRoom(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		name string
		room *room
		want bool
	}{{"of a host that lives", alive, true}, {"of a host that is gone", dead, false}, {"the new one", next, true}} {
		if got := exists(r.room.dir); got != r.want {
			t.Errorf("room %s: got there %t, want %t", r.name, got, r.want)
		}
	}
	if !exists(made) || exists(left) {
		t.Errorf("rooms without a lock: got one that is being made there %t, one that was left there %t, want the first alone", exists(made), exists(left))
	}
	for _, other := range []string{open, link} {
		if !exists(other) {
			t.Errorf("%s: got it removed, want it left alone: anybody may have made it", other)
		}
	}
	for _, r := range []*room{alive, next} {
		if info, err := os.Stat(r.dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("room: got %v, %v, want mode 0700", info, err)
		}
		if err := r.Close(); err != nil || exists(r.dir) {
			t.Errorf("Close: got %v, there %t, want it gone", err, exists(r.dir))
		}
		if err := r.lock.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("lock after Close: got %v, want it closed already", err)
		}
	}
	if _, err := openRoom(base + strings.Repeat("/long", 20)); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("room with a path too long for sockets: got %v, want an error that names TMPDIR", err)
	}
}
