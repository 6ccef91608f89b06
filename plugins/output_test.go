package plugins

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
)

func TestParseLine(t *testing.T) {
	for _, tt := range []struct {
		name, text, message string
		level               logrus.Level
		fields              string
	}{
		{"print", "hello", "hello", logrus.WarnLevel, "map[]"},
		{"log line", `{"@level":"info","@message":"opened","share":3}`, "opened", logrus.InfoLevel, "map[share:3]"},
		{"logrus's name of a level", `{"@level":"warning","@message":"m"}`, "m", logrus.WarnLevel, "map[]"},
		{"fatal does not end the host", `{"@level":"fatal","@message":"m"}`, "m", logrus.ErrorLevel, "map[]"},
		{"unknown level", `{"@level":"loud","@message":"m"}`, "m", logrus.InfoLevel, "map[]"},
		{"who it is cannot be forged", `{"@level":"info","@message":"m","plugin":"other","pid":1,"generation":9}`, "m", logrus.InfoLevel, "map[]"},
		{"fields that could be a line of their own", `{"@level":"info","@message":"m","a\nERROR m":1,"a=1 b":2,"":3,"a_b-c.D9":4}`, "m", logrus.InfoLevel, "map[a_b-c.D9:4]"},
		{"a name that is too long", `{"@level":"info","@message":"m","` + strings.Repeat("a", 65) + `":1,"` + strings.Repeat("b", 64) + `":2}`, "m", logrus.InfoLevel, "map[" + strings.Repeat("b", 64) + ":2]"},
		{"other JSON", `{"a":1}`, `{"a":1}`, logrus.WarnLevel, "map[]"},
		{"broken JSON", `{"@message":`, `{"@message":`, logrus.WarnLevel, "map[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			level, message, fields := parseLine([]byte(tt.text))
			if got := fmt.Sprint(map[string]any(fields)); level != tt.level || message != tt.message || got != tt.fields {
				t.Errorf("got %v %q %s, want %v %q %s", level, message, got, tt.level, tt.message, tt.fields)
			}
		})
	}
}

func FuzzParseLine(f *testing.F) {
	f.Add("hello")
	f.Add(`{"@level":"info","@message":"opened","share":3}`)
	f.Add(`{"@level":"info","@message":"a\nb\rc","d\ne":"f\ng"}`)
	f.Fuzz(func(t *testing.T, text string) {
		log, hook := test.NewNullLogger()
		var out output
		out.line(log, []byte(text))
		for _, e := range hook.AllEntries() {
			for _, s := range append(slices.Collect(maps.Keys(e.Data)), e.Message) {
				if strings.ContainsAny(s, "\r\n") {
					t.Errorf("got a message or the name of a field %q, want it on one line", s)
				}
			}
		}
		if text = strings.TrimSpace(text); text == "" {
			return
		}
		if level, _, _ := parseLine([]byte(text)); level < logrus.ErrorLevel {
			t.Errorf("got level %v, which ends the host", level)
		}
	})
}

// TestOutputIsBounded: what is printed too fast is counted, and said once per second.
func TestOutputIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, hook := test.NewNullLogger()
		var out output
		for i := range linesLogged + 7 {
			out.line(log, fmt.Append(nil, "line ", i))
		}
		if got := len(hook.AllEntries()); got != linesLogged {
			t.Errorf("got %d lines logged, want %d", got, linesLogged)
		}
		hook.Reset()
		time.Sleep(time.Second)
		out.line(log, []byte("after"))
		if all := hook.AllEntries(); len(all) != 2 || all[0].Data["lines"] != 7 || all[1].Message != "after" {
			t.Errorf("got %v a second later, want that 7 lines are missing, and the new one", all)
		}
		if last, dropped := out.kept(); len(last) != linesKept || last[linesKept-1] != "after" || dropped != 7 {
			t.Errorf("got %d lines kept and %d dropped, want %d and 7", len(last), dropped, linesKept)
		}
	})
}

// TestReason: what an earlier process printed explains nothing.
func TestReason(t *testing.T) {
	log, _ := test.NewNullLogger()
	var out output
	check := func(want string) {
		t.Helper()
		if got := out.reason(); got != want {
			t.Errorf("reason: got %q, want %q", got, want)
		}
	}
	out.begin()
	check("")
	for _, line := range []string{"before", "panic: old", "goroutine 1"} {
		out.line(log, []byte(line))
	}
	check("panic: old")
	out.begin()
	check("")
	out.line(log, []byte("no licence"))
	check("no licence")
	for range 2 * linesKept {
		out.line(log, []byte("more"))
	}
	check("more")
	out.line(log, []byte("fatal error: all goroutines are asleep"))
	check("fatal error: all goroutines are asleep")
}

func TestLines(t *testing.T) {
	var got []string
	w := lineWriter{line: func(line []byte) { got = append(got, string(line)) }}
	for _, text := range []string{"a", "b\nc\n\n", strings.Repeat("d", maxLine), "e\n"} {
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("Write: got %d, %v, want %d", n, err, len(text))
		}
	}
	want := []string{"ab", "c", "", strings.Repeat("d", maxLine), "e"}
	if n, err := w.Write([]byte("f" + strings.Repeat("g", 3*maxLine) + "\nh\n")); n != 3*maxLine+4 || err != nil {
		t.Errorf("Write of a long line: got %d, %v, want %d", n, err, 3*maxLine+4)
	}
	long := strings.Repeat("g", maxLine)
	want = append(want, "f"+long[1:], long, long, "g", "h")
	if cap(w.part) > 2*maxLine {
		t.Errorf("writer: got %d bytes kept, want about a line of %d", cap(w.part), maxLine)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("writer: got %.100q, want %.100q", got, want)
	}
	r, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = pipe.WriteString("one\n" + strings.Repeat("x", 2*maxLine) + "\nlast")
		_ = pipe.Close()
	}()
	got = nil
	read := lineReader{r, func(line []byte) { got = append(got, strings.TrimSpace(string(line))) }, make(chan struct{})}
	if n, err := read.Read(nil); n != 0 || err == nil {
		t.Errorf("Read: got %d, %v, want the end", n, err)
	}
	_ = read.Close()
	if len(got) < 4 || got[0] != "one" || got[len(got)-1] != "last" {
		t.Errorf("reader: got %.100q, want one, pieces of a long line, last", got)
	}
}
