package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

func callCommand() *cobra.Command {
	var timeout time.Duration
	var metadata []string
	var secured tlsFlags
	cmd := &cobra.Command{
		Use:   "call ADDRESS SERVICE.METHOD [JSON]...",
		Short: "Call a method; every argument is one JSON value",
		Example: `  bhrpc call 127.0.0.1:7070 Hello.Say '"world"'
  bhrpc call 127.0.0.1:7070 Shop.Order '{"item": "tea", "count": 2}' --timeout 1s`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := jsonArguments(args[2:])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			for _, pair := range metadata {
				key, value, ok := strings.Cut(pair, "=")
				if !ok || key == "" {
					return fmt.Errorf("--metadata %q is not of the form key=value", pair)
				}
				ctx = bhrpc.WithMetadata(ctx, key, value)
			}
			var result json.RawMessage
			took, err := callOne(ctx, args[0], &secured, args[1], timeout, &result, values)
			if err != nil {
				return err
			}
			return printResult(cmd.OutOrStdout(), cmd.ErrOrStderr(), result, took)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "time allowed for the call, connecting included")
	cmd.Flags().StringArrayVar(&metadata, "metadata", nil, "key=value to send with the call; may be repeated")
	secured.add(cmd)
	return cmd
}

// jsonArguments checks that every argument is one JSON value.
func jsonArguments(args []string) ([]any, error) {
	values := make([]any, len(args))
	for i, arg := range args {
		if !json.Valid([]byte(arg)) {
			quoted, _ := json.Marshal(arg)
			return nil, fmt.Errorf("argument %d, %s, is not JSON; text needs quotes of its own: '%s'", i+1, arg, quoted)
		}
		values[i] = json.RawMessage(arg)
	}
	return values, nil
}

// callOne connects to address, makes one call, and says how long the call took.
func callOne(ctx context.Context, address string, secured *tlsFlags, method string, timeout time.Duration, result any, args []any) (time.Duration, error) {
	if _, _, err := net.SplitHostPort(address); err != nil && !strings.HasPrefix(address, "unix://") {
		return 0, fmt.Errorf("%q is not an address of the form host:port, such as 127.0.0.1:7070, or unix:///path", address)
	}
	if timeout <= 0 {
		return 0, fmt.Errorf("--timeout %v is not positive", timeout)
	}
	app, err := dial(ctx, address, secured)
	if err != nil {
		return 0, err
	}
	defer app.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	err = bhrpc.Invoke(ctx, app, method, result, args...)
	var failed *bhrpc.Error
	switch {
	case !errors.As(err, &failed):
		return time.Since(start), err
	case failed.Reason == spi.ReasonNoResult: // and the call was made
		return time.Since(start), nil
	case failed.Phase == spi.PhaseResolve: // the method's name has no dot
		return 0, errors.New(failed.Message)
	}
	return 0, &callError{failed, address}
}

// dial returns an App for one address that speaks JSON and logs nothing: what goes
// wrong is in the error.
func dial(ctx context.Context, address string, secured *tlsFlags) (*bhrpc.App, error) {
	cfg, err := bhrpc.Load("")
	if err != nil {
		return nil, err
	}
	silent := logrus.New()
	silent.Out = io.Discard
	cfg.Log = silent
	err = errors.Join(cfg.Set("consumer.addresses", []string{address}), cfg.Set("consumer.serializer", "json"), cfg.Set("control", "off"), secured.set(cfg))
	if err != nil {
		return nil, err
	}
	return cfg.Open(ctx)
}

// printResult puts the result on standard output, where programs read it, and the
// time on standard error; on a terminal the two make one line.
func printResult(stdout, stderr io.Writer, result json.RawMessage, took time.Duration) error {
	text := string(result)
	if result == nil {
		text = "ok"
	}
	_, err := fmt.Fprint(stdout, text)
	fmt.Fprintf(stderr, "     (%.2f ms, json)", float64(took)/float64(time.Millisecond))
	if err == nil {
		_, err = fmt.Fprintln(stdout)
	}
	return err
}
