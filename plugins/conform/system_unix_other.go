//go:build unix && !linux

package conform

import (
	"errors"
	"syscall"
	"time"
)

var errNotSeen = errors.New("this system does not show the processes of others")

func environmentOf(int) ([]string, error) { return nil, errNotSeen }

func marked(string) ([]int, error) { return nil, errNotSeen }

// watchEnd returns what waits for the end of a process that is no child of ours.
func watchEnd(pid int) (gone func(limit time.Duration) bool, err error) {
	return func(limit time.Duration) bool {
		for late := time.Now().Add(limit); time.Now().Before(late); time.Sleep(5 * time.Millisecond) { // there is nothing to wait on
			if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				return true
			}
		}
		return false
	}, nil
}
