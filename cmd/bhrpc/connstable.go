package main

import (
	"bytes"
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

// writeConns writes the connections as a table, by process.
func writeConns(w io.Writer, reports []control.Report) error {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SIDE\tPEER\tSTATE\tSTRIKES\tRTT\tCALLS\tIN\tAGO\tOUT\tAGO\tSIGN\tSERIALIZER\tAGE\tNOTES")
	for _, r := range reports {
		for _, c := range r.Conns {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", printable(c.Side), printable(c.Peer), printable(string(c.State)), cells(c))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	lines := strings.SplitAfter(text.String(), "\n")
	all, lines := []string{lines[0]}, lines[1:]
	for _, r := range reports { // titles do not take part in the columns
		all = append(all, fmt.Sprintf("%s, process %d\n", printable(r.Program), r.PID))
		if len(r.Conns) == 0 {
			all = append(all, "no connections\n")
		}
		all, lines = append(all, lines[:len(r.Conns)]...), lines[len(r.Conns):]
	}
	_, err := io.WriteString(w, strings.Join(all, ""))
	return err
}

// cells are the columns from STRIKES on. Those of a connection say nothing where
// there is none, or where nothing has happened yet.
func cells(c core.ConnInfo) string {
	all := []string{"-", "-", "-", "-", "-", "-", "-", "-", "-", short(c.Age), notes(c)}
	if c.State == core.ConnBackoff || c.State == core.ConnConnecting && c.Side == "consumer" {
		return strings.Join(all, "\t")
	}
	if c.StrikesOf > 0 {
		all[0] = fmt.Sprintf("%d/%d", c.Strikes, c.StrikesOf)
	} else if c.Strikes > 0 {
		all[0] = fmt.Sprint(c.Strikes)
	}
	if c.RTT > 0 {
		all[1] = roundTrip(c.RTT)
	}
	all[2], all[3], all[5] = fmt.Sprint(c.InFlight), size(c.BytesIn), size(c.BytesOut)
	if c.BytesIn > 0 {
		all[4] = short(c.LastIn)
	}
	if c.BytesOut > 0 {
		all[6] = short(c.LastOut)
	}
	if c.ID > 0 {
		all[7] = short(c.LastSign)
	}
	if c.Serializer != "" {
		all[8] = printable(c.Serializer)
	}
	return strings.Join(all, "\t")
}

// roundTrip writes a duration that is often below a millisecond.
func roundTrip(d spi.Duration) string {
	if t := d.D(); t < 10*time.Millisecond {
		return fmt.Sprintf("%.1fms", float64(t)/float64(time.Millisecond))
	}
	return short(d)
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

// size writes bytes with at most three digits and a fraction; K is 1,024 of them.
func size(n uint64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%dB", n)
	}
	v, unit := float64(n)/(1<<10), "K"
	for _, next := range []string{"M", "G", "T"} {
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
