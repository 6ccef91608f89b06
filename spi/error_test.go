package spi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
)

func TestCodes(t *testing.T) {
	names := []string{
		"CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	codes := []spi.Code{
		spi.Canceled, spi.Unknown, spi.InvalidArgument, spi.DeadlineExceeded, spi.NotFound, spi.AlreadyExists, spi.PermissionDenied, spi.ResourceExhausted,
		spi.FailedPrecondition, spi.Aborted, spi.OutOfRange, spi.Unimplemented, spi.Internal, spi.Unavailable, spi.DataLoss, spi.Unauthenticated,
	}
	for i, c := range codes {
		if int(c) != i+1 || c.String() != names[i] || !c.Valid() {
			t.Errorf("code %d: got %d, %s, valid %t, want %d, %s, valid", i+1, c, c, c.Valid(), i+1, names[i])
		}
	}
	for _, tt := range []struct {
		code spi.Code
		want string
	}{{0, "OK"}, {17, "CODE_17"}, {255, "CODE_255"}} {
		if got := tt.code.String(); got != tt.want || tt.code.Valid() {
			t.Errorf("code %d: got %s, valid %t, want %s, invalid", uint8(tt.code), got, tt.code.Valid(), tt.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	full := spi.Error{
		Code: spi.Unavailable, Reason: spi.ReasonConnecting, Phase: spi.PhaseDial, Service: "Greeter", Method: "Hello", Endpoint: "10.0.0.7:7070", Sent: spi.SentNo,
		Message: "connection refused; 3 attempts in 1.2s", Hint: "is the provider started?", Details: map[string]string{"k": "v"}, Cause: io.EOF,
	}
	without := func(clear func(*spi.Error)) *spi.Error {
		e := full
		clear(&e)
		return &e
	}
	for _, tt := range []struct {
		name string
		err  *spi.Error
		want string
	}{
		{"everything", &full, "UNAVAILABLE Greeter.Hello at 10.0.0.7:7070 (phase: dial, sent: no): connection refused; 3 attempts in 1.2s; is the provider started?"},
		{"no hint", without(func(e *spi.Error) { e.Hint = "" }), "UNAVAILABLE Greeter.Hello at 10.0.0.7:7070 (phase: dial, sent: no): connection refused; 3 attempts in 1.2s"},
		{"no endpoint", without(func(e *spi.Error) { e.Endpoint = "" }), "UNAVAILABLE Greeter.Hello (phase: dial, sent: no): connection refused; 3 attempts in 1.2s; is the provider started?"},
		{"no sent", without(func(e *spi.Error) { e.Sent = "" }), "UNAVAILABLE Greeter.Hello at 10.0.0.7:7070 (phase: dial): connection refused; 3 attempts in 1.2s; is the provider started?"},
		{"no phase", without(func(e *spi.Error) { e.Phase = "" }), "UNAVAILABLE Greeter.Hello at 10.0.0.7:7070 (sent: no): connection refused; 3 attempts in 1.2s; is the provider started?"},
		{"no call", without(func(e *spi.Error) { e.Service, e.Method = "", "" }), "UNAVAILABLE at 10.0.0.7:7070 (phase: dial, sent: no): connection refused; 3 attempts in 1.2s; is the provider started?"},
		{"no message", without(func(e *spi.Error) { e.Message = "" }), "UNAVAILABLE Greeter.Hello at 10.0.0.7:7070 (phase: dial, sent: no); is the provider started?"},
		{"of a handler", spi.Errorf(spi.NotFound, "user %d", 7), "NOT_FOUND: user 7"},
		{"code only", &spi.Error{Code: spi.Internal}, "INTERNAL"},
		{"no code", &spi.Error{Message: "odd"}, "UNKNOWN: odd"},
		{"code of another world", &spi.Error{Code: 99, Message: "odd"}, "CODE_99: odd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// odd is an error that errors.As must look for in the tree.
type odd struct{ n int }

func (o *odd) Error() string { return fmt.Sprint("odd ", o.n) }

func TestErrorf(t *testing.T) {
	errA, errB := errors.New("a"), &odd{3}
	for _, tt := range []struct {
		name   string
		err    *spi.Error
		want   string
		causes []error
	}{
		{"no cause", spi.Errorf(spi.Aborted, "lost to %s", "b"), "lost to b", nil},
		{"one cause", spi.Errorf(spi.Aborted, "lost: %w", errA), "lost: a", []error{errA}},
		{"cause in the middle", spi.Errorf(spi.Aborted, "lost: %w, %d left", errA, 2), "lost: a, 2 left", []error{errA}},
		{"two causes", spi.Errorf(spi.Aborted, "%w and %w", errA, errB), "a and odd 3", []error{errA, errB}},
		{"nil cause", spi.Errorf(spi.Aborted, "lost: %w", nil), "lost: %!w(<nil>)", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err.Message != tt.want || tt.err.Code != spi.Aborted {
				t.Errorf("got %s %s, want ABORTED %s", tt.err.Code, tt.err.Message, tt.want)
			}
			for _, cause := range tt.causes {
				if !errors.Is(tt.err, cause) {
					t.Errorf("errors.Is(%v, %v): got false, want true", tt.err, cause)
				}
			}
			if tt.causes == nil && tt.err.Cause != nil {
				t.Errorf("Cause: got %v, want nil", tt.err.Cause)
			}
			var o *odd
			if got := errors.As(tt.err, &o); got != (len(tt.causes) == 2) {
				t.Errorf("errors.As(%v, *odd): got %t", tt.err, got)
			}
		})
	}
}

func TestErrorIs(t *testing.T) {
	lost := &spi.Error{Code: spi.Unavailable, Cause: fmt.Errorf("read: %w", errors.Join(spi.ErrConnLost, io.EOF))}
	for _, tt := range []struct {
		name   string
		err    error
		target error
		want   bool
	}{
		{"canceled", &spi.Error{Code: spi.Canceled}, context.Canceled, true},
		{"canceled, wrapped", fmt.Errorf("call: %w", &spi.Error{Code: spi.Canceled}), context.Canceled, true},
		{"canceled by the provider", &spi.Error{Code: spi.Canceled, Remote: true}, context.Canceled, true},
		{"canceled is no deadline", &spi.Error{Code: spi.Canceled}, context.DeadlineExceeded, false},
		{"deadline", &spi.Error{Code: spi.DeadlineExceeded}, context.DeadlineExceeded, true},
		{"deadline is no cancel", &spi.Error{Code: spi.DeadlineExceeded}, context.Canceled, false},
		{"deadline underneath", &spi.Error{Code: spi.Unavailable, Cause: context.DeadlineExceeded}, context.DeadlineExceeded, true},
		{"another code", &spi.Error{Code: spi.Unavailable}, context.Canceled, false},
		{"connection lost", lost, spi.ErrConnLost, true},
		{"what ended the connection", lost, io.EOF, true},
		{"connection not lost", &spi.Error{Code: spi.Unavailable}, spi.ErrConnLost, false},
		{"the same error", lost, lost, true},
		{"another error with the same text", lost, &spi.Error{Code: spi.Unavailable}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := errors.Is(tt.err, tt.target); got != tt.want {
				t.Errorf("errors.Is(%v, %v): got %t, want %t", tt.err, tt.target, got, tt.want)
			}
		})
	}
	var e *spi.Error
	if !errors.As(fmt.Errorf("call: %w", lost), &e) || e != lost {
		t.Errorf("errors.As: got %v, want %v", e, lost)
	}
}

func TestCodeOf(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want spi.Code
	}{
		{"nil", nil, 0},
		{"an Error", &spi.Error{Code: spi.NotFound}, spi.NotFound},
		{"wrapped", fmt.Errorf("x: %w", fmt.Errorf("y: %w", &spi.Error{Code: spi.NotFound})), spi.NotFound},
		{"joined, first", errors.Join(io.EOF, &spi.Error{Code: spi.NotFound}, &spi.Error{Code: spi.Aborted}), spi.NotFound},
		{"canceled", fmt.Errorf("x: %w", context.Canceled), spi.Canceled},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), spi.DeadlineExceeded},
		{"an Error about a deadline", &spi.Error{Code: spi.Unavailable, Cause: context.DeadlineExceeded}, spi.Unavailable},
		{"any other", io.EOF, spi.Unknown},
		{"an Error without a code", &spi.Error{Message: "odd"}, spi.Unknown},
		{"an Error with a code of another world", &spi.Error{Code: 99}, spi.Unknown},
		{"an Error without a code about a deadline", &spi.Error{Cause: context.DeadlineExceeded}, spi.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := spi.CodeOf(tt.err); got != tt.want {
				t.Errorf("CodeOf(%v): got %s, want %s", tt.err, got, tt.want)
			}
		})
	}
	if allocs := testing.AllocsPerRun(100, func() { spi.CodeOf(nil) }); allocs != 0 {
		t.Errorf("CodeOf(nil): got %v allocations, want 0", allocs)
	}
}
