package core

import (
	"testing"

	"github.com/bhrpc/bhrpc/core/internal/wire"
)

// order is a side that notes whether the end of its connection was known already
// when it was told.
type order struct {
	c     *conn
	early bool
}

func (o *order) opened(wire.HelloBody) error { return nil }
func (o *order) handle(frame) error          { return nil }
func (o *order) idle()                       {}
func (o *order) rest() bool                  { return false }

func (o *order) collected(*part) error       { return nil }
func (o *order) closed(error, *Disconnected) {}
func (o *order) watched()                    {}
func (o *order) judged(bool)                 {}
func (o *order) pending() int                { return 0 }

func (o *order) closing(error) {
	select {
	case <-o.c.ended:
	default:
		o.early = true
	}
}

// Who learns that a connection has ended must not be given it again.
func TestConnIsForgottenBeforeItsEndIsKnown(t *testing.T) {
	c := &conn{nc: newKernel(0), ended: make(chan struct{})}
	o := &order{c: c}
	c.side = o
	c.close(errClosed)
	c.close(errGoAway)
	<-c.ended
	if !o.early || c.cause != errClosed {
		t.Errorf("got told early %v of %v, want true of %v", o.early, c.cause, errClosed)
	}
}
