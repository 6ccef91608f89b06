package control

import (
	"bufio"
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
)

const (
	version = 1

	maxAskers   = 8       // at once
	maxQuestion = 1 << 10 // bytes
	maxApps     = 100     // of one process that have a socket

	askTime = 5 * time.Second // for question and answer together
)

// Report is what an App says of itself.
type Report struct {
	Version int             `json:"version"`
	PID     int             `json:"pid,omitempty"`
	Program string          `json:"program,omitempty"` // base name of its file
	Conns   []core.ConnInfo `json:"conns"`
	Error   string          `json:"error,omitempty"` // why there is no answer
}

// Server answers for one App. It is safe for concurrent use.
type Server struct {
	conns   func() []core.ConnInfo
	l       net.Listener
	running sync.WaitGroup // the accept loop and the askers

	mu     sync.Mutex
	closed bool
	askers map[net.Conn]bool
}

// Listen removes the sockets of dead processes and answers on a new one, in the first
// of dirs that can be used. conns is called for every question, possibly several
// times at once.
func Listen(dirs []string, conns func() []core.ConnInfo) (*Server, error) {
	var errs []error
	for _, dir := range dirs {
		l, err := listen(dir)
		if err == nil {
			s := &Server{conns: conns, l: l, askers: make(map[net.Conn]bool)}
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
	out := bufio.NewWriter(nc)
	if json.NewEncoder(out).Encode(s.report(line)) == nil {
		_ = out.Flush()
	}
}

// report answers one question.
func (s *Server) report(line []byte) Report {
	var question struct {
		Get string `json:"get"`
	}
	switch err := json.Unmarshal(line, &question); {
	case len(line) >= maxQuestion:
		return Report{Version: version, Error: fmt.Sprintf("a question has at most %d bytes", maxQuestion)}
	case err != nil:
		return Report{Version: version, Error: `a question is a line such as {"get":"conns"}`}
	case question.Get != "conns":
		return Report{Version: version, Error: fmt.Sprintf("no answer to %q; known: conns", question.Get)}
	}
	r := Report{Version: version, PID: os.Getpid(), Program: filepath.Base(os.Args[0]), Conns: s.conns()}
	if r.Conns == nil {
		r.Conns = []core.ConnInfo{}
	}
	return r
}
