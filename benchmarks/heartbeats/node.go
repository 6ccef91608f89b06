package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bhrpc/bhrpc"
	"github.com/bhrpc/bhrpc/core"
)

// order is what the command tells a process of its own, as a line of JSON. Each is
// answered by a report.
type order struct {
	Do        string // "serve", "connect", "report", "collect" (garbage, then report), "call", "rest"
	Heartbeat any
	Address   string // of the provider: its port, and for calls its host
	Process   int    // connect: of consumers, from 0
	Conns     int    // connect: how many; serve: how many there may be
	Callers   int    // call
}

// report is what a process says of itself.
type report struct {
	Address    string // of the listener
	CPU        time.Duration
	RSS        int64 // bytes
	Goroutines int
	Up         int
	Pings      uint64
	Strikes    map[int]uint64
	Pauses     uint64
	Deaths     []death
	Calls      int64
	Failed     int64 // calls
}

// death is a connection that a heartbeat ended.
type death struct {
	At     time.Time
	Silent time.Duration
}

// node is one process that the command has started.
type node struct {
	apps    []*bhrpc.App
	address string

	mu     sync.Mutex
	deaths []death

	calls, failed atomic.Int64
	calling       sync.WaitGroup
	rest          context.CancelFunc
}

// play does what it is told until nothing more is said.
func play(role string, in io.Reader, out io.Writer) error {
	n := &node{}
	lines, answers := bufio.NewScanner(in), json.NewEncoder(out)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if err := n.obey(o); err != nil {
			return fmt.Errorf("%s: %w", o.Do, err)
		}
		r, err := n.report()
		if err != nil {
			return err
		}
		if err := answers.Encode(r); err != nil {
			return err
		}
	}
	return lines.Err() // whoever told us is gone; there is nothing to tidy up that the kernel does not
}

func (n *node) obey(o order) error {
	switch o.Do {
	case "serve":
		return n.serve(o)
	case "connect":
		return n.connect(o)
	case "call":
		return n.call(o)
	case "rest":
		n.rest()
		n.calling.Wait()
	case "collect":
		debug.FreeOSMemory()
	case "report":
	default:
		return fmt.Errorf("nobody knows how")
	}
	return nil
}

// open adds an App with keys.
func (n *node) open(keys map[string]any) (*bhrpc.App, error) {
	cfg, err := bhrpc.Load("")
	if err != nil {
		return nil, err
	}
	keys["log.level"], keys["control"] = "error", "off"
	for key, value := range keys {
		if err := cfg.Set(key, value); err != nil {
			return nil, err
		}
	}
	cfg.Observers = []*core.Observer{{Disconnected: n.died}}
	app, err := cfg.Open(context.Background())
	if err == nil {
		n.apps = append(n.apps, app)
	}
	return app, err
}

func (n *node) died(d core.Disconnected) {
	if d.Reason != "heartbeat_timeout" && d.Reason != "write_stalled" {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaths = append(n.deaths, death{d.At, d.Silent})
}

// Echo is what the provider serves.
type Echo struct{}

// Echo returns what it was given.
func (Echo) Echo(text string) (string, error) { return text, nil }

func (n *node) serve(o order) error {
	app, err := n.open(map[string]any{"provider.listen": "0.0.0.0:0", "provider.heartbeat": o.Heartbeat,
		"provider.max_conns": o.Conns + 100, "provider.max_handshakes": o.Conns + 100}) // the crowd at the start is our own
	if err != nil {
		return err
	}
	p, err := app.Provide(context.Background(), Echo{})
	if err == nil {
		n.address = p.Addr().String()
	}
	return err
}

// endpointsPerApp is how many connections one consumer has.
const endpointsPerApp = 500

// connect makes consumers with an address of their own for each connection.
func (n *node) connect(o order) error {
	_, port, _ := strings.Cut(o.Address[strings.LastIndexByte(o.Address, ':'):], ":")
	var addresses []string
	for i := range o.Conns {
		addresses = append(addresses, fmt.Sprintf("127.%d.%d.%d:%s", 16+o.Process, i/250, 1+i%250, port))
	}
	for len(addresses) > 0 {
		some := min(len(addresses), endpointsPerApp)
		if _, err := n.open(map[string]any{"consumer.addresses": addresses[:some], "consumer.heartbeat": o.Heartbeat}); err != nil {
			return err
		}
		addresses = addresses[some:]
	}
	return nil
}

// call lets goroutines call one after another until rest.
func (n *node) call(o order) error {
	app, err := n.open(map[string]any{"consumer.addresses": []string{o.Address}, "consumer.heartbeat": o.Heartbeat})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.rest = cancel
	for range o.Callers {
		n.calling.Go(func() {
			for ctx.Err() == nil {
				if _, err := bhrpc.Call[string](context.Background(), app, "Echo.Echo", "x"); err != nil {
					n.failed.Add(1)
				}
				n.calls.Add(1)
			}
		})
	}
	return nil
}

func (n *node) report() (report, error) {
	r := report{Address: n.address, Goroutines: runtime.NumGoroutine(), Strikes: make(map[int]uint64), Calls: n.calls.Load(), Failed: n.failed.Load()}
	for _, app := range n.apps {
		for _, m := range app.Metrics() {
			r.Up += m.Conns[core.ConnUp] + m.Conns[core.ConnSuspect]
			r.Pings, r.Pauses = r.Pings+m.Pings, r.Pauses+m.LocalPauses
			for n, count := range m.Strikes {
				r.Strikes[n] += count
			}
		}
	}
	n.mu.Lock()
	r.Deaths = append([]death(nil), n.deaths...)
	n.mu.Unlock()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return r, err
	}
	r.CPU = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return r, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	r.RSS = pages * int64(os.Getpagesize())
	return r, err
}

// add adds what another process reports.
func (r *report) add(other report) {
	r.CPU, r.RSS, r.Goroutines, r.Up = r.CPU+other.CPU, r.RSS+other.RSS, r.Goroutines+other.Goroutines, r.Up+other.Up
	r.Pings, r.Pauses, r.Calls, r.Failed = r.Pings+other.Pings, r.Pauses+other.Pauses, r.Calls+other.Calls, r.Failed+other.Failed
	r.Deaths = append(r.Deaths, other.Deaths...)
	r.Strikes = maps.Clone(r.Strikes)
	if r.Strikes == nil {
		r.Strikes = make(map[int]uint64)
	}
	for n, count := range other.Strikes {
		r.Strikes[n] += count
	}
}
