package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/spf13/cobra"
)

func pluginLsCommand() *cobra.Command {
	var plugins pluginFlags
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the plugins of this user's running processes",
		Long: `List the plugins of every process of this user that uses bhrpc. PLAN AGE is how old
the last good plan of a load balancer is. The hash is followed by ok where it is
the configured one, by unverified where none is configured. PATH is relative to this
directory where it is below. A process with control: off is not shown.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reports, err := plugins.ask(cmd, "")
			if err != nil {
				return err
			}
			if plugins.asJSON {
				return printJSON(cmd.OutOrStdout(), reports)
			}
			return writePlugins(cmd.OutOrStdout(), reports)
		},
	}
	plugins.add(cmd)
	return cmd
}

func pluginInspectCommand() *cobra.Command {
	var plugins pluginFlags
	cmd := &cobra.Command{
		Use:   "inspect NAME",
		Short: "Show everything about a plugin, the last lines that it printed included",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reports, err := plugins.ask(cmd, args[0])
			if err != nil {
				return err
			}
			if plugins.asJSON {
				return printJSON(cmd.OutOrStdout(), reports)
			}
			return inspectPlugins(cmd.OutOrStdout(), reports)
		},
	}
	plugins.add(cmd)
	return cmd
}

func pluginRestartCommand() *cobra.Command {
	var plugins pluginFlags
	var sha256 string
	cmd := &cobra.Command{
		Use:   "restart NAME",
		Short: "Replace the process of a plugin by a new one, without losing a call",
		Long: `Start a plugin's program anew, let it take over when it is ready, and end the old
process when its calls have finished. If the new one does not start the old one stays.

The program is read again from its path. If it is another one than before, --sha256
says its hash, which bhrpc plugin pin prints; it holds until the host ends, so pin it in
the configuration too. A plugin of this name in several processes needs --pid.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			reports, err := plugins.ask(cmd, args[0])
			if err != nil {
				return err
			}
			if pids := processes(reports); len(pids) > 1 {
				return fmt.Errorf("plugin %q is in the processes %s; choose one by --pid", args[0], strings.Join(pids, ", "))
			}
			for i, r := range reports {
				if reports[i], err = r.Restart(cmd.Context(), args[0], sha256); err != nil {
					return nothingError(printable(err.Error()))
				}
			}
			reports = only(reports, args[0])
			if plugins.asJSON {
				return printJSON(cmd.OutOrStdout(), reports)
			}
			return writePlugins(cmd.OutOrStdout(), reports)
		},
	}
	cmd.Flags().StringVar(&sha256, "sha256", "", "hash of the new program; empty: the configured one")
	plugins.add(cmd)
	return cmd
}

// pluginFlags say which processes are asked, and how they are shown.
type pluginFlags struct {
	pid    int
	asJSON bool
}

func (p *pluginFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.pid, "pid", 0, "only the process with this number")
	cmd.Flags().BoolVar(&p.asJSON, "json", false, "print JSON")
}

// ask returns the reports of the processes that have plugins, with the one called name
// or, for "", all. That there are none is an error.
func (p *pluginFlags) ask(cmd *cobra.Command, name string) ([]control.Report, error) {
	if cmd.Flags().Changed("pid") && p.pid <= 0 {
		return nil, fmt.Errorf("--pid %d is not the number of a process", p.pid)
	}
	dirs := control.Directories(os.Getenv("XDG_RUNTIME_DIR"))
	all, failed := control.AskPlugins(cmd.Context(), dirs, p.pid)
	if cmd.Context().Err() != nil {
		return nil, nothingError(context.Canceled.Error())
	}
	slices.SortStableFunc(all, func(a, b control.Report) int { return cmp.Compare(a.PID, b.PID) })
	reports := only(all, name)
	switch {
	case len(reports) > 0:
		if failed != nil {
			fmt.Fprintln(cmd.ErrOrStderr(), "bhrpc: "+printable(failed.Error()))
		}
		return reports, nil
	case failed != nil:
		return nil, nothingError(printable(failed.Error()))
	case name != "" && len(only(all, "")) > 0:
		return nil, nothingError(noPlugin(all, name))
	}
	c := connsPrinter{dirs: dirs, pid: p.pid}
	if len(all) == 0 {
		return nil, nothingError(c.nothing())
	}
	return nil, nothingError("no process of this user has plugins\n  the key plugins of its configuration lists them, docs/plugins.md")
}

// only returns the reports with the one plugin called name, or, for "", with any.
func only(reports []control.Report, name string) []control.Report {
	var kept []control.Report
	for _, r := range reports {
		r.Plugins = slices.DeleteFunc(slices.Clone(r.Plugins), func(s spi.PluginStatus) bool { return name != "" && s.Name != name })
		if len(r.Plugins) > 0 {
			kept = append(kept, r)
		}
	}
	return kept
}

// noPlugin says that no process has a plugin of that name, and which there are.
func noPlugin(reports []control.Report, name string) string {
	var names []string
	for _, r := range reports {
		for _, s := range r.Plugins {
			names = append(names, printable(s.Name))
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	message := fmt.Sprintf("no plugin named %q", name)
	if near := spi.Nearest(name, names); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	return message + "\n  plugins: " + strings.Join(names, ", ")
}

// processes returns the numbers of the processes that the reports are of.
func processes(reports []control.Report) []string {
	var pids []string
	for _, r := range reports {
		pids = append(pids, fmt.Sprint(r.PID))
	}
	return slices.Compact(pids)
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
