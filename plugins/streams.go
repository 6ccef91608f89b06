package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
)

// streams are those of one serializer: each is used by one exchange at a time, and
// kept for the next. It is safe for concurrent use.
type streams struct {
	name string
	with []byte

	mu     sync.Mutex
	closed bool
	idle   []*stream // of one generation, the one used last at the end
}

// stream is one stream to a process.
type stream struct {
	generation uint64
	number     uint64 // of the last blob
	grpc.BidiStreamingClient[pluginv1.Blob, pluginv1.Blob]
	cancel context.CancelFunc
}

// exchange sends data and waits for the answer until ctx ends, whose error it then
// returns.
func (s *streams) exchange(ctx context.Context, g *generation, direction pluginv1.Blob_Direction, data []byte) (*pluginv1.Blob, error) {
	t, err := s.take(ctx, g)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, t.cancel)
	answer, err := t.exchange(&pluginv1.Blob{Generation: g.number, Direction: direction, Data: data}, s)
	if !stop() || err != nil {
		t.cancel()
		if err != nil && ctx.Err() != nil {
			err = ctx.Err()
		}
		return answer, err
	}
	s.giveBack(t)
	return answer, nil
}

// exchange makes one exchange; the first on a stream says for whom it is.
func (t *stream) exchange(blob *pluginv1.Blob, of *streams) (*pluginv1.Blob, error) {
	t.number++
	blob.Number = t.number
	if t.number == 1 {
		blob.Name, blob.With = of.name, of.with
	}
	if err := t.Send(blob); err != nil && !errors.Is(err, io.EOF) { // io.EOF: Recv knows why
		return nil, err
	}
	answer, err := t.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it ended the stream")
	case err != nil:
		return nil, err
	case answer.GetGeneration() != blob.GetGeneration() || answer.GetNumber() != blob.GetNumber():
		return nil, fmt.Errorf("answer %d of generation %d to blob %d of generation %d", answer.GetNumber(), answer.GetGeneration(), blob.GetNumber(), blob.GetGeneration())
	}
	return answer, nil
}

// take returns a stream to g, which giveBack gets or the caller cancels. ctx bounds its
// opening, for which gRPC may have to connect again, and not its life.
func (s *streams) take(ctx context.Context, g *generation) (*stream, error) {
	if t := s.takeIdle(g.number); t != nil {
		return t, nil
	}
	streamed, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	opened, err := pluginv1.NewSerializerClient(g.conn).Transcode(streamed)
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return &stream{generation: g.number, BidiStreamingClient: opened, cancel: cancel}, nil
}

// takeIdle returns an idle stream to a generation, nil if there is none, and ends
// those to another one.
func (s *streams) takeIdle(generation uint64) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	if t := s.idle[n-1]; t.generation == generation {
		s.idle = s.idle[:n-1]
		return t
	}
	s.end()
	return nil
}

func (s *streams) giveBack(t *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); s.closed || n > 0 && s.idle[n-1].generation != t.generation {
		t.cancel()
		return
	}
	s.idle = append(s.idle, t)
}

// close ends the idle streams, and those that are given back from now on.
func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.end()
}

// end ends the idle streams. mu is held.
func (s *streams) end() {
	for _, t := range s.idle {
		t.cancel()
	}
	s.idle = nil
}
