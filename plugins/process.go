package plugins

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/bhrpc/bhrpc/spi"
)

const (
	lifelineFile = 3 // descriptor of the plugin that ends with the host
	lifelineEnv  = "BHRPC_LIFELINE_FD"

	// drainTime is how long the output of a process that ended may take to arrive.
	// Only a grandchild that left the group and holds the pipes needs it.
	drainTime = 200 * time.Millisecond
)

// process runs one generation of a plugin. It is go-plugin's view of it (a
// runner.Runner), and the supervisor's.
type process struct {
	cmd      *exec.Cmd
	limits   spi.PluginLimits
	sockets  string   // the directory in which it has to listen
	plain    bool     // without certificates
	lifeline *os.File // the host's end: closed, by whatever end of the host, it ends the plugin
	stdout   *handshakeReader
	stderr   lineReader
	ends     []*os.File // the plugin's ends of the pipes; closed once it runs

	exited chan struct{} // closed by watch when the process has ended and was collected
	err    error         // of the wait; read after exited

	mu     sync.Mutex
	doomed bool // killed before its start
	gone   bool // collected: the number of its group may be somebody else's
	closed sync.Once
}

var _ runner.Runner = (*process)(nil)

// newProcess prepares cmd, whose path, arguments and environment are set, and takes
// everything else in hand. print gets the lines on stdout that are no handshake, and
// all of stderr. Start must follow: it releases the pipes if it fails.
func newProcess(cmd *exec.Cmd, limits spi.PluginLimits, print func(line []byte)) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{})}
	var pipes [3][2]*os.File // read end, write end
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			for _, made := range pipes[:i] {
				made[0].Close()
				made[1].Close()
			}
			return nil, fmt.Errorf("make a pipe to a plugin: %w", err)
		}
		pipes[i] = [2]*os.File{r, w}
	}
	p.stdout = &handshakeReader{file: pipes[0][0], lines: bufio.NewReaderSize(pipes[0][0], maxLine), stray: print}
	p.stderr = lineReader{pipes[1][0], print, make(chan struct{})}
	p.lifeline = pipes[2][1]
	p.ends = []*os.File{pipes[0][1], pipes[1][1], pipes[2][0]}
	cmd.Stdin = nil // the null device
	cmd.Stdout, cmd.Stderr = pipes[0][1], pipes[1][1]
	inherit(cmd, pipes[2][0])
	outlive(cmd)
	p.limits = limits
	return p, nil
}

// Start starts the process. ctx is not needed: it does not wait.
func (p *process) Start(context.Context) error {
	p.mu.Lock()
	err := errKilled
	if !p.doomed {
		err = p.cmd.Start()
	}
	p.mu.Unlock()
	for _, end := range p.ends {
		end.Close()
	}
	if err != nil {
		p.close()
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("start %s: %w; the directory of temporary files (TMPDIR) must not be mounted noexec", p.cmd.Path, err)
		}
		return fmt.Errorf("start %s: %w", p.cmd.Path, err)
	}
	restrict(p.cmd.Process.Pid, p.limits)
	go p.watch()
	return nil
}

// watch waits for the end of the process, ends what it left behind, and releases
// everything. It is the only one that collects it.
func (p *process) watch() {
	if endsAreSeen {
		awaitEnd(p.cmd.Process)
		p.endGroup()
		p.err = p.cmd.Wait()
	} else {
		p.err = p.cmd.Wait()
		p.endGroup()
	}
	close(p.exited)
	late := time.Now().Add(drainTime)
	_ = p.stdout.file.SetReadDeadline(late) // a pipe has deadlines
	_ = p.stderr.file.SetReadDeadline(late)
	p.lifeline.Close()
}

// endGroup kills what is left of the group, and leaves it alone from then on.
func (p *process) endGroup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = killGroup(p.cmd.Process) // usually nothing is left
	p.gone = true
}

// Wait waits for the end of the process.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return p.err
}

// errKilled is the error of the start of a process that was killed before.
var errKilled = errors.New("killed before its start")

// Kill ends the process and its group, at once. It does nothing to one that has
// ended, and lets one that was not started yet fail its start.
func (p *process) Kill(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd.Process == nil {
		p.doomed = true
	}
	if p.gone || p.cmd.Process == nil {
		return nil
	}
	return killGroup(p.cmd.Process)
}

