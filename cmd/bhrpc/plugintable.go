package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/spi"
)

// writePlugins writes plugins as a table; of which process they are, if they are of
// several.
func writePlugins(w io.Writer, reports []control.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	several := len(processes(reports)) > 1
	head := "NAME\tKIND\tSTATE\tPID\tSTARTS\tSHA256\tPLAN AGE\tPATH"
	if several {
		head = "PROCESS\t" + head
	}
	fmt.Fprintln(table, head)
	for _, r := range reports {
		for _, s := range r.Plugins {
			row := []string{printable(s.Name), kinds(s), printable(s.State), number(s.PID), fmt.Sprint(s.Generation), hashCell(s), planAge(s), printable(fromHere(s.Path))}
			if several {
				row = append([]string{fmt.Sprint(r.PID)}, row...)
			}
			fmt.Fprintln(table, strings.Join(row, "\t"))
		}
	}
	return table.Flush()
}

// kinds lists the kinds of what a plugin brings.
func kinds(s spi.PluginStatus) string {
	var all []string
	for _, e := range s.Extensions {
		if kind := printable(e.Kind); !slices.Contains(all, kind) {
			all = append(all, kind)
		}
	}
	return dash(all)
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// hashCell shows the beginning of the hash, and whether it is the configured one.
func hashCell(s spi.PluginStatus) string {
	if s.SHA256 == "" {
		return "-"
	}
	return printable(s.SHA256[:min(4, len(s.SHA256))]) + "…" + verified(s)
}

func verified(s spi.PluginStatus) string {
	if s.Verified {
		return "ok"
	}
	return "unverified"
}

// planAge shows the age of the youngest of the last good plans.
func planAge(s spi.PluginStatus) string {
	var youngest spi.Duration
	for _, e := range s.Extensions {
		if e.PlanAge > 0 && (youngest == 0 || e.PlanAge < youngest) {
			youngest = e.PlanAge
		}
	}
	return since(youngest)
}

func since(d spi.Duration) string {
	if d == 0 {
		return "-"
	}
	return short(d)
}

// fromHere returns a path relative to the working directory where it is below.
func fromHere(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(here, path)
	if err != nil || !filepath.IsLocal(relative) {
		return path
	}
	return "." + string(filepath.Separator) + relative
}

// inspectPlugins writes everything about each plugin.
func inspectPlugins(w io.Writer, reports []control.Report) error {
	first := true
	for _, r := range reports {
		for _, s := range r.Plugins {
			if !first {
				fmt.Fprintln(w)
			}
			first = false
			if err := inspectPlugin(w, r, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func inspectPlugin(w io.Writer, r control.Report, s spi.PluginStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", what, printable(fmt.Sprintf(format, args...)))
	}
	line("plugin", "%s of %s, process %d", s.Name, r.Program, r.PID)
	line("path", "%s", s.Path)
	line("state", "%s for %s", s.State, short(s.InState))
	line("process", "%s, generation %d", number(s.PID), s.Generation)
	if s.SHA256 != "" {
		line("sha256", "%s %s", s.SHA256, verified(s))
	}
	if s.SDK != "" {
		line("speaks", "protocol %d, %s", s.Protocol, s.SDK)
	}
	if s.LastExit != "" {
		line("last exit", "%s", s.LastExit)
	}
	line("exchanges", "%d, %d failed", s.Calls, s.Errors)
	if s.P50 > 0 {
		line("took", "p50 %v, p99 %v", s.P50, s.P99)
	}
	if s.RSS > 0 {
		line("uses", "%s resident, %s of processor time, %d files", size(uint64(s.RSS)), short(s.CPU), s.Files)
	}
	if s.Dropped > 0 {
		line("not logged", "%d lines, printed too fast", s.Dropped)
	}
	fmt.Fprintln(table)
	fmt.Fprintln(table, "KIND\tNAME\tOPENED\tSTAND-IN\tUSES OF IT\tPLAN AGE")
	for _, e := range s.Extensions {
		fallback := "-"
		if e.Fallback {
			fallback = "in use"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%s\n", printable(e.Kind), printable(e.Name), e.Opened, fallback, e.Fallbacks, since(e.PlanAge))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(s.LastLines) > 0 {
		fmt.Fprintln(w, "\nlast lines that it printed:")
		for _, text := range s.LastLines {
			if _, err := fmt.Fprintln(w, "  "+printable(text)); err != nil {
				return err
			}
		}
	}
	return nil
}
