package plugins

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	maxLine     = 64 << 10 // the longest line that is looked at as a whole, in bytes
	linesKept   = 50       // of what a plugin printed, for bhrpc plugin inspect
	linesLogged = 200      // per second and plugin; more are counted only
)

// output is where everything that a plugin prints goes: a logger, at most linesLogged
// lines per second, and the memory of the last ones. It is safe for concurrent use.
type output struct {
	mu      sync.Mutex
	last    []string // at most linesKept
	fresh   int      // how many of last were printed since the last generation began
	second  time.Time
	logged  int    // since second began
	missed  int    // since then, too
	dropped uint64 // in all
}

// line takes one line of a generation, whose logger is log.
func (o *output) line(log logrus.FieldLogger, text []byte) {
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return
	}
	level, message, fields := parseLine(text)
	message = oneLine.Replace(message)
	allowed, missed := o.note(message)
	if missed > 0 {
		log.WithField("lines", missed).Warn("plugin printed more than is logged")
	}
	if !allowed {
		return
	}
	log.WithFields(fields).WithField("from", "plugin").Log(level, message)
}

// note remembers a line. It reports whether it may be logged, and how many of the
// second before might not.
func (o *output) note(message string) (allowed bool, missed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == linesKept {
		o.last = o.last[1:]
	}
	o.last = append(o.last, message)
	o.fresh = min(o.fresh+1, linesKept)
	if now := time.Now(); now.Sub(o.second) >= time.Second {
		missed, o.missed = o.missed, 0
		o.second, o.logged = now, 0
	}
	if o.logged++; o.logged > linesLogged {
		o.missed++
		o.dropped++
		return false, missed
	}
	return true, missed
}

// kept returns the last lines and how many were not logged.
func (o *output) kept() (last []string, dropped uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.last...), o.dropped
}

// begin notes that a generation begins, whose reason the lines before are not.
func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fresh = 0
}

// reason returns the line that says most about why a process ended: that of a panic or
// a fatal error of Go's, else the last; "" if nothing was printed since begin.
func (o *output) reason() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := o.last[len(o.last)-o.fresh:]
	for _, line := range fresh {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
	}
	if len(fresh) == 0 {
		return ""
	}
	return fresh[len(fresh)-1]
}

// parseLine finds level, message and fields in a line as [Serve] writes them: a JSON
// object with the keys @level and @message, as hclog has them. Everything else is a
// message, at the level Warn since nobody meant it for a log.
func parseLine(text []byte) (logrus.Level, string, logrus.Fields) {
	var line map[string]any
	if text[0] != '{' || json.Unmarshal(text, &line) != nil {
		return logrus.WarnLevel, string(text), nil
	}
	message, ok := line["@message"].(string)
	name, _ := line["@level"].(string)
	if !ok {
		return logrus.WarnLevel, string(text), nil
	}
	fields := make(logrus.Fields, len(line))
	for key, value := range line {
		if fieldName.MatchString(key) && !reserved[key] {
			fields[key] = value
		}
	}
	return level(name), message, fields
}

// fieldName is what a field may be called; others are left out. Formatters write names
// as they are, so that one with a new line in it would be a line of its own in the log.
var fieldName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// oneLine keeps a message to one line of the log, which formatters may write as it is.
var oneLine = strings.NewReplacer("\n", `\n`, "\r", `\r`)

// reserved fields say who printed a line; no plugin can say it itself.
var reserved = map[string]bool{"plugin": true, "pid": true, "generation": true, "from": true}

// level returns the level of that name, Info for one that is unknown, and never one
// that would end the host.
func level(name string) logrus.Level {
	l, err := logrus.ParseLevel(name)
	if err != nil {
		return logrus.InfoLevel
	}
	return max(l, logrus.ErrorLevel)
}

// lineReader hands the lines of a file to a function, and nothing to whoever reads
// from it: that is go-plugin, which would log them in its own way.
type lineReader struct {
	file  *os.File
	line  func([]byte)
	ended chan struct{} // closed by Read at the end of the file
}

// Read reads to the end of the file. It is called once.
func (r lineReader) Read([]byte) (int, error) {
	defer close(r.ended)
	lines := bufio.NewReaderSize(r.file, maxLine)
	for {
		line, err := lines.ReadSlice('\n') // a longer one comes in pieces
		r.line(line)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return 0, io.EOF // whatever ended it, nothing more comes
		}
	}
}

// Close closes the host's end.
func (r lineReader) Close() error { return r.file.Close() }

// lineWriter hands what is written to a function, line by line, and a line that is
// longer than maxLine in pieces. It is for one goroutine.
type lineWriter struct {
	line func([]byte)
	part []byte // of a line that is not complete; shorter than maxLine
}

// Write never fails.
func (w *lineWriter) Write(text []byte) (int, error) {
	for rest := text; len(rest) > 0; {
		piece, after, complete := bytes.Cut(rest, []byte("\n"))
		if free := maxLine - len(w.part); len(piece) > free {
			piece, after, complete = rest[:free], rest[free:], false
		}
		w.part = append(w.part, piece...)
		if complete || len(w.part) >= maxLine {
			w.line(w.part)
			w.part = w.part[:0]
		}
		rest = after
	}
	return len(text), nil
}
