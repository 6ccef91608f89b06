package conform

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// environmentOf returns the variables that a process was started with.
func environmentOf(pid int) ([]string, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return nil, err
	}
	var variables []string
	for variable := range bytes.SplitSeq(content, []byte{0}) {
		variables = append(variables, string(variable))
	}
	return variables, nil
}

// marked returns the processes that were started with a variable, by number.
func marked(variable string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		content, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil { // gone, or another's
			continue
		}
		for one := range bytes.SplitSeq(content, []byte{0}) {
			if string(one) == variable {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids, nil
}

// watchEnd returns what waits for the end of a process that is no child of ours, and
// is called once. It is asked for while the process is certainly there.
func watchEnd(pid int) (gone func(limit time.Duration) bool, err error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	return func(limit time.Duration) bool {
		defer unix.Close(fd)
		for late := time.Now().Add(limit); ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(late).Milliseconds())))
			if !errors.Is(err, unix.EINTR) {
				return n == 1
			}
		}
	}, nil
}
