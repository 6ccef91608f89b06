//go:build fault && linux

package fault_test

import (
	"net"
	"sync"
	"testing"

	"github.com/bhrpc/bhrpc/core/coretest"
)

// script is a provider that answers every request with the same frame.
type script struct {
	address string
	hello   coretest.Hello

	mu     sync.Mutex
	answer coretest.Frame
	raw    []byte // in place of answer, if set
}

// startScript starts a script in this process, which says hello; it ends with the test.
func startScript(t *testing.T, hello coretest.Hello) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &script{address: l.Addr().String(), hello: hello}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return s
}

func (s *script) answerWith(f coretest.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.raw = f, nil
}

// answerRaw makes bytes the answer to everything.
func (s *script) answerRaw(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = b
}

func (s *script) serve(nc net.Conn) {
	defer nc.Close()
	peer := coretest.NewPeer(nc)
	if _, err := peer.BeProvider(s.hello); err != nil {
		return
	}
	for {
		request, err := peer.Read()
		if err != nil {
			return
		}
		if request.Type == coretest.TypeRequest && peer.WriteRaw(s.answerTo(request)) != nil {
			return
		}
	}
}

func (s *script) answerTo(request coretest.Frame) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raw != nil {
		return s.raw
	}
	f := s.answer
	if f.Type == coretest.TypeResponse || f.Type == coretest.TypeError {
		f.ID = request.ID
	}
	return coretest.AppendFrame(nil, f)
}

// nextOf returns the next frame that is no heartbeat, which it answers.
func nextOf(peer *coretest.Peer) (coretest.Frame, error) {
	for {
		f, err := peer.Read()
		if err != nil || f.Type != coretest.TypePing {
			return f, err
		}
		if err := peer.Write(coretest.Frame{Type: coretest.TypePong, ID: f.ID}); err != nil {
			return f, err
		}
	}
}
