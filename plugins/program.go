package plugins

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Errors about the program of a plugin that callers branch on with [errors.Is].
var (
	ErrUntrusted = errors.New("program not trusted") // somebody else could have changed it, or it is no plain program
	ErrChecksum  = errors.New("checksum differs")    // it is not the program that was configured
)

// install checks the program at path, in the order of docs/plugins.md, and copies
// what it opened to target, which must not exist. want is the configured hash, ""
// for any. It returns the hash of what it copied. On an error there is no target.
func install(path, want, target string) (hash string, err error) {
	if err := checkParents(path); err != nil {
		return "", err
	}
	file, err := os.OpenFile(path, openProgram, 0)
	if err != nil {
		return "", fmt.Errorf("open plugin program: %w", err)
	}
	defer file.Close()
	if err := checkProgram(path, file); err != nil {
		return "", err
	}
	sum, err := copyProgram(file, target)
	if err != nil {
		return "", fmt.Errorf("copy %s: %w", path, errors.Join(err, remove(target)))
	}
	hash = hex.EncodeToString(sum)
	if expected, _ := hex.DecodeString(want); want != "" && subtle.ConstantTimeCompare(sum, expected) != 1 {
		return "", errors.Join(fmt.Errorf("%w: %s is %s, configured is %s; if it was replaced on purpose, configure its new hash", ErrChecksum, path, hash, want), remove(target))
	}
	return hash, nil
}

// checkParents checks the path itself and the directories above it.
func checkParents(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return fmt.Errorf("%w: %q is not an absolute path in its shortest form", ErrUntrusted, path)
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		switch {
		case err != nil:
			return fmt.Errorf("look at the directories of a plugin program: %w", err)
		case info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%w: %s is a symbolic link; configure the path it leads to", ErrUntrusted, dir)
		}
		if err := checkOwner(dir, info); err != nil {
			return err
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// checkProgram checks what was opened, and that path names nothing else.
func checkProgram(path string, file *os.File) error {
	named, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at the plugin program: %w", err)
	}
	info, err := file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("look at the plugin program: %w", err)
	case named.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link; configure the path it leads to", ErrUntrusted, path)
	case !os.SameFile(named, info):
		return fmt.Errorf("%w: %s was replaced while it was checked", ErrUntrusted, path)
	}
	if err := checkOwner(path, info); err != nil {
		return err
	}
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return fmt.Errorf("%w: %s is no regular file", ErrUntrusted, path)
	case mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return fmt.Errorf("%w: %s is setuid or setgid", ErrUntrusted, path)
	case executableBit && mode&0o100 == 0:
		return fmt.Errorf("%w: %s is not executable by its owner; `chmod u+x` makes it so", ErrUntrusted, path)
	}
	return nil
}

// copyProgram writes an executable copy and returns its SHA-256. No process is
// started meanwhile: one that inherited the open copy would keep it from being
// executed.
func copyProgram(from io.Reader, target string) ([]byte, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o500)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(to, hash), from)
	return hash.Sum(nil), errors.Join(err, to.Close())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
