package plugins

import (
	"os"
	"os/exec"
)

// inherit has neither groups nor a lifeline to give here.
func inherit(*exec.Cmd, *os.File) {}

// killGroup kills the process alone.
func killGroup(process *os.Process) error { return process.Kill() }
