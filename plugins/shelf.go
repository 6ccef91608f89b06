package plugins

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bhrpc/bhrpc/spi"
)

// shelf keeps what a host uses of one kind, opened once per name, configuration and
// role, and closed at the end of the plugin. It is safe for concurrent use.
type shelf[T any] struct {
	point *spi.Point[T]
	env   spi.Env

	mu   sync.Mutex
	kept map[shelved]*book[T]
}

type shelved struct{ name, with, role string }

// book is one extension; those who want it while it is opened wait.
type book[T any] struct {
	opened chan struct{} // closed by who opens it, after value and err were set
	value  T
	err    error
}

func newShelf[T any](point *spi.Point[T], env spi.Env) *shelf[T] {
	return &shelf[T]{point: point, env: env, kept: map[shelved]*book[T]{}}
}

// open returns the extension of a name and configuration, and of a role if its kind has
// roles. An error is a gRPC status and is not kept: the next who asks tries again.
func (s *shelf[T]) open(ctx context.Context, name string, with []byte, role string) (value T, err error) {
	key := shelved{name, string(with), role}
	s.mu.Lock()
	b, found := s.kept[key]
	if !found {
		b = &book[T]{opened: make(chan struct{}), err: status.Errorf(codes.Internal, "open %s %q: panic", s.point.Kind(), name)}
		s.kept[key] = b
	}
	s.mu.Unlock()
	if !found {
		defer func() { // also after a panic
			if b.err != nil {
				s.mu.Lock()
				delete(s.kept, key)
				s.mu.Unlock()
			}
			close(b.opened)
		}()
		// What is opened is for all, so it does not end with the first who asks.
		env := s.env
		env.Role = spi.Role(role)
		ref := spi.Ref{Use: name, With: spi.Raw{JSON: with}}
		b.value, err = s.point.Open(context.WithoutCancel(ctx), env, ref)
		b.err = nil
		if _, refused := s.point.Resolve(ref); refused != nil {
			b.err = status.Error(codes.InvalidArgument, refused.Error())
		} else if err != nil {
			b.err = status.Error(codes.FailedPrecondition, err.Error())
		}
		return b.value, b.err
	}
	if !isClosed(b.opened) {
		select {
		case <-b.opened:
		case <-ctx.Done():
			return value, status.FromContextError(ctx.Err()).Err()
		}
	}
	return b.value, b.err
}

// close closes everything. Nobody opens or uses it any more.
func (s *shelf[T]) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, b := range s.kept {
		errs = append(errs, closeOpened(b.value))
	}
	clear(s.kept)
	return errors.Join(errs...)
}
