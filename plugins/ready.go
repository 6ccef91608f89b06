package plugins

import "google.golang.org/grpc"

// Process is the process of a plugin that is ready, for tools that look closer than
// a host does.
type Process struct {
	PID        int
	Generation uint64           // its number, from 1
	Conn       *grpc.ClientConn // to its services; it belongs to the Plugin
	Ended      <-chan struct{}  // closed when the process has ended
}

// Process returns the process that is ready. ok is false if none is.
func (p *Plugin) Process() (ready Process, ok bool) {
	g := p.ready.Load()
	if g == nil {
		return Process{}, false
	}
	return Process{PID: g.process.cmd.Process.Pid, Generation: g.number, Conn: g.conn, Ended: g.exited()}, true
}
