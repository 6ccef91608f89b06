//go:build unix

package plugins

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// inherit gives the process a group of its own and the lifeline.
func inherit(cmd *exec.Cmd, lifeline *os.File) {
	cmd.ExtraFiles = []*os.File{lifeline}
	cmd.Env = append(cmd.Env, lifelineEnv+"="+strconv.Itoa(lifelineFile))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// killGroup kills the process and all that it started and that stayed in its group.
func killGroup(process *os.Process) error {
	return syscall.Kill(-process.Pid, syscall.SIGKILL)
}
