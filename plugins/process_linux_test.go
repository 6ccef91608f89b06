package plugins

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bhrpc/bhrpc/spi"
	"golang.org/x/sys/unix"
)

func ownSession(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// play starts this test binary in a role. lines receives what it prints, as stray
// lines of its stdout, and is closed at the end of that.
func play(t *testing.T, role string) (p *process, lines <-chan string) {
	t.Helper()
	printed := make(chan string, 1000) // more than any role prints
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{roleEnv + "=" + role, "GIVEN=yes"}
	p, err := newProcess(cmd, spi.PluginLimits{NoFile: 77}, func(line []byte) { printed <- string(line) })
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(printed)
		_, _ = io.Copy(io.Discard, p.Stdout())
		_, _ = io.Copy(io.Discard, p.Stderr())
	}()
	t.Cleanup(func() {
		_ = p.Kill(context.Background())
		_ = p.Wait(context.Background())
		<-done
		p.close()
	})
	return p, printed
}

func TestProcessSeesNothingOfTheHost(t *testing.T) {
	t.Setenv("HOST_SECRET", "hunter2")
	_, lines := play(t, "environment")
	var all []string
	for line := range lines {
		all = append(all, strings.Join(strings.Fields(line), " "))
	}
	text := strings.Join(all, "\n")
	if strings.Contains(text, "HOST_SECRET") {
		t.Errorf("environment of the plugin: got the host's HOST_SECRET, want only what it was given:\n%s", text)
	}
	for _, want := range []string{"GIVEN=yes", lifelineEnv + "=3", "stdin /dev/null", "Max open files 77 77 files", "Max core file size 0 0 bytes"} {
		if !strings.Contains(text, want) {
			t.Errorf("plugin: got\n%s\nwant a line %q", text, want)
		}
	}
}

func TestProcessEnds(t *testing.T) {
	stop := func(t *testing.T, p *process) {
		if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, role string
		before     func(t *testing.T, p *process)
		end        func(p *process)
		want       string
	}{
		{"killed", "wait", nil, func(p *process) { _ = p.Kill(context.Background()) }, "signal: killed"},
		{"stopped, then killed", "wait", stop, func(p *process) { _ = p.Kill(context.Background()) }, "signal: killed"},
		{"host's end of the lifeline closed", "until lifeline", nil, func(p *process) { p.lifeline.Close() }, "exit status 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, lines := play(t, tt.role)
			if got := <-lines; got != "started" {
				t.Fatalf("first line: got %q, want %q", got, "started")
			}
			wantEnds(t, p.ends)
			if group, err := syscall.Getpgid(p.cmd.Process.Pid); err != nil || group != p.cmd.Process.Pid {
				t.Errorf("process group: got %d, %v, want its own, %d", group, err, p.cmd.Process.Pid)
			}
			if tt.before != nil {
				tt.before(t, p)
			}
			tt.end(p)
			<-p.exited
			if got := p.exitText(); got != tt.want {
				t.Errorf("end: got %q, want %q", got, tt.want)
			}
			if err := p.Kill(context.Background()); err != nil {
				t.Errorf("Kill of one that has ended: got %v, want nothing", err)
			}
		})
	}
}

// A child that was left behind holds the pipes: their end must come all the same.
func TestProcessLeavesAChild(t *testing.T) {
	tests := []struct {
		role string
		dies bool // with the group
	}{
		{"leave a child", true},
		{"leave a child with a group of its own", false},
	}
	for _, tt := range tests {
		t.Run(tt.role, func(t *testing.T) {
			p, lines := play(t, tt.role)
			child := 0
			for line := range lines { // ends although the child has the pipe
				if text, ok := strings.CutPrefix(line, "child "); ok {
					child, _ = strconv.Atoi(text)
				}
			}
			<-p.exited
			if child == 0 {
				t.Fatal("the plugin told of no child")
			}
			fd, err := unix.PidfdOpen(child, 0)
			if errors.Is(err, unix.ESRCH) {
				return // gone and collected
			}
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if !tt.dies {
				_ = unix.Kill(child, unix.SIGKILL)
			}
			wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(wait, 5000); n != 1 {
				t.Errorf("child %d: still there (%v), want it killed with the group", child, err)
			}
		})
	}
}

func TestProcessPassesOnTheHandshakeAlone(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{roleEnv + "=handshake in noise"}
	strays := 0
	p, err := newProcess(cmd, spi.PluginLimits{NoFile: 77}, func([]byte) { strays++ })
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := p.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for lines := bufio.NewScanner(p.Stdout()); lines.Scan(); {
		got = append(got, lines.Text())
	}
	_ = p.Wait(context.Background())
	if len(got) != 1 || got[0] != "1|1|unix|/a/socket|grpc|cert" || strays < 3 {
		t.Errorf("handshake: got %q and %d stray lines, want the one line and the others stray", got, strays)
	}
}

// TestAddressOfAHandshake: only a socket in the plugin's own directory is connected to.
func TestAddressOfAHandshake(t *testing.T) {
	tests := []struct {
		name, network, address, want string // want "": refused
	}{
		{"there", "unix", "/room/1/plugin-dir2/socket", "/room/1/plugin-dir2/socket"},
		{"there, on a way that links could lead elsewhere", "unix", "/room/1/plugin-dir2/link/../socket", "/room/1/plugin-dir2/socket"},
		{"elsewhere", "unix", "/tmp/socket", ""},
		{"above", "unix", "/room/1/plugin-dir2/../socket", ""},
		{"below", "unix", "/room/1/plugin-dir2/mine/socket", ""},
		{"the directory", "unix", "/room/1/plugin-dir2", ""},
		{"without a file", "unix", "@socket", ""},
		{"nothing", "unix", "", ""},
		{"on the network", "tcp", "127.0.0.1:7070", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &process{sockets: "/room/1/plugin-dir2", stdout: new(handshakeReader)}
			network, address, err := p.PluginToHost(tt.network, tt.address)
			if errors.Is(err, errHandshake) != (tt.want == "") || address != tt.want || err == nil && network != tt.network {
				t.Errorf("PluginToHost(%q, %q): got %q, %q, %v, want %q", tt.network, tt.address, network, address, err, tt.want)
			}
		})
	}
}

func TestProcessCannotStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/forbidden", []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, program string
		want          error
		text          string
	}{
		{"missing", "/missing", os.ErrNotExist, "/missing"},
		{"not to be executed", "/forbidden", os.ErrPermission, "must not be mounted noexec"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newProcess(exec.Command(dir+tt.program), spi.PluginLimits{NoFile: 77}, func([]byte) {})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Start(context.Background()); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Start: got %v, want %v with %q", err, tt.want, tt.text)
			}
			wantEnds(t, append(p.ends, p.stdout.file, p.stderr.file, p.lifeline))
		})
	}
}

// wantEnds checks that files are closed.
func wantEnds(t *testing.T, files []*os.File) {
	t.Helper()
	for i, file := range files {
		if err := file.Close(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("end %d of the pipes: got it open (%v), want it closed", i, err)
		}
	}
}
