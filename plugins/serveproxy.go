package plugins

import (
	"context"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// proxies lets a host ask the hooks of a catalog.
type proxies struct {
	pluginv1.UnimplementedProxyServer
	shelf *shelf[spi.Proxy]
}

// hooks opens a proxy, once, and returns what is asked.
func (s *proxies) hooks(ctx context.Context, name string, with []byte) (spi.Hooks, error) {
	proxy, err := s.shelf.open(ctx, name, with, "")
	if err != nil {
		return nil, err
	}
	hooks, err := hooksOf(name, proxy)
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	return hooks, nil
}

// hooksOf returns the hooks within a proxy.
func hooksOf(name string, proxy spi.Proxy) (spi.Hooks, error) {
	inner, ok := proxy.(interface{ Hooks() spi.Hooks })
	if !ok {
		return nil, fmt.Errorf("proxy %q has no hooks, so it cannot live in a plugin: its open must return what spi.FromHooks makes", name)
	}
	return inner.Hooks(), nil
}

// Before asks the hook. Number 0 is no call: it only opens.
func (s *proxies) Before(ctx context.Context, in *pluginv1.Invocation) (*pluginv1.Verdict, error) {
	reply := &pluginv1.Verdict{Generation: in.GetGeneration(), Number: in.GetNumber()}
	hooks, err := s.hooks(ctx, in.GetName(), in.GetWith())
	if err != nil || in.GetNumber() == 0 {
		return reply, err
	}
	invocation := spi.Invocation{Service: in.GetService(), Version: in.GetVersion(), Group: in.GetGroup(), Method: in.GetMethod()}
	if pairs := in.GetMetadata(); len(pairs) > 0 {
		invocation.Metadata = receivedMetadata(pairs)
	}
	verdict, err := hooks.Before(ctx, invocation)
	if err != nil {
		reply.Instead = &pluginv1.Verdict_Failure{Failure: sentFailure(err)}
		return reply, nil
	}
	if verdict.Metadata != nil {
		reply.Metadata = &pluginv1.Verdict_Metadata{Pairs: sentMetadata(verdict.Metadata)}
	}
	switch {
	case verdict.Refuse != nil:
		reply.Instead = &pluginv1.Verdict_Refusal{Refusal: sentRefusal(verdict.Refuse)}
	case verdict.Answer != nil:
		reply.Instead = &pluginv1.Verdict_Answer{Answer: verdict.Answer}
	}
	return reply, nil
}

func sentRefusal(r *spi.Refusal) *pluginv1.Refusal {
	return &pluginv1.Refusal{Code: r.Code.String(), Message: text(r.Message), Details: texts(r.Details)}
}

// sentFailure keeps what an error says for programs.
func sentFailure(err error) *pluginv1.Failure {
	f := &pluginv1.Failure{Code: spi.CodeOf(err).String(), Message: text(err.Error())}
	var chosen *spi.Error
	if errors.As(err, &chosen) {
		f.Reason, f.Details = text(chosen.Reason), texts(chosen.Details)
		if err == error(chosen) {
			f.Message, f.Hint = text(chosen.Message), text(chosen.Hint)
		}
	}
	return f
}

// After tells the hook, one outcome after the other. One at which it panics does not
// count as told.
func (s *proxies) After(ctx context.Context, in *pluginv1.Outcomes) (*pluginv1.Ack, error) {
	hooks, err := s.hooks(ctx, in.GetName(), in.GetWith())
	if err != nil {
		return nil, err
	}
	ack := &pluginv1.Ack{Generation: in.GetGeneration()}
	for _, out := range in.GetOutcomes() {
		if tell(ctx, hooks, receivedOutcome(out)) {
			ack.Told++
		}
	}
	return ack, nil
}

// tell reports whether the hook returned.
func tell(ctx context.Context, hooks spi.Hooks, out spi.Outcome) (told bool) {
	defer func() {
		if r := recover(); r != nil { // the host counts it
			fmt.Fprintf(os.Stderr, "After of a proxy: panic: %v\n", r)
		}
	}()
	hooks.After(ctx, out)
	return true
}

func receivedOutcome(out *pluginv1.Outcome) spi.Outcome {
	return spi.Outcome{Service: out.GetService(), Method: out.GetMethod(), Endpoint: out.GetEndpoint(), Took: spi.Duration(out.GetTookNanos()),
		Code: codeNamed(out.GetCode()), Message: out.GetMessage()}
}
