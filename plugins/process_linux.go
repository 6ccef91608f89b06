package plugins

import (
	"errors"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/bhrpc/bhrpc/spi"
)

// awaitEnd waits until the process has ended and leaves it to be collected, so that
// the number of its group cannot become another's yet.
func awaitEnd(process *os.Process) {
	for {
		err := unix.Waitid(unix.P_PID, process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// restrict bounds what the process may use. It has just started, or ended: an error
// changes nothing.
func restrict(pid int, limits spi.PluginLimits) {
	set := func(resource int, most uint64) {
		_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil)
	}
	set(unix.RLIMIT_NOFILE, uint64(limits.NoFile))
	set(unix.RLIMIT_CORE, 0)
	if limits.Memory > 0 {
		set(unix.RLIMIT_DATA, uint64(limits.Memory)) // private memory that can be written, since Linux 4.7
	}
}

// outlive makes the kernel kill the process when the thread that starts it ends, so
// that thread must be the supervisor's own. It covers what the lifeline cannot: a
// plugin that is stopped while its host is killed.
func outlive(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = unix.SIGKILL }

// endsAreSeen says that awaitEnd returns at the end of a process, before it is
// collected.
const endsAreSeen = true