// close releases the host's ends of the pipes. Readers of a process that ended see
// the end of its output.
func (p *process) close() {
	p.closed.Do(func() {
		p.stdout.Close()
		p.stderr.Close()
		p.lifeline.Close()
	})
}

// Stdout returns where the handshake arrives.
func (p *process) Stdout() io.ReadCloser { return p.stdout }

// Stderr returns where log lines arrive.
func (p *process) Stderr() io.ReadCloser { return p.stderr }

// Name returns the path of the program.
func (p *process) Name() string { return p.cmd.Path }

// ID returns the number of the process, "" before its start.
func (p *process) ID() string {
	if p.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

// Diagnose has nothing to add.
func (p *process) Diagnose(context.Context) string { return "" }

// errHandshake is within the errors of a handshake that is one, and is refused.
var errHandshake = errors.New("handshake refused")

// PluginToHost checks what a handshake says before it is acted on. A socket that is
// elsewhere may be somebody else's, may be asked by others than the host's user, and need
// not end with the process: gRPC would wait for an answer. Both sides see the same files.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	switch {
	case p.plain && p.stdout.certified: // go-plugin has nowhere to put it, and panics
		return "", "", fmt.Errorf("%w: it has a certificate, and mtls: off wants none", errHandshake)
	case runtime.GOOS == "windows": // where plugins listen on TCP
		return network, address, nil
	case network != "unix" || filepath.Dir(address) != p.sockets:
		return "", "", fmt.Errorf("%w: the plugin listens on %s %.200q; want a unix socket in the directory that PLUGIN_UNIX_SOCKET_DIR names", errHandshake, network, address)
	}
	return network, filepath.Clean(address), nil // what was checked, whatever a link on the way leads to
}

// HostToPlugin takes addresses as they are.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// handshakeReader passes on the one line that is a handshake. What comes before and
// after it is stray, and read to the end so that the plugin never blocks in a print.
type handshakeReader struct {
	file  *os.File
	lines *bufio.Reader
	stray func(line []byte)
	rest  []byte // of the handshake, still to be read
	found bool

	certified bool // there is a certificate in the handshake; written before that is passed on
}

// Read implements io.Reader.
func (r *handshakeReader) Read(into []byte) (int, error) {
	for len(r.rest) == 0 {
		line, err := r.lines.ReadSlice('\n') // a longer one comes in pieces
		switch text := bytes.TrimSpace(line); {
		case !r.found && isHandshake(text):
			r.found, r.certified = true, hasCertificate(text)
			r.rest = append(bytes.Clone(text), '\n')
		case len(text) > 0:
			r.stray(text)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && len(r.rest) == 0 {
			return 0, io.EOF // whatever ended it, nothing more comes
		}
	}
	n := copy(into, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close closes the host's end.
func (r *handshakeReader) Close() error { return r.file.Close() }

// isHandshake reports whether a line looks like core|app|network|address|….
func isHandshake(line []byte) bool {
	parts := bytes.SplitN(line, []byte("|"), 6)
	if len(parts) < 5 {
		return false
	}
	for _, number := range parts[:2] {
		if _, err := strconv.ParseUint(string(number), 10, 31); err != nil {
			return false
		}
	}
	return string(parts[2]) == "unix" || string(parts[2]) == "tcp"
}

// hasCertificate reports whether a handshake has a sixth part that go-plugin takes for a
// certificate.
func hasCertificate(line []byte) bool {
	parts := bytes.SplitN(line, []byte("|"), 7)
	return len(parts) > 5 && len(parts[5]) > 50
}

// endsSoon waits for the end of the process and of what it printed, drainTime for
// either.
func (p *process) endsSoon() bool {
	for _, end := range []<-chan struct{}{p.exited, p.stderr.ended} {
		timer := time.NewTimer(drainTime)
		select {
		case <-end:
		case <-timer.C:
		}
		timer.Stop()
	}
	return isClosed(p.exited)
}

// exitText says how a process ended, for people.
func (p *process) exitText() string {
	<-p.exited
	if p.cmd.ProcessState == nil {
		return "unknown"
	}
	return p.cmd.ProcessState.String()
}
