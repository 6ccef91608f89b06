package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/control"
	"github.com/bhrpc/bhrpc/spi"
)

// writeConns writes the connections as a table.
func writeConns(w io.Writer, reports []control.Report) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "PID\tPROGRAM\tSIDE\tPEER\tSTATE\tIN FLIGHT\tIN\tOUT\tSERIALIZER\tAGE\tLAST IN\tNOTES")
	for _, r := range reports {
		program := printable(r.Program)
		if len(r.Conns) == 0 {
			fmt.Fprintf(table, "%d\t%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\tno connections\n", r.PID, program)
		}
		for _, c := range r.Conns {
			fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\n", r.PID, program, printable(c.Side), printable(c.Peer), printable(string(c.State)), cells(c))
		}
	}
	return table.Flush()
}

// cells are the columns from IN FLIGHT on. Those of a connection say nothing where
// there is none.
func cells(c core.ConnInfo) string {
	age := short(c.Age)
	if c.State == core.ConnBackoff || c.State == core.ConnConnecting && c.Side == "consumer" {
		return fmt.Sprintf("-\t-\t-\t-\t%s\t-\t%s", age, notes(c))
	}
	lastIn := "-"
	if c.BytesIn > 0 {
		lastIn = short(c.LastIn)
	}
	serializer := "-"
	if c.Serializer != "" {
		serializer = printable(c.Serializer)
	}
	return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s", c.InFlight, size(c.BytesIn), size(c.BytesOut), serializer, age, lastIn, notes(c))
}

// notes holds what is seldom there.
func notes(c core.ConnInfo) string {
	var all []string
	if c.Error != "" {
		all = append(all, printable(c.Error))
	}
	for _, n := range []struct {
		what  string
		count uint64
	}{{"reconnects", c.Reconnects}, {"late", c.Late}} {
		if n.count > 0 {
			all = append(all, fmt.Sprintf("%s=%d", n.what, n.count))
		}
	}
	if c.Queued > 0 {
		all = append(all, "queued="+size(uint64(c.Queued)))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, " ")
}

// size writes bytes with at most three digits and a fraction.
func size(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%dB", n)
	}
	v, unit := float64(n)/(1<<10), "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if v < 1000 {
			break
		}
		v, unit = v/(1<<10), next
	}
	return fmt.Sprintf("%.1f%s", v, unit)
}

// short writes a duration as a glance wants it.
func short(d spi.Duration) string {
	const day = 24 * time.Hour
	switch t := d.D(); {
	case t < time.Second:
		return fmt.Sprintf("%dms", t.Milliseconds())
	case t < time.Minute:
		return fmt.Sprintf("%.1fs", t.Truncate(100*time.Millisecond).Seconds())
	case t < time.Hour:
		return fmt.Sprintf("%dm%02ds", t/time.Minute, t%time.Minute/time.Second)
	case t < day:
		return fmt.Sprintf("%dh%02dm", t/time.Hour, t%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", t/day, t%day/time.Hour)
	}
}

// printable keeps what another process or a peer said from doing anything to the
// terminal but showing letters, in one cell and on its line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ';'
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
