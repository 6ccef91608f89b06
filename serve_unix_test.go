//go:build unix

package bhrpc_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/spi"
)

// A signal ends Serve as if it came from outside: the test sends one to its own
// process when the provider listens.
func TestServeStopsAtASignal(t *testing.T) {
	t.Setenv("BHRPC_PROVIDER_LISTEN", "127.0.0.1:0")
	printed, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer printed.Close()
	defer func(old *os.File) { os.Stderr = old }(os.Stderr)
	os.Stderr = stderr
	served := make(chan error)
	go func() {
		defer stderr.Close()
		served <- bhrpc.Serve(Hello{})
	}()
	lines := bufio.NewScanner(printed)
	if !lines.Scan() {
		t.Fatal("Serve printed nothing")
	}
	address := regexp.MustCompile(`addr=(\S+)`).FindStringSubmatch(lines.Text())
	if address == nil {
		t.Fatalf("got %q, want an address in it", lines.Text())
	}
	app := dial(t, nil, address[1])
	if got, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "world"); got != "hello, world" || err != nil {
		t.Errorf("got %q, %v, want hello, world", got, err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, bhrpc.ErrStopped) {
		t.Errorf("got %v, want %v", err, bhrpc.ErrStopped)
	}
}

// A first signal waits for what is in flight, a second one ends the process at once,
// whatever its handlers do. The process is this test's program; see TestMain.
func TestSecondSignalEndsTheProcess(t *testing.T) {
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
	}{{"SIGTERM", syscall.SIGTERM}, {"SIGINT", syscall.SIGINT}} {
		t.Run(tt.name, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), os.Args[0])
			program.Env = append(os.Environ(), "SERVE_STUCK=1", "BHRPC_PROVIDER_LISTEN=127.0.0.1:0", "BHRPC_PROVIDER_DRAIN_TIMEOUT=1h")
			stderr, err := program.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stderr)
			until := func(part string) string {
				for lines.Scan() {
					if strings.Contains(lines.Text(), part) {
						return lines.Text()
					}
				}
				t.Fatalf("the program did not print %q", part)
				return ""
			}
			address := regexp.MustCompile(`addr=(\S+)`).FindStringSubmatch(until("provider ready"))
			app := dial(t, map[string]any{"consumer.timeout": "1h"}, address[1])
			call := begin(t, app, "stuck.Hang", "x")
			until("hanging")
			if err := program.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			until("provider draining")
			if err := program.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			err = program.Wait()
			if status, ok := program.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != tt.signal {
				t.Errorf("got %v, want the process ended by %v", err, tt.signal)
			}
			if got := <-call; spi.CodeOf(got.err) != spi.Unavailable {
				t.Errorf("got %+v, want UNAVAILABLE", got)
			}
		})
	}
}

// refusing returns an address that refuses connections, and that nobody else gets:
// a socket is bound to it and does not listen.
func refusing(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}

func TestProviderNotStarted(t *testing.T) {
	address := refusing(t)
	app := dial(t, nil, address)
	_, err := bhrpc.Call[string](t.Context(), app, "Hello.Say", "world")
	// The attempt of the start may be over already; the call then waits for the next.
	want := regexp.MustCompile(`^UNAVAILABLE Hello\.Say at ` + address + ` \(phase: dial, sent: no\): connection refused(; \d+ attempts in \S+)?; is the provider started\?$`)
	if !want.MatchString(fmt.Sprint(err)) || !errors.Is(err, spi.ErrConnLost) {
		t.Errorf("got  %v\nwant %s, and ErrConnLost in it", err, want)
	}
}
