package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/spf13/cobra"
)

func connsCommand() *cobra.Command {
	var pid int
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use:   "conns",
		Short: "Show the connections of this user's running processes",
		Long: `Show every connection of every process of this user that uses bhrpc: the two ends
if both run here, endpoints without a connection and why they have none.

STRIKES are heartbeats in a row without an answer, of so many that are the end, and
RTT is how long the last one took. CALLS have no answer yet. IN and OUT are bytes that
the process has read and written, each with how long AGO the last ones were; SIGN is
how long ago the last sign of life was, which a heartbeat of the peer's own is not.
A process with control: off is not shown.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("conns looks at the processes of this user, not at %q; --pid chooses one of them, and bhrpc ls ADDRESS asks a provider what it serves", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("pid") && pid <= 0 {
				return fmt.Errorf("--pid %d is not the number of a process", pid)
			}
			c := connsPrinter{dirs: control.Directories(os.Getenv("XDG_RUNTIME_DIR")), pid: pid, asJSON: asJSON, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
			if watch {
				return c.watch(cmd.Context(), time.Second)
			}
			return c.once(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&pid, "pid", 0, "only the process with this number")
	cmd.Flags().BoolVar(&watch, "watch", false, "show them anew every second, until Ctrl-C")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON; with --watch a line each time")
	return cmd
}

// nothingError is that there is nothing to show, or that a process refused to do what it
// was asked to, as opposed to wrong use.
type nothingError string

func (e nothingError) Error() string { return "bhrpc: " + string(e) }

// connsPrinter shows connections.
type connsPrinter struct {
	dirs   []string
	pid    int // 0: all
	asJSON bool
	out    io.Writer
	errs   io.Writer
}

func (c connsPrinter) once(ctx context.Context) error {
	reports, err := c.ask(ctx)
	switch {
	case ctx.Err() != nil:
		return nil
	case c.asJSON:
		encoder := json.NewEncoder(c.out)
		encoder.SetIndent("", "  ")
		return errors.Join(c.complain(err), encoder.Encode(reports))
	case len(reports) == 0 && err != nil:
		return nothingError(err.Error())
	case len(reports) == 0:
		return nothingError(c.nothing())
	}
	return errors.Join(c.complain(err), writeConns(c.out, reports))
}

// watch shows them until ctx ends. On a terminal they stay in place.
func (c connsPrinter) watch(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	inPlace := isTerminal(c.out) && !c.asJSON
	if inPlace {
		fmt.Fprint(c.out, "\x1b[2J")
	}
	for {
		reports, err := c.ask(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if failed := c.block(reports, err, inPlace); failed != nil {
			return failed
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// block prints what watch shows each time.
func (c connsPrinter) block(reports []control.Report, failed error, inPlace bool) error {
	if c.asJSON {
		return errors.Join(c.complain(failed), json.NewEncoder(c.out).Encode(reports))
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, time.Now().Format(time.TimeOnly))
	var err error
	if len(reports) == 0 {
		fmt.Fprintln(&b, c.nothing())
	} else {
		err = writeConns(&b, reports)
	}
	if failed != nil {
		fmt.Fprintln(&b, printable(failed.Error()))
	}
	text := b.String() + "\n"
	if inPlace { // to the top; clear the rest of each line, and what is below
		text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\n") + "\x1b[J"
	}
	_, failed = io.WriteString(c.out, text)
	return errors.Join(err, failed)
}

// ask returns the answers by process; never nil.
func (c connsPrinter) ask(ctx context.Context) ([]control.Report, error) {
	reports, err := control.Ask(ctx, c.dirs, c.pid)
	slices.SortStableFunc(reports, func(a, b control.Report) int { return cmp.Compare(a.PID, b.PID) })
	if reports == nil {
		reports = []control.Report{}
	}
	return reports, err
}

// complain says on standard error who did not answer.
func (c connsPrinter) complain(err error) error {
	if err == nil {
		return nil
	}
	_, err = fmt.Fprintln(c.errs, "bhrpc: "+printable(err.Error()))
	return err
}

// nothing says why nothing is shown and what to do.
func (c connsPrinter) nothing() string {
	who := "no process of this user"
	if c.pid != 0 {
		who = fmt.Sprintf("no process %d of this user", c.pid)
	}
	return fmt.Sprintf("%s has a control socket in %s\n  start a program that uses bhrpc, as the same user and with the same XDG_RUNTIME_DIR; its key control must not be off",
		who, strings.Join(c.dirs, " or "))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
