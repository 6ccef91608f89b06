package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var connNumber = regexp.MustCompile(`conn=\d+`)

func TestDrillWrongUse(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no kind", []string{"drill"}, "bhrpc: name what to break; bhrpc drill --help lists the kinds\n"},
		{"unknown kind", []string{"drill", "freez"}, "bhrpc: no drill named \"freez\"; did you mean \"freeze\"?\n  known: corrupt, drop, freeze, half-open, kill-plugin, reconnect-storm, slow-reader\n"},
		{"interval too short", []string{"drill", "freeze", "--interval", "1ms"}, "bhrpc: --interval 1ms is not between 200ms and 5s\n"},
		{"no strikes", []string{"drill", "freeze", "--strikes", "0"}, "bhrpc: --strikes 0 is not between 1 and 20\n"},
		{"not an address", []string{"drill", "freeze", "--provider", "7070"}, "bhrpc: --provider \"7070\" is not an address of the form host:port, such as 127.0.0.1:7070\n"},
		{"a word too many", []string{"drill", "freeze", "drop"}, "bhrpc: unknown command \"drop\" for \"bhrpc drill freeze\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, stdout, stderr := execute(t, "no address", tt.args...)
			if status != 2 || stdout != "" || stderr != tt.want {
				t.Errorf("got %d, %q, %q, want 2, %q", status, stdout, stderr, tt.want)
			}
		})
	}
}

func TestDrillWithoutFile(t *testing.T) {
	status, stdout, stderr := execute(t, "no address", "drill", "freeze", "--config", "nowhere.yaml")
	if status != 2 || stdout != "" || !strings.HasPrefix(stderr, "bhrpc: read nowhere.yaml: ") {
		t.Errorf("got %d, %q, %q, want 2 and an error about nowhere.yaml", status, stdout, stderr)
	}
}

// drillHere drills again where the machine was too busy to drill at all, which is what
// the drill says itself, or to accept two hundred connections as they come: a herd that
// is one comes every time.
func drillHere(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	for range 3 {
		status, stdout, stderr = execute(t, "no address", slices.Clone(args)...)
		if !strings.Contains(stdout, "this process was starved") && !strings.Contains(stdout, " local pause ") && !strings.Contains(stdout, " as a herd") {
			break
		}
		t.Log(stdout)
	}
	return status, stdout, stderr
}

// The fastest kind; the others are tested under the tag fault.
func TestDrillCorrupt(t *testing.T) {
	status, stdout, stderr := drillHere(t, "drill", "corrupt", "--interval", "200ms")
	if status != 0 || stderr != "" {
		t.Errorf("got %d, %q, want 0", status, stderr)
	}
	checkTimeLine(t, stdout, []string{
		"connected conn= endpoint=a interval=200ms strikes=3",
		"connected conn= endpoint=b interval=200ms strikes=3",
		"drill one bit of the next frame from a is flipped",
		"lost conn= endpoint=a reason=protocol_error action=reconnect",
		"provider a reason=",
		"reconnected conn= endpoint=a attempt=1 down=",
		"RESULT pass protocol_error in ",
	})
}

// interrupter is an output that ends a context when a text is written to it.
type interrupter struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (i *interrupter) Write(b []byte) (int, error) {
	if strings.Contains(string(b), i.text) {
		i.cancel()
	}
	return i.Buffer.Write(b)
}

// Nothing of a drill is left that was interrupted.
func TestDrillInterrupted(t *testing.T) {
	for _, text := range []string{"connected", "drill ", "suspect"} {
		t.Run(text, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := interrupter{text: text, cancel: cancel}
			status := run(ctx, []string{"drill", "freeze", "--interval", "200ms"}, &out, io.Discard)
			if status != 1 || !strings.Contains(out.String(), "RESULT fail (") || !strings.Contains(out.String(), "interrupted") {
				t.Errorf("got %d, %s, want 1 and that it was interrupted", status, out.String())
			}
			left := goleak.Find()
			for end := time.Now().Add(10 * time.Second); left != nil && time.Now().Before(end); {
				left = goleak.Find() // it waits a little each time
			}
			if left != nil {
				t.Error(left)
			}
		})
	}
}

// checkTimeLine holds a time line against the beginnings of its lines, which come in
// this order but for neighbours that two sides print. Numbers of connections and
// spaces are left aside.
func checkTimeLine(t *testing.T, printed string, want []string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(printed) {
		line = strings.Join(strings.Fields(line), " ")
		if !strings.HasPrefix(line, "RESULT") {
			_, line, _ = strings.Cut(line, " ") // the time
		}
		got = append(got, connNumber.ReplaceAllString(line, "conn="))
	}
	at := 0
	for _, line := range want {
		found := false
		for i := max(0, at-2); i < len(got) && !found; i++ {
			if found = strings.HasPrefix(got[i], line); found {
				at = max(at, i+1)
				got[i] = "(seen) " + got[i]
			}
		}
		if !found {
			t.Errorf("no line %q in this place of\n%s", line, printed)
		}
	}
}
