package plugins

import (
	"slices"
	"sync"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// metered is how many exchanges the percentiles are of.
const metered = 512

// meter counts exchanges. It is safe for concurrent use.
type meter struct {
	mu            sync.Mutex
	calls, errors uint64
	took          []time.Duration // a ring of the last ones that were answered, at most metered
	next          int
}

// note counts an exchange.
func (m *meter) note(took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	switch {
	case err != nil:
		m.errors++
	case len(m.took) < metered:
		m.took = append(m.took, took)
	default:
		m.took[m.next] = took
		m.next = (m.next + 1) % metered
	}
}

// read returns the counts and the percentiles.
func (m *meter) read() (calls, errors uint64, p50, p99 time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sorted := slices.Sorted(slices.Values(m.took)); len(sorted) > 0 {
		p50, p99 = sorted[len(sorted)/2], sorted[len(sorted)*99/100]
	}
	return m.calls, m.errors, p50, p99
}

// Status describes the plugin as it is now.
func (p *Plugin) Status() spi.PluginStatus {
	p.mu.Lock()
	g := p.latest
	s := spi.PluginStatus{Name: p.cfg.Name, Path: p.cfg.Path, State: p.state, InState: spi.Duration(time.Since(p.since)),
		LastExit: p.lastExit, Protocol: protocolVersion}
	p.mu.Unlock()
	var p50, p99 time.Duration
	s.Calls, s.Errors, p50, p99 = p.meter.read()
	s.P50, s.P99 = spi.Duration(p50), spi.Duration(p99)
	s.LastLines, s.Dropped = p.output.kept()
	s.Extensions = p.usages.describe(p.extensions, time.Now())
	if g == nil {
		return s
	}
	s.Generation, s.SHA256, s.Verified, s.SDK = g.number, g.hash, g.verified, g.sdk
	if pid := g.process.cmd.Process.Pid; !isClosed(g.exited()) {
		s.PID = pid
		s.RSS, s.CPU, s.Files = usesOf(pid)
	}
	return s
}
