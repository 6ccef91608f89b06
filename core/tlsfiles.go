package core

import (
	"crypto/tls"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// recheck is how often files are looked at, at most.
const recheck = time.Second

// tlsFiles is a TLS configuration made of files, and made anew when one of them has
// changed. It looks when it is asked, so it has no goroutine. It is safe for
// concurrent use.
type tlsFiles struct {
	paths []string // those that are not ""
	load  func() (*tls.Config, error)
	log   logrus.FieldLogger

	mu      sync.Mutex
	looked  time.Time
	seen    []os.FileInfo // of paths, when they were last looked at; nil: not there
	current *tls.Config
}

func newTLSFiles(load func() (*tls.Config, error), log logrus.FieldLogger, paths ...string) (*tlsFiles, error) {
	f := &tlsFiles{load: load, log: log, looked: time.Now()}
	f.paths = slices.DeleteFunc(paths, func(path string) bool { return path == "" })
	f.seen = f.look()
	var err error
	f.current, err = load()
	return f, err
}

// config returns the configuration, which must not be modified. Files that cannot be
// used leave the last one that could in force.
func (f *tlsFiles) config() *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.looked) < recheck {
		return f.current
	}
	f.looked = now
	seen := f.look()
	if slices.EqualFunc(seen, f.seen, sameFile) {
		return f.current
	}
	f.seen = seen
	next, err := f.load()
	if err != nil {
		f.log.WithError(err).Warn("cannot use the changed certificates; the old ones stay in force")
		return f.current
	}
	f.log.Info("certificates reloaded")
	f.current = next
	return next
}

func (f *tlsFiles) look() []os.FileInfo {
	seen := make([]os.FileInfo, len(f.paths))
	for i, path := range f.paths {
		if info, err := os.Stat(path); err == nil {
			seen[i] = info
		}
	}
	return seen
}

// sameFile reports that a file was neither replaced nor written.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
