//go:build (faultnet || faultlong) && linux

package fault_test

import (
	"context"
	"os"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/control"
)

// conns asks the process for its connections, as bhrpc conns does.
func (p *proc) conns() []core.ConnInfo {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reports, err := control.Ask(ctx, control.Directories(os.Getenv("XDG_RUNTIME_DIR")), p.cmd.Process.Pid)
	must(p.t, err)
	var all []core.ConnInfo
	for _, r := range reports {
		all = append(all, r.Conns...)
	}
	return all
}
