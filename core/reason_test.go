package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core/internal/wire"
	"github.com/bhrpc/bhrpc/spi"
)

func TestReasonOf(t *testing.T) {
	address := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7070}
	_, flags := wire.ParseHeader(wire.AppendHeader(nil, wire.Header{Type: wire.Ping, Flags: 0x80}))
	_, malformed := wire.ParseHello([]byte{1})
	for _, test := range []struct {
		name         string
		cause        error
		reason, text string
	}{
		{"end", io.EOF, spi.ReasonEOF, "the peer closed the connection"},
		{"end within a frame", io.ErrUnexpectedEOF, spi.ReasonEOF, "the peer closed the connection in the middle of a frame"},
		{"wrapped", fmt.Errorf("read: %w", io.EOF), spi.ReasonEOF, "the peer closed the connection"},
		{"reset", syscall.ECONNRESET, spi.ReasonReset, "the connection was reset"},
		{"reset, as package net says it", &net.OpError{Op: "read", Net: "tcp", Addr: address, Err: os.NewSyscallError("read", syscall.ECONNRESET)}, spi.ReasonReset, "the connection was reset"},
		{"write after the end", &net.OpError{Op: "write", Net: "tcp", Addr: address, Err: os.NewSyscallError("write", syscall.EPIPE)}, spi.ReasonReset, "the connection was reset"},
		{"pipe", io.ErrClosedPipe, spi.ReasonReset, "the connection was reset"},
		{"something else", syscall.ETIMEDOUT, spi.ReasonReset, syscall.ETIMEDOUT.Error()},
		{"something else, from package net", &net.OpError{Op: "read", Net: "tcp", Addr: address, Err: errors.New("no route")}, spi.ReasonReset, "tcp 10.0.0.1:7070: no route"},
		{"stalled", errWriteStalled, spi.ReasonWriteStalled, errWriteStalled.Error()},
		{"dead", &silenceError{spi.ReasonHeartbeatTimeout, 1500 * time.Millisecond, 3}, spi.ReasonHeartbeatTimeout, "3 heartbeats unanswered, no sign of life for 1.5s"},
		{"dead, with a full queue", &silenceError{spi.ReasonWriteStalled, time.Second, 1}, spi.ReasonWriteStalled, "1 heartbeat unanswered, no sign of life for 1s; the kernel did not even take the last one"},
		{"dead, not counted", &silenceError{spi.ReasonHeartbeatTimeout, 15 * time.Second, 0}, spi.ReasonHeartbeatTimeout, "no sign of life for 15s"},
		{"superseded", errSuperseded, spi.ReasonSuperseded, errSuperseded.Error()},
		{"GOAWAY", errGoAway, spi.ReasonGoAway, "the peer is shutting down"},
		{"closed", errClosed, spi.ReasonClosed, "closed by this side"},
		{"consumer closed", errConsumerClosed, spi.ReasonClosed, "the consumer is closed by this side"},
		{"no HELLO", errHandshake, spi.ReasonConnecting, "no HELLO within the handshake timeout"},
		{"other bytes", wire.ErrMagic, spi.ReasonProtocolError, "protocol error: not a bhrpc frame"},
		{"damage", wire.ErrCheck, spi.ReasonProtocolError, "protocol error: damaged frame header"},
		{"flags", flags, spi.ReasonProtocolError, "protocol error: flags that were not negotiated: 0x80 on PING"},
		{"fields", malformed, spi.ReasonProtocolError, "protocol error: malformed fields: HELLO: a field runs past the end"},
		{"too large", errTooLarge, spi.ReasonProtocolError, "protocol error: frame larger than the limits announced"},
		{"rules", protocolErrorf("a second HELLO"), spi.ReasonProtocolError, "protocol error: a second HELLO"},
		{"rules, wrapped", fmt.Errorf("x: %w", protocolErrorf("a second HELLO")), spi.ReasonProtocolError, "protocol error: x: a second HELLO"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if reason, text := reasonOf(test.cause); reason != test.reason || text != test.text {
				t.Errorf("got %q %q, want %q %q", reason, text, test.reason, test.text)
			}
			e := lost(test.cause, spi.SentMaybe)
			if e.Code != spi.Unavailable || e.Reason != test.reason || e.Message != test.text || e.Sent != spi.SentMaybe || e.Phase != spi.PhaseWait {
				t.Errorf("lost: got %+v", e)
			}
			if !errors.Is(e, spi.ErrConnLost) || !errors.Is(e, test.cause) {
				t.Errorf("lost: got %v, want it to be both %v and %v", e.Cause, spi.ErrConnLost, test.cause)
			}
		})
	}
}

func TestContextError(t *testing.T) {
	for _, test := range []struct {
		err  error
		code spi.Code
		text string
	}{
		{context.Canceled, spi.Canceled, "the caller gave up"},
		{fmt.Errorf("x: %w", context.Canceled), spi.Canceled, "the caller gave up"},
		{context.DeadlineExceeded, spi.DeadlineExceeded, "the deadline passed"},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			e := contextError(test.err, spi.PhaseQueue, spi.SentNo)
			if e.Code != test.code || e.Message != test.text || e.Phase != spi.PhaseQueue || e.Sent != spi.SentNo || e.Reason != "" || !errors.Is(e, test.err) || e.Cause != test.err {
				t.Errorf("got %+v, want %v %q because of %v", e, test.code, test.text, test.err)
			}
			if errors.Is(e, spi.ErrConnLost) {
				t.Error("the end of a context is not the end of a connection")
			}
		})
	}
}

func TestIsTimeout(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{{os.ErrDeadlineExceeded, true}, {fmt.Errorf("read: %w", os.ErrDeadlineExceeded), true}, {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, true}, {io.EOF, false}, {nil, false},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ETIMEDOUT)}, false}} {
		if got := isTimeout(test.err); got != test.want {
			t.Errorf("%v: got %v, want %v", test.err, got, test.want)
		}
	}
}
