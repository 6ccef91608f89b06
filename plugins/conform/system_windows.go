package conform

import (
	"errors"
	"os"
	"time"
)

// scripts says that no script can stand in for a program.
const scripts = false

var errNotHere = errors.New("this system has neither signals nor a view of processes")

func environmentOf(int) ([]string, error) { return nil, errNotHere }

func marked(string) ([]int, error) { return nil, errNotHere }

// kill ends a process at once.
func kill(pid int) error {
	process, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer process.Release()
	return process.Kill()
}

func stop(int) error { return errNotHere }

func watchEnd(int) (func(time.Duration) bool, error) { return nil, errNotHere }
