package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/spi"
)

const (
	version = 1

	maxAskers   = 8       // at once
	maxQuestion = 1 << 10 // bytes
	maxApps     = 100     // of one process that have a socket

	askTime = 5 * time.Second // for a question to be there, and for its answer to be taken
)

// App is what a Server asks to answer. Each func is called for every question of its
// kind, possibly several times at once.
type App struct {
	Conns   func() []core.ConnInfo
	Plugins func() []spi.PluginStatus
	Restart func(ctx context.Context, plugin, sha256 string) error // as [spi.Plugins] has it
}

// question is one line of JSON.
type question struct {
	Get    string `json:"get,omitzero"`    // "conns" or "plugins"
	Do     string `json:"do,omitzero"`     // "restart", of the plugin; the answer is that to "plugins"
	Plugin string `json:"plugin,omitzero"` // its name
	SHA256 string `json:"sha256,omitzero"` // of its new program; "": the configured one
}

// Report is what an App says of itself: Conns or Plugins, as it was asked.
type Report struct {
	Version int                `json:"version"`
	PID     int                `json:"pid,omitempty"`
	Program string             `json:"program,omitempty"` // base name of its file
	Conns   []core.ConnInfo    `json:"conns,omitzero"`    // nil: it was not asked
	Plugins []spi.PluginStatus `json:"plugins,omitzero"`  // likewise
	Error   string             `json:"error,omitempty"`   // why there is no answer

	from socket // on the asker's side
}

// Server answers for one App. It is safe for concurrent use.
type Server struct {
	app     App
	l       net.Listener
	running sync.WaitGroup // the accept loop and the askers

	ctx    context.Context // of what is done for askers; ends with Close
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	askers map[net.Conn]bool
}

// Listen removes the sockets of dead processes and answers on a new one, in the first
// of dirs that can be used.
func Listen(dirs []string, app App) (*Server, error) {
	var errs []error
	for _, dir := range dirs {
		l, err := listen(dir)
		if err == nil {
			s := &Server{app: app, l: l, askers: make(map[net.Conn]bool)}
			s.ctx, s.cancel = context.WithCancel(context.Background())
			s.running.Go(s.accept)
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func listen(dir string) (net.Listener, error) {
	if err := made(dir); err != nil {
		return nil, err
	}
	sweep(dir)
	for n := range maxApps {
		path := filepath.Join(dir, name(os.Getpid(), n))
		l, err := net.Listen("unix", path)
		if err == nil {
			if err = os.Chmod(path, 0o600); err == nil {
				return l, nil
			}
			return nil, errors.Join(err, l.Close())
		}
		if _, missing := os.Lstat(path); missing != nil { // it is not that the name is taken
			return nil, err
		}
	}
	return nil, fmt.Errorf("listen in %s: this process has %d sockets there", dir, maxApps)
}

// Path returns the socket.
func (s *Server) Path() string { return s.l.Addr().String() }

// Close removes the socket, hangs up on whoever asks, and waits. It is safe to call
// twice, and on nil.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	s.cancel()
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	for nc := range s.askers {
		_ = nc.Close()
	}
	s.mu.Unlock()
	var err error
	if first {
		err = s.l.Close()
	}
	s.running.Wait()
	return err
}

func (s *Server) accept() {
	for {
		nc, err := s.l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // out of descriptors, most likely: do not spin
			time.Sleep(100 * time.Millisecond)
		case !s.enter(nc):
			_ = nc.Close()
		default:
			s.running.Go(func() {
				defer s.leave(nc)
				s.answer(nc)
			})
		}
	}
}

// enter returns false if there are too many askers, or none is welcome any more.
func (s *Server) enter(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.askers) >= maxAskers {
		return false
	}
	s.askers[nc] = true
	return true
}

func (s *Server) leave(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.askers, nc)
	_ = nc.Close()
}

// answer reads one question and answers it. An asker that hangs up gets nothing.
func (s *Server) answer(nc net.Conn) {
	_ = nc.SetDeadline(time.Now().Add(askTime))
	line, err := bufio.NewReader(io.LimitReader(nc, maxQuestion)).ReadBytes('\n')
	if err != nil && len(line) < maxQuestion {
		return
	}
	r := s.report(line)
	_ = nc.SetDeadline(time.Now().Add(askTime)) // what was done may have taken longer
	out := bufio.NewWriter(nc)
	if json.NewEncoder(out).Encode(r) == nil {
		_ = out.Flush()
	}
}

// report answers one question.
func (s *Server) report(line []byte) Report {
	refuse := func(format string, args ...any) Report {
		return Report{Version: version, Error: fmt.Sprintf(format, args...)}
	}
	r := Report{Version: version, PID: os.Getpid(), Program: filepath.Base(os.Args[0])}
	var q question
	switch err := json.Unmarshal(line, &q); {
	case len(line) >= maxQuestion:
		return refuse("a question has at most %d bytes", maxQuestion)
	case err != nil:
		return refuse(`a question is a line such as {"get":"conns"}`)
	case q.Do == "restart":
		if err := s.app.Restart(s.ctx, q.Plugin, q.SHA256); err != nil {
			return refuse("%v", err)
		}
		r.Plugins = asked(s.app.Plugins())
	case q.Do != "":
		return refuse("cannot do %q; known: restart", q.Do)
	case q.Get == "conns":
		r.Conns = asked(s.app.Conns())
	case q.Get == "plugins":
		r.Plugins = asked(s.app.Plugins())
	default:
		return refuse("no answer to %q; known: conns, plugins", q.Get)
	}
	return r
}

// asked returns list, not nil: that says that it was not asked for.
func asked[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
