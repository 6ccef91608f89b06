package conform

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/spi"
)

// environment looks at what the process sees of the host.
func (r *runner) environment(f found) {
	process, ok := r.plugin.Process()
	if !ok {
		f.faultf("its process has ended%s", r.last.text())
		return
	}
	given, err := environmentOf(process.PID)
	if err != nil {
		f.skip(err.Error())
		return
	}
	for _, variable := range given {
		key, value, _ := strings.Cut(variable, "=")
		if configured, ok := r.cfg.Plugin.Env[key]; ok && configured == value {
			continue
		}
		if value != "" && slices.Contains(os.Environ(), variable) {
			f.faultf("it sees %s of the host; only what is configured must be passed on", key)
		}
	}
}

// end closes the plugin of the checks before, and looks at what is left.
func (r *runner) end(f found) {
	for _, closer := range slices.Backward(r.closers) {
		if err := closer.Close(); err != nil {
			f.notef("close an extension: %v", err)
		}
	}
	process, running := r.plugin.Process()
	r.close(f, r.plugin)
	if running {
		within(f, process.Ended, 0, "Close returned")
	}
	r.nothingLeft(f)
}

// close closes a plugin within the limit.
func (r *runner) close(f found, p *plugins.Plugin) {
	start := time.Now()
	if err := p.Close(); err != nil {
		f.faultf("close it: %v", err)
	}
	if took, most := time.Since(start), 3*r.cfg.Within; took > most {
		f.faultf("closing it took %v, want at most %v", took.Round(time.Millisecond), most)
	}
}

// within waits for the end of a process; since is what should have ended it.
func within(f found, ended <-chan struct{}, limit time.Duration, since string) {
	select {
	case <-ended:
		return
	default:
	}
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		f.faultf("the process was still there %v after %s", limit, since)
	}
}

// nothingLeft looks for processes of this run, which its marker names.
func (r *runner) nothingLeft(f found) {
	late := time.Now().Add(r.cfg.Within)
	for {
		left, err := marked(r.marker)
		if err != nil {
			f.notef("processes left behind: %v", err)
			return
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(late) {
			f.faultf("it left processes behind: %v; a plugin ends what it starts, since only its process group is killed", left)
			return
		}
		time.Sleep(10 * time.Millisecond) // there is nothing to wait on
	}
}

// killed looks at how soon the end of a process is seen, and for the next one.
func (r *runner) killed(ctx context.Context, f found) {
	p := r.open(ctx, f, r.cfg.Plugin)
	if p == nil {
		return
	}
	defer r.nothingLeft(f)
	defer r.close(f, p)
	process, ok := p.Process()
	if !ok {
		f.faultf("its process has ended%s", r.last.text())
		return
	}
	if err := kill(process.PID); err != nil {
		f.skip(err.Error())
		return
	}
	within(f, process.Ended, r.cfg.Within, "it was killed")
	r.replaced(f, p, process.Generation, func() {})
}

// stopped looks whether a process that does nothing more is replaced, and at how soon
// one is closed.
func (r *runner) stopped(ctx context.Context, f found) {
	cfg := r.cfg.Plugin
	cfg.CallTimeout = spi.DefaultPluginConfig().CallTimeout // answers that are late are found sooner than by health checks
	p := r.open(ctx, f, cfg)
	if p == nil {
		return
	}
	defer r.nothingLeft(f)
	process, ok := p.Process()
	if ok && stop(process.PID) == nil {
		process, ok = r.replaced(f, p, process.Generation, func() { _, _ = p.Configure(ctx, "", "", nil) })
	}
	if ok {
		if err := stop(process.PID); err != nil {
			f.skip(err.Error())
		}
	}
	r.close(f, p)
	if ok {
		within(f, process.Ended, 0, "Close returned")
	}
}

// noise starts the program by a script that prints before it.
func (r *runner) noise(ctx context.Context, f found) {
	if !scripts {
		f.skip("this system has no scripts that can stand in for a program")
		return
	}
	dir, err := os.MkdirTemp("", "bhrpc-conform-")
	if err != nil {
		f.faultf("make a directory: %v", err)
		return
	}
	defer os.RemoveAll(dir)
	cfg := r.cfg.Plugin
	script := filepath.Join(dir, "noise")
	// A line, one that is longer than a pipe holds, and one that is nearly a handshake.
	text := fmt.Sprintf("#!/bin/sh\necho before the handshake\nprintf '%%70000s\\n' long\necho '1|x|unix|/no|grpc'\nexec '%s' \"$@\"\n", strings.ReplaceAll(cfg.Path, "'", `'\''`))
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		f.faultf("write a script: %v", err)
		return
	}
	cfg.Path = script
	if cfg.SHA256, err = hash(script); err != nil {
		f.faultf("%v", err)
		return
	}
	p := r.open(ctx, f, cfg)
	if p == nil {
		f.faultf("what it prints before the handshake must not matter")
		return
	}
	for _, e := range p.Extensions() {
		if r.refused[e.Kind+" "+e.Name] {
			continue
		}
		if _, err := p.Configure(ctx, e.Kind, e.Name, r.cfg.With[e.Name]); err != nil {
			f.faultf("after noise on stdout: %v", err)
		}
	}
	r.close(f, p)
	r.nothingLeft(f)
}

// hostDeath kills a host and looks at how soon its plugin is gone.
func (r *runner) hostDeath(ctx context.Context, f found) {
	cmd, err := r.cfg.Host()
	if err != nil {
		f.skip(err.Error())
		return
	}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		f.faultf("start a host: %v", err)
		return
	}
	stopHost := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stopHost()
	var told hostReady
	err = json.NewEncoder(stdin).Encode(r.cfg.Plugin)
	if err == nil {
		err = json.NewDecoder(stdout).Decode(&told)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		f.faultf("a host of its own did not start it: %v\n%s", err, strings.TrimSpace(stderr.String()))
		return
	}
	gone, err := watchEnd(told.PID)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		f.skip(err.Error())
		return
	}
	if !gone(r.cfg.Within) {
		f.faultf("it was still there %v after its host was killed; it must end when the descriptor that BHRPC_LIFELINE_FD names is closed", r.cfg.Within)
		_ = kill(told.PID)
	}
	r.nothingLeft(f)
}

// hostReady is what [Host] prints.
type hostReady struct {
	PID int `json:"pid"` // of the plugin
}

// Host is the host that a check kills. It reads a [spi.PluginConfig] as JSON, starts
// that plugin, prints its process on one line, and closes it when in ends.
func Host(ctx context.Context, in io.Reader, out io.Writer, log logrus.FieldLogger) error {
	input := bufio.NewReader(in)
	line, err := input.ReadBytes('\n')
	var cfg spi.PluginConfig
	if err == nil {
		err = json.Unmarshal(line, &cfg)
	}
	if err != nil {
		return fmt.Errorf("read the configuration of a plugin: %w", err)
	}
	p, err := plugins.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer p.Close()
	process, ok := p.Process()
	if !ok {
		return fmt.Errorf("plugin %q ended at once", cfg.Name)
	}
	if err := json.NewEncoder(out).Encode(hostReady{process.PID}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, input)
	return nil
}
