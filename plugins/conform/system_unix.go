//go:build unix

package conform

import "syscall"

// scripts says that a script can stand in for a program.
const scripts = true

// kill ends a process at once.
func kill(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }

// stop lets a process do nothing more.
func stop(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }
