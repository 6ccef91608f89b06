//go:build !race

package plugins

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
)

// The race detector needs more memory than this allows.
func TestMemoryLimit(t *testing.T) {
	cfg, _ := asPlugin(t, "plugin")
	cfg.Limits.Memory, cfg.CallTimeout, cfg.Restart = 512<<20, spi.Duration(time.Minute), quick(100)
	p, hook := opened(t, cfg)
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.Status().PID))
	if want := fmt.Sprintf("GOMEMLIMIT=%d", 512<<20/10*9); err != nil || !strings.Contains(string(environment), want) {
		t.Errorf("environment: got %q, %v, want %s in it", environment, err, want)
	}
	if got, err := p.Configure(t.Context(), "loadbalancer", "first", []byte(`{"share":888}`)); err == nil {
		t.Errorf("got %s, want that it dies of a GiB", got)
	}
	next(t, p, 1)
	// Which of its allocations fails first is the runtime's affair.
	if !slices.ContainsFunc(hook.AllEntries(), func(e *logrus.Entry) bool {
		return strings.Contains(e.Message, "fatal error") || strings.HasPrefix(e.Message, "runtime: ")
	}) {
		t.Errorf("got %d lines, none of which is about memory; last exit %q", len(hook.AllEntries()), p.Status().LastExit)
	}
}
