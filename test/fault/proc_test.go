//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a sub-process may take to answer a command before the test
// gives it up.
const patience = 90 * time.Second

// proc is a sub-process of the test: this binary in another role. It is killed when
// the test ends. One goroutine uses it.
type proc struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   *json.Encoder
	pipe *os.File // its standard output
	out  *json.Decoder
	log  lines // its standard error
	wait func() *os.ProcessState
}

// start starts a role and waits until it is ready; ready receives what it then
// says, and may be nil.
func start(t *testing.T, name string, args, ready any) *proc {
	t.Helper()
	return startUnder(t, nil, name, args, ready)
}

// startUnder is start by a command that becomes the program it is given last: under
// may be nil.
func startUnder(t *testing.T, under []string, name string, args, ready any) *proc {
	t.Helper()
	encoded, err := json.Marshal(args)
	must(t, err)
	path, err := os.Executable()
	must(t, err)
	line := append(slices.Clone(under), path)
	p := &proc{t: t, name: name, cmd: exec.Command(line[0], line[1:]...)}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "BHRPC_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(p.cmd.Env, roleVariable+"="+name, argsVariable+"="+string(encoded))
	p.cmd.Stderr = &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // one that is stopped does not see its input end
	stdin, err := p.cmd.StdinPipe()
	must(t, err)
	stdout, err := p.cmd.StdoutPipe()
	must(t, err)
	p.in, p.pipe, p.out = json.NewEncoder(stdin), stdout.(*os.File), json.NewDecoder(stdout)
	must(t, p.cmd.Start())
	p.wait = sync.OnceValue(func() *os.ProcessState {
		_ = p.cmd.Wait() // what it ended with is in the state
		return p.cmd.ProcessState
	})
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		p.wait()
		if t.Failed() {
			t.Logf("%s %d logged:\n%s", p.name, p.cmd.Process.Pid, p.log.tail(20))
		}
	})
	p.answer("start", ready)
	return p
}

// ask sends a command and waits for its answer, which may take as long as what was
// asked for.
func (p *proc) ask(do string, args, value any) {
	p.t.Helper()
	p.tell(do, args)
	p.answer(do, value)
}

// tell sends a command; answer waits for what comes back.
func (p *proc) tell(do string, args any) {
	p.t.Helper()
	c := command{Do: do}
	if args != nil {
		var err error
		c.Args, err = json.Marshal(args)
		must(p.t, err)
	}
	if err := p.in.Encode(c); err != nil {
		p.t.Fatalf("tell the %s to %s: %v", p.name, do, err)
	}
}

func (p *proc) answer(do string, value any) {
	p.t.Helper()
	var a struct {
		Value json.RawMessage
		Error string
	}
	must(p.t, p.pipe.SetReadDeadline(time.Now().Add(patience)))
	if err := p.out.Decode(&a); err != nil {
		p.t.Fatalf("the %s does not answer to %s: %v", p.name, do, err)
	}
	if a.Error != "" {
		p.t.Fatalf("the %s: %s", p.name, a.Error)
	}
	if value != nil {
		must(p.t, json.Unmarshal(a.Value, value))
	}
}

// signal sends a real signal.
func (p *proc) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %v to the %s: %v", s, p.name, err)
	}
}

// figures looks at the process after a garbage collection. What takes a descriptor
// is looked at from here, for the process may have none left.
func (p *proc) figures() figures {
	p.t.Helper()
	var f figures
	p.ask("figures", nil, &f)
	pid := strconv.Itoa(p.cmd.Process.Pid)
	f.Resident, f.Peak = residentOf(pid)
	f.Files = filesOf(pid)
	return f
}

// lines keeps what a process prints. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// count returns how many lines hold all of words.
func (l *lines) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.text.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			n++
		}
	}
	return n
}

// tail returns the last n lines.
func (l *lines) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.SplitAfter(l.text.String(), "\n")
	return strings.Join(all[max(0, len(all)-n):], "")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// row prints the line of figures of one row of the matrix.
func row(t *testing.T, number, format string, args ...any) {
	t.Helper()
	t.Logf("row %s: %s", number, fmt.Sprintf(format, args...))
}

// within asks ok again and again until it is, or the time is over, and reports which.
// It is for what another process does, of which no event comes here.
func within(limit time.Duration, ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// pass lets a load or a fault go on for a while.
func pass(d time.Duration) { <-time.After(d) }
