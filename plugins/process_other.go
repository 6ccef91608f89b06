//go:build !linux

package plugins

import (
	"os"
	"os/exec"

	"github.com/bhrpc/bhrpc/spi"
)

// awaitEnd cannot wait without collecting here.
func awaitEnd(*os.Process) {}

// restrict knows no limits for another process here.
func restrict(int, spi.PluginLimits) {}

// outlive knows no more than the lifeline here.
func outlive(*exec.Cmd) {}

const endsAreSeen = false
