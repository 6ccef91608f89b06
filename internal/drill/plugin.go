package drill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// kills is how often the plugin is killed.
const kills = 5

var killPlugin = Kind{
	Name:  "kill-plugin",
	Short: "the process that a load balancer lives in is killed, five times",
	Long: `The consumer's load balancer is a plugin: another process of this tool, whose plans the
consumer picks by. It is killed with kill -9 five times, while calls are made.

Expected: no call fails, since the last good plan is picked by; each time a new process
is there within 5 seconds, with restart.base at 20ms; goroutines and descriptors are as
before. The user's own providers can be called; the plugin is always the tool's.`,
	plan: func(c Config) plan { p := pair(c); p.plugin = true; return p },
	run: func(d *drill) {
		var took []time.Duration
		for range kills {
			back, ok := d.killPlugin()
			if !ok {
				return
			}
			took = append(took, back)
			d.pass(d.cfg.Interval)
		}
		s := d.consumers[0].Plugins()[0]
		if s.Generation != kills+1 {
			d.fault("got %d processes, want %d", s.Generation, kills+1)
		}
		least, most := took[0], took[0]
		for _, t := range took {
			least, most = min(least, t), max(most, t)
		}
		d.found = fmt.Sprintf("%d kills, a new process after %v to %v (bound %v)", kills, short(least), short(most), pluginBack)
	},
}

// pluginBack is how long a plugin that was killed may be away.
const pluginBack = 5 * time.Second

// killPlugin kills the plugin and waits for the next process.
func (d *drill) killPlugin() (took time.Duration, ok bool) {
	before := d.consumers[0].Plugins()[0]
	process, err := os.FindProcess(before.PID)
	if err == nil && before.PID > 0 {
		d.doing(fmt.Sprintf("kill -9 %d, which is the plugin", before.PID), func() { err = process.Kill() })
	}
	if process != nil {
		err = errors.Join(err, process.Release())
	}
	if err != nil || before.PID == 0 {
		d.fault("kill the plugin, pid %d: %v", before.PID, err)
		return 0, false
	}
	met := func() bool {
		now := d.consumers[0].Plugins()[0]
		return now.Generation > before.Generation && now.State == "ready"
	}
	if !d.await(pluginBack, met) {
		d.fault("no new process of the plugin within %v", pluginBack)
		return 0, false
	}
	return time.Since(d.broke), true
}

// pluginEvent is a log line about a plugin.
type pluginEvent struct{ message string }

// pluginHook is a logrus hook that journals what the host says of plugins.
type pluginHook struct{ journal *journal }

func (pluginHook) Levels() []logrus.Level { return logrus.AllLevels }

func (h pluginHook) Fire(e *logrus.Entry) error {
	word, ok := strings.CutPrefix(e.Message, "plugin ")
	if !ok || e.Data["plugin"] == nil {
		return nil
	}
	h.journal.note("plugin", pluginEvent{e.Message}, func() (string, string) {
		text := fmt.Sprintf("generation=%v", e.Data["generation"])
		for _, key := range []string{"pid", "exit", "fallback", "attempt", "after"} {
			if value := e.Data[key]; value != nil {
				text += fmt.Sprintf(" %s=%v", key, value)
			}
		}
		return "plugin " + word, text
	})
	return nil
}

// plug makes the consumer of cfg pick by a plugin, and returns what it is opened with.
func (s *stage) plug(cfg *bhrpc.Config) ([]bhrpc.Option, error) {
	if len(s.cfg.Plugin) == 0 {
		return nil, errors.New("no program to be the plugin")
	}
	dir, err := os.MkdirTemp("", "bhrpc-drill-")
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, directory(dir)) // which others cannot write to, as the checks of a plugin want
	program, err := os.ReadFile(s.cfg.Plugin[0])
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "plugin")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(program)
	log := logrus.New()
	log.Out = io.Discard
	log.AddHook(pluginHook{s.journal})
	cfg.Log = log
	return []bhrpc.Option{plugins.Loader}, errors.Join(
		cfg.Set("plugins", []any{map[string]any{"name": pluginName, "path": path, "args": s.cfg.Plugin[1:], "sha256": hex.EncodeToString(sum[:]),
			"env": s.cfg.PluginEnv, "required": true, "restart": map[string]any{"base": "20ms", "cap": "200ms", "max_starts": 100}}}),
		cfg.Set("consumer.loadbalancer", pluginName))
}

// pluginName is the name of the plugin and of its load balancer.
const pluginName = "drill"

// directory is a directory that is removed by Close.
type directory string

// Close removes the directory.
func (d directory) Close() error { return os.RemoveAll(string(d)) }

// ServePlugin makes this process the plugin that the drill kill-plugin kills. It returns
// at the end of its host.
func ServePlugin() error {
	cat := spi.NewCatalog()
	open := func(_ context.Context, env spi.Env, _ struct{}) (spi.LoadBalancer, error) {
		return spi.FromPlanner(even{}, env), nil
	}
	if err := spi.Register(cat.LoadBalancers, pluginName, "Spreads calls evenly.", struct{}{}, open); err != nil {
		return err
	}
	return plugins.Serve(cat)
}

// even plans the same share for all.
type even struct{}

func (even) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	weights := make([]int, len(stats.Endpoints))
	for i := range weights {
		weights[i] = 1
	}
	return spi.Plan{Weights: weights}, nil
}
