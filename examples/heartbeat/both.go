//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// both starts the provider and the consumer, and stops each of them once.
func both() error {
	provider, err := start("provider")
	if err != nil {
		return err
	}
	defer provider.kill()
	ready, err := provider.until("provider ready")
	if err != nil {
		return err
	}
	if _, err := provider.until("try:"); err != nil {
		return err
	}
	_, address, _ := strings.Cut(ready, "addr=")
	address, _, _ = strings.Cut(address, " ")
	consumer, err := start("consumer", "HEARTBEAT_PROVIDER="+address)
	if err != nil {
		return err
	}
	defer consumer.kill()
	if _, err := consumer.until("hello, world"); err != nil {
		return err
	}
	if err := frozen(provider, consumer, consumer); err != nil {
		return err
	}
	if err := frozen(consumer, provider, consumer); err != nil {
		return err
	}
	return errors.Join(consumer.end(), provider.end())
}

// frozen stops one process until the other has found it dead, and waits until they
// are connected again.
func frozen(one, other, consumer *process) error {
	fmt.Printf("--- the %s is stopped\n", one.name)
	if err := one.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	if _, err := other.until("disconnected"); err != nil {
		return err
	}
	fmt.Printf("--- the %s goes on\n", one.name)
	if err := one.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	_, err := consumer.until("reconnected")
	return err
}

// process is this program in one role. What it prints waits until somebody asks, so
// the two do not mix.
type process struct {
	name  string
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func start(role string, env ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), "HEARTBEAT_ROLE="+role), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	return &process{role, cmd, bufio.NewScanner(out)}, cmd.Start()
}

// until prints what the process prints, up to a line with text, and returns that.
func (p *process) until(text string) (string, error) {
	for p.lines.Scan() {
		fmt.Printf("%s| %s\n", p.name, p.lines.Text())
		if strings.Contains(p.lines.Text(), text) {
			return p.lines.Text(), nil
		}
	}
	return "", fmt.Errorf("the %s ended before it printed %q", p.name, text)
}

// end interrupts the process and prints the rest.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	for p.lines.Scan() {
		fmt.Printf("%s| %s\n", p.name, p.lines.Text())
	}
	return p.cmd.Wait()
}

// kill ends the process if it still runs, stopped or not.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}
