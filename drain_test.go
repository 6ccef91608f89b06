package bhrpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// door is a service whose callers wait until it opens.
type door struct {
	entered chan struct{}
	open    chan struct{}
}

func newDoor() door { return door{make(chan struct{}), make(chan struct{})} }

func (d door) Pass(ctx context.Context, name string) (string, error) {
	d.entered <- struct{}{}
	select {
	case <-d.open:
		return name, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// result is how a call ended.
type result struct {
	text string
	err  error
}

// begin makes a call in a goroutine of its own.
func begin(t *testing.T, app *bhrpc.App, method, text string) <-chan result {
	over := make(chan result, 1)
	go func() {
		got, err := bhrpc.Call[string](t.Context(), app, method, text)
		over <- result{got, err}
	}()
	return over
}

// Close lets calls under way finish, and no new one begin.
func TestCloseLetsCallsFinish(t *testing.T) {
	d := newDoor()
	address, _ := provide(t, nil, bhrpc.Service{Impl: d, Name: "Door"})
	app := dial(t, nil, address)
	call := begin(t, app, "Door.Pass", "x")
	<-d.entered
	closed := make(chan error, 1)
	go func() { closed <- app.Close() }()
	for { // until Close has begun
		_, err := bhrpc.Call[string](t.Context(), app, "Door.Nothing", "new")
		if spi.CodeOf(err) == spi.Unimplemented {
			continue
		}
		var e *bhrpc.Error
		if !errors.As(err, &e) || e.Code != spi.Unavailable || e.Reason != spi.ReasonClosed || e.Sent != spi.SentNo {
			t.Errorf("a new call: got %v, want UNAVAILABLE, closed, not sent", err)
		}
		break
	}
	close(d.open)
	if got := <-call; got != (result{"x", nil}) {
		t.Errorf("got %+v, want the call to finish", got)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: got %v, want nil", err)
	}
}

// Close does not wait longer than the drain time, and says what it cut off.
func TestCloseCutsOff(t *testing.T) {
	d := newDoor()
	address, _ := provide(t, nil, bhrpc.Service{Impl: d, Name: "Door"})
	cfg, _ := load(t, map[string]any{"consumer.drain_timeout": "0s", "consumer.addresses": []string{address}})
	app, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	call := begin(t, app, "Door.Pass", "x")
	<-d.entered
	for range 2 {
		if err := app.Close(); fmt.Sprint(err) != "bhrpc: 1 call cut off at the end of the drain time" {
			t.Errorf("Close: got %v, want to be told of one call, each time", err)
		}
	}
	var e *bhrpc.Error
	if got := <-call; !errors.As(got.err, &e) || e.Code != spi.Unavailable || e.Sent != spi.SentMaybe {
		t.Errorf("got %+v, want UNAVAILABLE, maybe sent", got)
	}
}

// relay is a service whose handler calls another one.
type relay struct {
	app     func() *bhrpc.App
	entered chan struct{}
	proceed chan struct{}
}

func (r relay) Pass(ctx context.Context, name string) (string, error) {
	r.entered <- struct{}{}
	<-r.proceed
	return bhrpc.Call[string](ctx, r.app(), "Hello.Say", name)
}

// While the providers of an App drain, their handlers can call others: the consumer
// ends after them.
func TestHandlersCallWhileDraining(t *testing.T) {
	backend, _ := provide(t, nil, Hello{})
	var app *bhrpc.App
	r := relay{func() *bhrpc.App { return app }, make(chan struct{}), make(chan struct{})}
	cfg, log := load(t, map[string]any{"provider.listen": "127.0.0.1:0", "consumer.addresses": []string{backend}})
	app = open(t, cfg)
	ctx, signal := context.WithCancel(t.Context())
	p, err := app.Provide(ctx, bhrpc.Service{Impl: r, Name: "Relay"})
	if err != nil {
		t.Fatal(err)
	}
	front := dial(t, nil, p.Addr().String())
	call := begin(t, front, "Relay.Pass", "x")
	<-r.entered
	signal()
	closed := make(chan error, 1)
	go func() { closed <- app.Close() }()
	log.wait("provider draining")
	close(r.proceed)
	if got := <-call; got != (result{"hello, x", nil}) {
		t.Errorf("got %+v, want the handler to have called", got)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: got %v, want nil", err)
	}
}
