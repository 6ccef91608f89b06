//go:build unix

package control_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/core"
	"github.com/bhrpc/bhrpc/internal/control"
)

// directory returns a directory for sockets that does not exist yet. Its path is
// short: the name of a socket has hardly more than a hundred bytes.
func directory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "bhrpc")
}

// listen answers with conns until the test ends.
func listen(t *testing.T, dir string, conns ...core.ConnInfo) *control.Server {
	t.Helper()
	s, err := control.Listen([]string{dir}, control.App{Conns: func() []core.ConnInfo { return conns }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// files returns the names in a directory, with NN for this process's id.
func files(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.Replace(e.Name(), fmt.Sprint(os.Getpid()), "NN", 1))
	}
	return strings.Join(names, " ")
}

func TestAskEveryApp(t *testing.T) {
	dir := directory(t)
	first := listen(t, dir, core.ConnInfo{Peer: "a:1", State: core.ConnUp, BytesIn: 7})
	listen(t, dir)
	reports, err := control.Ask(t.Context(), []string{dir}, 0)
	if err != nil || len(reports) != 2 {
		t.Fatalf("got %+v, %v, want two answers", reports, err)
	}
	got := reports[0]
	if got.PID != os.Getpid() || got.Program != filepath.Base(os.Args[0]) || len(got.Conns) != 1 || got.Conns[0] != (core.ConnInfo{Peer: "a:1", State: core.ConnUp, BytesIn: 7}) {
		t.Errorf("got %+v, want this process and its connection", got)
	}
	if reports[1].Conns == nil || len(reports[1].Conns) != 0 {
		t.Errorf("got %+v, want no connection", reports[1])
	}
	if reports, err := control.Ask(t.Context(), []string{dir}, os.Getpid()+1); err != nil || len(reports) != 0 {
		t.Errorf("another process: got %+v, %v, want nothing", reports, err)
	}
	if got, want := files(t, dir), "NN-0.sock NN-1.sock"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Errorf("Close twice: got %v", err)
	}
	if got, want := files(t, dir), "NN-1.sock"; got != want {
		t.Errorf("after Close: got %s, want %s", got, want)
	}
	if filepath.Base(first.Path()) != fmt.Sprintf("%d-0.sock", os.Getpid()) {
		t.Errorf("got path %s", first.Path())
	}
}

