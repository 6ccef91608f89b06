package conform

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Check is one thing that was looked at.
type Check struct {
	Name    string       `json:"name"`              // such as "handshake"; of a contract: "contract", kind, name, rule
	Cases   int          `json:"cases,omitempty"`   // rules that were applied; 0 for a check that is none of a contract
	Faults  []string     `json:"faults,omitempty"`  // what is wrong and what to do; none: it passed
	Notes   []string     `json:"notes,omitempty"`   // worth knowing, but no fault
	Skipped string       `json:"skipped,omitempty"` // why it could not be made; "": it was
	Took    spi.Duration `json:"took"`
}

// Report is what a run found.
type Report struct {
	Plugin     string       `json:"plugin"`
	SHA256     string       `json:"sha256"`
	Passed     bool         `json:"passed"`
	Extensions []spi.Info   `json:"extensions"`
	Checks     []Check      `json:"checks"`
	P50        spi.Duration `json:"p50"` // of an exchange with the slowest extension; 0: none was made
	P99        spi.Duration `json:"p99"`
}

// latency begins the names of the checks whose result is P50 and P99.
const latency = "latency "

// WriteText prints one line for a plugin that passed, and one per fault for others.
func (r Report) WriteText(out io.Writer) {
	var passed, skipped []string
	cases, sum := 0, -1 // of what passed, and where in passed it stands
	for _, c := range r.Checks {
		for _, fault := range c.Faults {
			fmt.Fprintf(out, "FAIL %s: %s\n", c.Name, strings.ReplaceAll(strings.TrimSpace(fault), "\n", "\n     "))
		}
		switch {
		case len(c.Faults) > 0 || strings.HasPrefix(c.Name, latency):
		case c.Skipped != "":
			skipped = append(skipped, c.Name+" ("+c.Skipped+")")
		case c.Cases > 0:
			if cases == 0 {
				sum = len(passed)
				passed = append(passed, "")
			}
			cases += c.Cases
		default:
			passed = append(passed, c.Name)
		}
	}
	if sum >= 0 {
		passed[sum] = fmt.Sprintf("%d contract cases", cases)
	}
	word := "PASS"
	if !r.Passed {
		word = "passed:"
	}
	if len(passed) > 0 {
		fmt.Fprintf(out, "%s %s", word, strings.Join(passed, " · "))
		if r.P50 > 0 {
			fmt.Fprintf(out, "      p50 %s  p99 %s", short(r.P50), short(r.P99))
		}
		fmt.Fprintln(out)
	}
	for _, what := range skipped {
		fmt.Fprintln(out, "not checked: "+what)
	}
}

// short is a duration of at most three digits.
func short(d spi.Duration) string {
	switch took := d.D(); {
	case took < 10*time.Millisecond:
		return fmt.Sprintf("%d µs", took.Microseconds())
	default:
		return fmt.Sprintf("%d ms", took.Milliseconds())
	}
}
