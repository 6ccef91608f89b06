package conform

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// Config says what is checked and with what.
type Config struct {
	Plugin   spi.PluginConfig          // an empty SHA256 becomes that of the program, a CallTimeout of 0 5s: a busy machine is no fault of a plugin
	With     map[string][]byte         // configurations, JSON, by name of an extension; absent: its defaults
	Register func(*spi.Catalog) error  // adds what hosts have linked in
	Host     func() (*exec.Cmd, error) // a process that calls [Host] with its stdin and stdout
	Tell     func(Check)               // is told of every check once it was made; may be nil

	// Within is how soon a plugin must have ended after it was killed or its host was;
	// closing one may take three times as long. 0: 1s.
	Within time.Duration
}

// Run makes every check. ctx ends it early: what was not checked is then a fault. log
// gets what the plugin prints.
func Run(ctx context.Context, cfg Config, log logrus.FieldLogger) Report {
	marker := markerKey + "=" + rand.Text()
	cfg.Plugin.Env = maps.Clone(cfg.Plugin.Env)
	if cfg.Plugin.Env == nil {
		cfg.Plugin.Env = map[string]string{}
	}
	key, value, _ := strings.Cut(marker, "=")
	cfg.Plugin.Env[key] = value
	callTimeout := cfg.Plugin.Filled().CallTimeout
	if cfg.Plugin.CallTimeout == 0 {
		cfg.Plugin.CallTimeout = spi.Duration(5 * time.Second)
	}
	if cfg.Within == 0 {
		cfg.Within = time.Second
	}
	cfg.Plugin.PerCall = true // so that those that need it can be asked
	r := &runner{cfg: cfg, marker: marker, callTimeout: callTimeout, refused: map[string]bool{}, report: Report{Plugin: cfg.Plugin.Name}}
	r.log = r.last.tee(log)
	r.all(ctx)
	r.report.SHA256 = r.cfg.Plugin.SHA256
	r.report.Passed = !slices.ContainsFunc(r.report.Checks, func(c Check) bool { return len(c.Faults) > 0 })
	return r.report
}

// markerKey is an environment variable by which processes of a run are known.
const markerKey = "BHRPC_CONFORM"

// runner makes the checks, one after the other.
type runner struct {
	cfg         Config
	marker      string       // KEY=value
	callTimeout spi.Duration // of hosts
	log         logrus.FieldLogger
	last        lines
	report      Report
	refused     map[string]bool // extensions, "kind name", that cannot be opened
	plugin      *plugins.Plugin // of the checks that share one
	cat         *spi.Catalog    // with its extensions
	closers     []io.Closer     // of extensions that are in use
}

// found collects what a check finds. It is used by one goroutine.
type found struct{ check *Check }

func (f found) faultf(format string, args ...any) {
	f.check.Faults = append(f.check.Faults, fmt.Sprintf(format, args...))
}

func (f found) notef(format string, args ...any) {
	f.check.Notes = append(f.check.Notes, fmt.Sprintf(format, args...))
}

func (f found) skip(why string) { f.check.Skipped = why }

// check makes one check and reports whether it passed.
func (r *runner) check(name string, cases int, look func(f found)) bool {
	c := &Check{Name: name, Cases: cases}
	start := time.Now()
	look(found{c})
	if c.Took == 0 {
		c.Took = spi.Duration(time.Since(start))
	}
	r.report.Checks = append(r.report.Checks, *c)
	if r.cfg.Tell != nil {
		r.cfg.Tell(*c)
	}
	return len(c.Faults) == 0
}

func (r *runner) all(ctx context.Context) {
	if !r.check("handshake", 0, func(f found) { r.handshake(ctx, f) }) {
		return // nothing else can be asked
	}
	if r.check("describe", 0, r.describe) {
		r.check("config", 0, func(f found) { r.configure(ctx, f) })
		r.contracts(ctx)
	}
	r.check("environment", 0, r.environment)
	r.check("end", 0, r.end)
	r.check("call_timeout", 0, func(f found) { r.inTime(ctx, f) })
	r.check("kill -9", 0, func(f found) { r.killed(ctx, f) })
	r.check("SIGSTOP", 0, func(f found) { r.stopped(ctx, f) })
	r.check("stdout noise", 0, func(f found) { r.noise(ctx, f) })
	r.check("host death", 0, func(f found) { r.hostDeath(ctx, f) })
}

// handshake starts the program and keeps it for the checks that follow.
func (r *runner) handshake(ctx context.Context, f found) {
	if r.cfg.Plugin.SHA256 == "" {
		hash, err := hash(r.cfg.Plugin.Path)
		if err != nil {
			f.faultf("%v", err)
			return
		}
		r.cfg.Plugin.SHA256 = hash
	}
	start := time.Now()
	r.plugin = r.open(ctx, f, r.cfg.Plugin)
	f.notef("ready after %v", time.Since(start).Round(time.Millisecond))
}

// open starts a plugin; nil, and a fault, if it does not start.
func (r *runner) open(ctx context.Context, f found, cfg spi.PluginConfig) *plugins.Plugin {
	r.last.clear()
	p, err := plugins.Open(ctx, cfg, r.log)
	if err != nil {
		f.faultf("%v%s", err, r.last.text())
		return nil
	}
	if _, ok := p.Process(); !ok {
		f.faultf("its process ended at once%s", r.last.text())
		_ = p.Close()
		return nil
	}
	return p
}

// hash returns the SHA-256 of a file, in hexadecimal digits.
func hash(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// lines keeps the last lines that were logged. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	kept []string
}

// keptLines is how many lines of a plugin a fault shows.
const keptLines = 10

// tee returns a logger whose lines are kept and go to log.
func (l *lines) tee(log logrus.FieldLogger) logrus.FieldLogger {
	tee := logrus.New()
	tee.Out = io.Discard
	tee.Level = logrus.DebugLevel
	tee.AddHook(&keeper{l, log})
	return tee
}

type keeper struct {
	lines *lines
	log   logrus.FieldLogger
}

// Levels implements logrus.Hook.
func (*keeper) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (k *keeper) Fire(entry *logrus.Entry) error {
	k.lines.mu.Lock()
	k.lines.kept = append(k.lines.kept, strings.TrimSpace(entry.Message))
	k.lines.kept = k.lines.kept[max(0, len(k.lines.kept)-keptLines):]
	k.lines.mu.Unlock()
	k.log.WithFields(entry.Data).Log(entry.Level, entry.Message)
	return nil
}

func (l *lines) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = nil
}

// text returns the lines, each on one of its own.
func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var text strings.Builder
	for _, line := range l.kept {
		fmt.Fprintf(&text, "\n| %.300s", line)
	}
	return text.String()
}
