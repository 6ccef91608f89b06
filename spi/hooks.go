package spi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Hooks is a proxy as plain data: it sees each invocation before and after, and
// may rewrite its metadata, answer in its place or refuse it. So it can run in
// another process, at the cost of an exchange per call. [FromHooks] makes a
// [Proxy] of it. It is safe for concurrent use.
type Hooks interface {
	// Before is asked before the call is made. An error fails the call: with the
	// code, reason and details of the first [Error] in its tree, and with itself as
	// the cause. in's metadata must not be modified.
	Before(ctx context.Context, in Invocation) (Verdict, error)

	// After is told how a call ended, those that Before answered, refused or failed
	// included. ctx may have ended.
	After(ctx context.Context, out Outcome)
}

// Invocation is a call about to be made.
type Invocation struct {
	Service  string   `json:"service"`
	Version  string   `json:"version,omitempty"`
	Group    string   `json:"group,omitempty"`
	Method   string   `json:"method"`
	Metadata Metadata `json:"metadata,omitempty"` // the call's, and what its context adds
}

// Verdict says what becomes of an Invocation. The zero Verdict lets it pass. Refuse
// wins over Answer.
type Verdict struct {
	Metadata Metadata        `json:"metadata,omitzero"` // replaces the call's, unless nil; empty: none at all
	Answer   json.RawMessage `json:"answer,omitempty"`  // the result as JSON; the call is not made
	Refuse   *Refusal        `json:"refuse,omitempty"`  // the error; the call is not made
}

// Refusal is an error as plain data.
type Refusal struct {
	Code    Code              `json:"code"` // 0, as any other invalid one: PermissionDenied
	Message string            `json:"message"`
	Details map[string]string `json:"details,omitempty"`
}

// Outcome is how a call ended.
type Outcome struct {
	Service  string   `json:"service"`
	Method   string   `json:"method"`
	Endpoint string   `json:"endpoint,omitempty"` // "" if none was reached
	Took     Duration `json:"took"`
	Code     Code     `json:"code"`              // 0: no error
	Message  string   `json:"message,omitempty"` // of the error
}

// FromHooks returns a [Wrapper] that asks h around each invocation. It implements
// io.Closer, which closes h if h does.
func FromHooks(h Hooks) Proxy { return hooked{h} }

type hooked struct{ hooks Hooks }

// Hooks returns the inner contract, which is what crosses a process boundary.
func (p hooked) Hooks() Hooks { return p.hooks }

// Close closes the hooks.
func (p hooked) Close() error {
	if closer, ok := p.hooks.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

func (p hooked) Bind(any, Invoker) error {
	return errors.New("this proxy only wraps invocations; another one must bind")
}

func (p hooked) Intercept(next InvokeFunc) InvokeFunc {
	return func(ctx context.Context, call *Call) error {
		start := time.Now()
		out := Outcome{Service: call.Method.Service, Method: call.Method.Name}
		done, err := p.ask(ctx, call)
		if !done {
			err = next(ctx, call)
			out.Endpoint = call.Peer
		}
		out.Took, out.Code = Duration(time.Since(start)), CodeOf(err)
		if err != nil {
			out.Message = err.Error()
		}
		p.hooks.After(ctx, out)
		return err
	}
}

// ask lets Before decide. It reports whether the call is done, with an answer or an
// error, and not to be made.
func (p hooked) ask(ctx context.Context, call *Call) (done bool, err error) {
	verdict, err := p.hooks.Before(ctx, Invocation{call.Method.Service, call.Method.Version, call.Method.Group, call.Method.Name, call.Metadata})
	var failed *Error
	switch {
	case err != nil:
		failed = hookError(err)
	case verdict.Refuse != nil:
		failed = &Error{Code: verdict.Refuse.Code, Reason: ReasonRefused, Message: verdict.Refuse.Message, Details: verdict.Refuse.Details}
		if !failed.Code.Valid() {
			failed.Code = PermissionDenied
		}
	case verdict.Answer != nil:
		if call.Reply == nil {
			return true, nil
		}
		if err := json.Unmarshal(verdict.Answer, call.Reply); err != nil {
			failed = &Error{Code: Internal, Message: "answer of the proxy hook: " + err.Error(), Cause: err}
		}
	default:
		if verdict.Metadata != nil {
			call.Metadata = verdict.Metadata
		}
		return false, nil
	}
	if failed == nil {
		return true, nil
	}
	failed.Service, failed.Method, failed.Phase, failed.Sent = call.Method.Service, call.Method.Name, PhaseProxy, SentNo
	return true, failed
}

// hookError is an error of Before as the error of the call. What an [Error] says
// for programs is kept.
func hookError(err error) *Error {
	failed := &Error{Code: CodeOf(err), Message: "proxy hook: " + err.Error(), Cause: err}
	var chosen *Error
	if errors.As(err, &chosen) {
		failed.Reason, failed.Details = chosen.Reason, chosen.Details
		if err == error(chosen) {
			failed.Message, failed.Hint = "proxy hook: "+chosen.Message, chosen.Hint
		}
	}
	return failed
}
