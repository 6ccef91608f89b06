package plugins

import (
	"context"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/spi"
)

// openLater returns a plugin whose first start failed.
func openLater(_ context.Context, cfg spi.PluginConfig, log logrus.FieldLogger) *Plugin {
	cfg = cfg.Filled()
	p := &Plugin{cfg: cfg, log: log.WithField("plugin", cfg.Name), extensions: provided(cfg), turns: make(chan struct{}, cfg.MaxInflight)}
	var err error
	if p.room, err = openRoom(os.TempDir()); err != nil {
		p.closing.Do(func() { p.closeErr = err })
	}
	return p
}

// Status describes the plugin.
func (p *Plugin) Status() spi.PluginStatus {
	s := spi.PluginStatus{Name: p.cfg.Name, Path: p.cfg.Path, State: "stopped", Verified: p.cfg.SHA256 != ""}
	for _, info := range p.extensions {
		s.Extensions = append(s.Extensions, spi.PluginExtension{Kind: info.Kind, Name: info.Name})
	}
	if g := p.ready.Load(); g != nil {
		s.State, s.PID, s.Generation, s.SHA256, s.SDK, s.Protocol = "ready", g.process.cmd.Process.Pid, g.number, g.hash, g.sdk, protocolVersion
	}
	return s
}

// Restart replaces the process by a new one.
func (p *Plugin) Restart(ctx context.Context, sha256 string) error {
	cfg, number := p.cfg, uint64(1)
	if sha256 != "" {
		cfg.SHA256 = sha256
	}
	old := p.ready.Load()
	if old != nil {
		number = old.number + 1
	}
	g, err := startGeneration(ctx, cfg, p.room, number, p.log)
	if err != nil {
		return fmt.Errorf("restart plugin %q: %w", p.cfg.Name, err)
	}
	p.ready.Store(g)
	if old != nil {
		old.drain(ctx)
		old.end()
	}
	return nil
}
