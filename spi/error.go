package spi

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Code says what kind of failure an error is. The sixteen codes have the names
// and numbers of gRPC. The zero Code is no failure; in an [Error] it, and every
// number beyond the sixteen, counts as Unknown.
type Code uint8

// The codes.
const (
	Canceled           Code = 1  // the caller gave up
	Unknown            Code = 2  // a handler returned an error without a code
	InvalidArgument    Code = 3  // the arguments are wrong whatever the state of the provider
	DeadlineExceeded   Code = 4  // the time ran out
	NotFound           Code = 5  // what was asked for does not exist
	AlreadyExists      Code = 6  // what was to be made exists
	PermissionDenied   Code = 7  // the caller is known and may not
	ResourceExhausted  Code = 8  // a limit or quota was reached
	FailedPrecondition Code = 9  // the state must change before this can work
	Aborted            Code = 10 // lost a race; trying again at a higher level may work
	OutOfRange         Code = 11 // past the end
	Unimplemented      Code = 12 // no such service, method, serializer
	Internal           Code = 13 // a bug: a handler panicked, an invariant broke
	Unavailable        Code = 14 // nobody could be reached, or the connection was lost
	DataLoss           Code = 15 // bytes arrived damaged
	Unauthenticated    Code = 16 // the caller is not known
)

var codeNames = [...]string{
	"OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// String returns the code's name in capitals, such as "UNAVAILABLE".
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("CODE_%d", uint8(c))
}

// Valid reports whether c is one of the sixteen codes.
func (c Code) Valid() bool { return c >= Canceled && c <= Unauthenticated }

// CodeOf returns the code of err: that of the first [Error] in its tree, if it is
// one of the sixteen, Canceled or DeadlineExceeded for the context errors, 0 for
// nil, and Unknown for everything else.
func CodeOf(err error) Code {
	if err == nil { // before e, which would cost an allocation
		return 0
	}
	var e *Error
	switch {
	case errors.As(err, &e) && e.Code.Valid():
		return e.Code
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	}
	return Unknown
}

// Phase says how far a call had come when it failed.
type Phase string

// The phases of a call, in order.
const (
	PhaseProxy     Phase = "proxy"     // the hooks of a proxy, before anything else
	PhaseResolve   Phase = "resolve"   // finding endpoints of the service
	PhasePick      Phase = "pick"      // choosing an endpoint
	PhaseDial      Phase = "dial"      // connecting to it
	PhaseHandshake Phase = "handshake" // exchanging HELLO
	PhaseEncode    Phase = "encode"    // arguments, or the result, into bytes
	PhaseQueue     Phase = "queue"     // waiting for room in the connection's write queue
	PhaseWait      Phase = "wait"      // waiting for the answer
	PhaseDispatch  Phase = "dispatch"  // provider: finding the method, accepting the request; it was not run
	PhaseDecode    Phase = "decode"    // bytes into arguments, or into the result
	PhaseHandler   Phase = "handler"   // the user's method
)

// Sent says whether the provider can have seen the request. It decides what may
// be tried again without running twice. Of a call that was tried again it is the
// worst of all attempts.
type Sent string

// The values of Sent. The empty value means that the question does not arise,
// because the provider itself answered, and no attempt before was lost.
const (
	SentNo      Sent = "no"      // not one byte of the request was handed to the kernel
	SentMaybe   Sent = "maybe"   // some or all of it was
	SentPartial Sent = "partial" // a part of the answer has arrived
)

// Reasons that this framework gives in [Error.Reason]. Handlers may use words of
// their own.
const (
	ReasonEOF              = "eof"               // the peer closed the connection
	ReasonReset            = "reset"             // the connection was reset
	ReasonWriteStalled     = "write_stalled"     // the peer took no bytes for the write timeout
	ReasonHeartbeatTimeout = "heartbeat_timeout" // the peer left too many heartbeats unanswered
	ReasonSuperseded       = "superseded"        // the same consumer connected again and gave this connection up
	ReasonProtocolError    = "protocol_error"    // the peer sent bytes that are no frames
	ReasonGoAway           = "goaway"            // the peer is shutting down
	ReasonClosed           = "closed"            // this side closed
	ReasonConnecting       = "connecting"        // no connection could be made
	ReasonHandlerPanic     = "handler_panic"     // the user's method panicked
	ReasonHandlerExit      = "handler_exit"      // the user's method ended its goroutine
	ReasonRefused          = "refused"           // a hook of the proxy said no
	ReasonNoResult         = "no_result"         // a result was wanted of a method that has none
	ReasonOverloaded       = "overloaded"        // the provider's bound on requests, or on connections, was reached
	ReasonCertificate      = "certificate"       // a certificate was not accepted, by this side or the other
	ReasonTLS              = "tls"               // no TLS connection could be made for another reason
)

// ErrConnLost matches, by [errors.Is], every error of a call whose connection
// could not be made or ended before the answer.
var ErrConnLost = errors.New("connection lost")

// Error is every error that a call returns, and what a handler returns to choose
// code and details. An Error must not be modified after it was returned.
type Error struct {
	Code     Code
	Reason   string            // a lower-case word for programs; "" if the code says it all
	Phase    Phase             // how far the call had come; "" in a handler's own error
	Service  string            // filled in by the framework
	Method   string            // filled in by the framework
	Endpoint string            // address of the provider; "" if none was chosen
	Sent     Sent              // whether the provider can have seen the request
	Remote   bool              // the provider decided this; false: this side inferred it
	Message  string            // what happened, for people
	Hint     string            // what to do next, for people; may be ""
	Details  map[string]string // what a handler adds for programs; travels to the caller
	Cause    error             // the error underneath, for errors.Is and errors.As; does not travel
}

// Errorf returns an Error with a code and a formatted message; %w sets Cause, to all
// of them if there are several.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	cause := errors.Unwrap(err)
	if _, several := err.(interface{ Unwrap() []error }); several {
		cause = err
	}
	return &Error{Code: code, Message: err.Error(), Cause: cause}
}

// Error returns one line: code, what was called, where, phase, whether it was
// sent, what happened, what to do.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Code == 0 {
		b.WriteString(Unknown.String()) // a failure is never OK
	} else {
		b.WriteString(e.Code.String())
	}
	if e.Service != "" || e.Method != "" {
		fmt.Fprintf(&b, " %s.%s", e.Service, e.Method)
	}
	if e.Endpoint != "" {
		b.WriteString(" at " + e.Endpoint)
	}
	switch {
	case e.Phase != "" && e.Sent != "":
		fmt.Fprintf(&b, " (phase: %s, sent: %s)", e.Phase, e.Sent)
	case e.Phase != "":
		fmt.Fprintf(&b, " (phase: %s)", e.Phase)
	case e.Sent != "":
		fmt.Fprintf(&b, " (sent: %s)", e.Sent)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is makes the two codes that stand for context errors match them, wherever the
// context ended.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Code == Canceled
	case context.DeadlineExceeded:
		return e.Code == DeadlineExceeded
	}
	return false
}