func TestModes(t *testing.T) {
	dir := directory(t)
	s := listen(t, dir)
	for path, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, s.Path(): fs.ModeSocket | 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestDirectoryRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(dir string) error
		want string
	}{
		{"link", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"x", 0o700), os.Symlink(dir+"x", dir))
		}, "it is a symbolic link"},
		{"file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "it is not a directory"},
		{"open to others", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o750))
		}, "others may enter it; say chmod 700"},
		{"somebody else's", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, os.Getuid()+1, -1))
		}, "it belongs to another user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := directory(t)
			if err := tt.make(dir); errors.Is(err, fs.ErrPermission) {
				t.Skip("only root can give a directory away")
			} else if err != nil {
				t.Fatal(err)
			}
			s, err := control.Listen([]string{dir}, control.App{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Listen: got %v, want %q", err, tt.want)
				_ = s.Close()
			}
			if _, err := control.Ask(t.Context(), []string{dir}, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Ask: got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestNextDirectory(t *testing.T) {
	dir := directory(t)
	missing := filepath.Join(dir, "no", "such")
	s, err := control.Listen([]string{missing, dir}, control.App{Conns: func() []core.ConnInfo { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if filepath.Dir(s.Path()) != dir {
		t.Errorf("got %s, want it in %s", s.Path(), dir)
	}
	if reports, err := control.Ask(t.Context(), []string{missing, dir}, 0); err != nil || len(reports) != 1 {
		t.Errorf("got %+v, %v, want one answer", reports, err)
	}
	if s, err := control.Listen([]string{missing}, control.App{}); err == nil {
		t.Errorf("got %s, want an error", s.Path())
	}
}

func TestDirectories(t *testing.T) {
	temporary := filepath.Join(os.TempDir(), fmt.Sprintf("bhrpc-%d", os.Getuid()))
	for _, tt := range []struct{ runtime, want string }{
		{"", temporary}, {"run", temporary}, {"/run/user/7", "/run/user/7/bhrpc " + temporary},
	} {
		if got := strings.Join(control.Directories(tt.runtime), " "); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.runtime, got, tt.want)
		}
	}
}

// abandon leaves a socket behind that nobody listens on.
func abandon(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSweep: what dead processes left is removed, and nothing else.
func TestSweep(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	dir := directory(t)
	first := listen(t, dir)
	at := func(pid, n int) string { return filepath.Join(dir, fmt.Sprintf("%d-%d.sock", pid, n)) }
	dead, old, young, alive, other := at(ended.Process.Pid, 0), at(os.Getpid(), 7), at(os.Getpid(), 8), at(os.Getppid(), 0), filepath.Join(dir, "x.sock")
	for _, path := range []string{dead, old, young, alive, other} {
		abandon(t, path)
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	for _, path := range []string{old, first.Path()} {
		if err := os.Chtimes(path, yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
	}
	second := listen(t, dir)
	for path, want := range map[string]bool{dead: false, old: false, young: true, alive: true, other: true, first.Path(): true, second.Path(): true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: got there=%t, want %t", filepath.Base(path), err == nil, want)
		}
	}
	if reports, err := control.Ask(t.Context(), []string{dir}, 0); err != nil || len(reports) != 2 {
		t.Errorf("got %+v, %v, want the two that listen, and no word of the others", reports, err)
	}
}

// dial connects to a server as any program may.
func dial(t *testing.T, s *control.Server) net.Conn {
	t.Helper()
	nc, err := net.Dial("unix", s.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return nc
}

func TestQuestions(t *testing.T) {
	s := listen(t, directory(t), core.ConnInfo{Peer: "a:1"})
	for _, tt := range []struct{ name, question, want string }{
		{"conns", `{"get":"conns"}` + "\n", ""},
		{"spaces and more keys", ` { "get" : "conns", "later": 1 } ` + "\n", ""},
		{"unknown", `{"get":"secrets"}` + "\n", `no answer to "secrets"; known: conns, plugins`},
		{"unknown deed", `{"do":"stop"}` + "\n", `cannot do "stop"; known: restart`},
		{"nothing", "\n", `a question is a line such as {"get":"conns"}`},
		{"no JSON", "GET / HTTP/1.1\r\n", `a question is a line such as {"get":"conns"}`},
		{"too long", strings.Repeat("x", 2000) + "\n", "a question has at most 1024 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			nc := dial(t, s)
			if _, err := io.WriteString(nc, tt.question); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(nc).ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			var got control.Report
			if err := json.Unmarshal(line, &got); err != nil || got.Version != 1 || got.Error != tt.want || (tt.want == "") != (len(got.Conns) == 1) {
				t.Errorf("got %s, %v, want error %q", line, err, tt.want)
			}
		})
	}
}

// TestAskersAreBounded: eight may keep the server waiting, the next is hung up on,
// and Close waits for none of them.
func TestAskersAreBounded(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	dir := directory(t)
	s, err := control.Listen([]string{dir}, control.App{Conns: func() []core.ConnInfo {
		entered <- struct{}{}
		<-leave
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var waiting []net.Conn
	for range 8 {
		nc := dial(t, s)
		if _, err := io.WriteString(nc, `{"get":"conns"}`+"\n"); err != nil {
			t.Fatal(err)
		}
		<-entered
		waiting = append(waiting, nc)
	}
	if _, err := control.Ask(t.Context(), []string{dir}, 0); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("ask process %d: ", os.Getpid())) {
		t.Errorf("the ninth: got %v, want it hung up on", err)
	}
	close(leave)
	for i, nc := range waiting {
		if line, err := bufio.NewReader(nc).ReadString('\n'); err != nil || !strings.Contains(line, `"conns":[]`) {
			t.Errorf("asker %d: got %s, %v", i, line, err)
		}
	}
}

func TestCloseHangsUp(t *testing.T) {
	s := listen(t, directory(t))
	silent := dial(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("got a byte, want the end")
	}
	var none *control.Server
	if err := none.Close(); err != nil {
		t.Errorf("Close of nil: got %v", err)
	}
}

// TestNobodyAnswers: a process that does not answer is an error, not a wait without
// end, and the others are shown.
func TestNobodyAnswers(t *testing.T) {
	dir := directory(t)
	listen(t, dir)
	for i, say := range []string{"", "{", `{"version":2}` + "\n", `{"version":1,"error":"no"}` + "\n"} {
		l, err := net.Listen("unix", filepath.Join(dir, fmt.Sprintf("%d-9.sock", 1_000_000+i)))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = bufio.NewReader(nc).ReadString('\n')
			_, _ = io.WriteString(nc, say)
			_ = nc.Close()
		}()
	}
	reports, err := control.Ask(t.Context(), []string{dir}, 0)
	if len(reports) != 1 || err == nil {
		t.Fatalf("got %+v, %v, want one answer and an error", reports, err)
	}
	for _, want := range []string{"ask process 1000000: it hung up", "ask process 1000001: it hung up", "1000002: it answers in version 2, this is 1", "1000003: no"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
