package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/bhrpc/bhrpc"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run executes one command and returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "bhrpc",
		Short:         "bhrpc calls and inspects bhrpc providers",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(callCommand(), lsCommand(), connsCommand(), explainCommand(), configCommand(), extensionsCommand(), pluginCommand(), versionCommand(), drillCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var failed *callError
	var nothing nothingError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errDrill), errors.Is(err, errPluginTest): // and has said why
		return 1
	case errors.As(err, &nothing):
		fmt.Fprintln(stderr, nothing)
		return 1
	case errors.As(err, &failed):
		fmt.Fprintln(stderr, failed)
		return 1
	}
	text := strings.TrimSpace(err.Error())
	if !strings.HasPrefix(text, "bhrpc: ") {
		text = "bhrpc: " + text
	}
	fmt.Fprintln(stderr, text)
	return 2
}

// callError is a call that failed, as opposed to wrong use.
type callError struct {
	cause   *bhrpc.Error
	address string
}

func (c *callError) Unwrap() error { return c.cause }

// Error puts what happened on the first line and what to do on the second.
func (c *callError) Error() string {
	e := c.cause
	what := e.Message
	if e.Service != "" && !strings.Contains(what, e.Service+".") {
		what = e.Service + "." + e.Method + ": " + what
	}
	text := fmt.Sprintf("error %s %s at %s (phase: %s", e.Code, what, c.address, e.Phase)
	if e.Sent != "" {
		text += ", sent: " + string(e.Sent)
	}
	text += ")"
	var next []string
	if e.Hint != "" {
		next = append(next, e.Hint)
	}
	if e.Remote && e.Phase == "dispatch" {
		next = append(next, "list all: bhrpc ls "+c.address)
	}
	for key, value := range e.Details {
		next = append(next, key+"="+value)
	}
	if len(next) > 0 {
		text += "\n  " + strings.Join(next, "      ")
	}
	return text
}
