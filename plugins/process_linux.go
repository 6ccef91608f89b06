package plugins

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
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
func restrict(pid, maxFiles int) {
	files := uint64(maxFiles)
	_ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: files}, nil)
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
}

// endsAreSeen says that awaitEnd returns at the end of a process, before it is
// collected.
const endsAreSeen = true
