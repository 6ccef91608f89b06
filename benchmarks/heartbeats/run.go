package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// child is a process that play runs in.
type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(role string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{Cmd: exec.Command(self, "-role", role)}
	c.Stderr = os.Stderr
	if c.in, err = c.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.Start()
}

// kill ends the process, a stopped one too.
func (c *child) kill() {
	_ = c.Process.Kill()
	_ = c.Wait()
}

// tell gives an order and returns the answer.
func (c *child) tell(o order) (report, error) {
	var r report
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		return r, err
	}
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return r, fmt.Errorf("%s: the process ended: %w", o.Do, err)
	}
	return r, json.Unmarshal(line, &r)
}

// cast is all processes of a run.
type cast struct {
	provider, caller *child
	consumers        []*child
}

// sides returns what the provider and what all consumers report.
func (c *cast) sides(do string) (provider, consumers report, err error) {
	if provider, err = c.provider.tell(order{Do: do}); err != nil {
		return
	}
	for _, process := range c.consumers {
		r, err := process.tell(order{Do: do})
		if err != nil {
			return provider, consumers, err
		}
		consumers.add(r)
	}
	return
}

// run does one run and prints it.
func (p *plan) run(out io.Writer) (err error) {
	var c cast
	c.consumers = make([]*child, p.Processes)
	for _, process := range []struct {
		at   **child
		role string
	}{{&c.provider, "provider"}, {&c.caller, "caller"}} {
		if *process.at, err = start(process.role); err != nil {
			return err
		}
		defer (*process.at).kill()
	}
	for i := range c.consumers {
		if c.consumers[i], err = start("consumer"); err != nil {
			return err
		}
		defer c.consumers[i].kill()
	}
	least, most := p.bound()
	fmt.Fprintf(out, "\n%s, interval %s\n", p.Strategy, intervalText(p.Interval))
	provider, err := c.provider.tell(order{Do: "serve", Heartbeat: p.heartbeat(), Conns: p.Conns})
	if err != nil {
		return err
	}
	address := provider.Address
	empty, emptyConsumers, err := c.sides("collect")
	if err != nil {
		return err
	}
	if err := p.connect(&c, address); err != nil {
		return err
	}
	time.Sleep(p.Settle)
	if err := p.calm(out, &c, empty, emptyConsumers); err != nil {
		return err
	}
	if err := p.busy(out, &c, address); err != nil {
		return err
	}
	return p.freeze(out, &c, least, most)
}

func intervalText(d time.Duration) string {
	if d == 0 {
		return "as by default"
	}
	return d.String()
}

// connect makes all connections and waits for them.
func (p *plan) connect(c *cast, address string) error {
	port := address[strings.LastIndexByte(address, ':'):]
	for i, process := range c.consumers {
		n := p.Conns / p.Processes
		if i == 0 {
			n += p.Conns % p.Processes
		}
		if _, err := process.tell(order{Do: "connect", Heartbeat: p.heartbeat(), Address: port, Process: i, Conns: n}); err != nil {
			return err
		}
	}
	for start := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		provider, consumers, err := c.sides("report")
		if err != nil {
			return err
		}
		if provider.Up == p.Conns && consumers.Up == p.Conns {
			return nil
		}
		if time.Since(start) > 2*time.Minute {
			return fmt.Errorf("after %v the provider has %d connections and the consumers have %d, want %d; see ulimit -n", time.Since(start), provider.Up, consumers.Up, p.Conns)
		}
	}
}

// calm measures while nobody calls.
func (p *plan) calm(out io.Writer, c *cast, empty, emptyConsumers report) error {
	full, fullConsumers, err := c.sides("collect")
	if err != nil {
		return err
	}
	before, beforeConsumers, err := c.sides("report")
	if err != nil {
		return err
	}
	start := time.Now()
	time.Sleep(p.Calm)
	after, afterConsumers, err := c.sides("report")
	if err != nil {
		return err
	}
	took, n := time.Since(start).Seconds(), float64(p.Conns)
	for _, side := range []struct {
		name                       string
		empty, full, before, after report
	}{{"provider", empty, full, before, after}, {"consumers", emptyConsumers, fullConsumers, beforeConsumers, afterConsumers}} {
		fmt.Fprintf(out, "  %-10s CPU %.1f %% of a core, %.0f PINGs/s; per connection %.2f KiB resident after a collection, %.2f goroutines\n", side.name+":",
			100*(side.after.CPU-side.before.CPU).Seconds()/took, float64(side.after.Pings-side.before.Pings)/took,
			float64(side.full.RSS-side.empty.RSS)/n/1024, float64(side.full.Goroutines-side.empty.Goroutines)/n)
	}
	fmt.Fprintf(out, "  calm for %v: false strikes %s\n", p.Calm, falseStrikes(before, after, beforeConsumers, afterConsumers))
	return nil
}

// busy counts false strikes while others call.
func (p *plan) busy(out io.Writer, c *cast, address string) error {
	before, beforeConsumers, err := c.sides("report")
	if err != nil {
		return err
	}
	port := address[strings.LastIndexByte(address, ':'):]
	if _, err := c.caller.tell(order{Do: "call", Heartbeat: p.heartbeat(), Address: "127.0.0.1" + port, Callers: p.Callers}); err != nil {
		return err
	}
	time.Sleep(p.Busy)
	calls, err := c.caller.tell(order{Do: "rest"})
	if err != nil {
		return err
	}
	after, afterConsumers, err := c.sides("report")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  %d callers for %v, %.0f calls/s, %d failed: false strikes %s\n", p.Callers, p.Busy, float64(calls.Calls)/p.Busy.Seconds(), calls.Failed,
		falseStrikes(before, after, beforeConsumers, afterConsumers))
	return nil
}

// falseStrikes counts strikes of both sides between two reports.
func falseStrikes(before, after, beforeConsumers, afterConsumers report) string {
	before.add(beforeConsumers)
	after.add(afterConsumers)
	var all, two uint64
	for n, count := range after.Strikes {
		count -= before.Strikes[n]
		all += count
		if n >= 2 {
			two += count
		}
	}
	return fmt.Sprintf("%d, of which second or later %d; dead %d; local pauses %d", all, two, len(after.Deaths)-len(before.Deaths), after.Pauses-before.Pauses)
}

// freeze stops half of the consumer processes and measures when the provider finds
// out.
func (p *plan) freeze(out io.Writer, c *cast, least, most time.Duration) error {
	before, err := c.provider.tell(order{Do: "report"})
	if err != nil {
		return err
	}
	frozen := c.consumers[len(c.consumers)-len(c.consumers)/2:]
	want := len(frozen) * (p.Conns / p.Processes)
	stopped := time.Now()
	for _, process := range frozen {
		if err := process.Process.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
	}
	var after report
	for len(after.Deaths)-len(before.Deaths) < want && time.Since(stopped) < 2*most {
		time.Sleep(least / 10)
		if after, err = c.provider.tell(order{Do: "report"}); err != nil {
			return err
		}
	}
	var found, silent []time.Duration
	for _, d := range after.Deaths[len(before.Deaths):] {
		found, silent = append(found, d.At.Sub(stopped)), append(silent, d.Silent)
	}
	fmt.Fprintf(out, "  frozen: %d of %d found dead (%d connections stay up); promised after %v to %v of silence\n", len(found), want, after.Up, least, most)
	fmt.Fprintf(out, "    since they froze   %s\n    since a sign of life %s\n", spread(found), spread(silent))
	return nil
}

// spread writes the least, the median, a late one and the last.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "nothing"
	}
	slices.Sort(all)
	at := func(q float64) time.Duration {
		return all[min(int(q*float64(len(all))), len(all)-1)].Round(time.Millisecond)
	}
	return fmt.Sprintf("min %v, p50 %v, p99 %v, max %v", at(0), at(0.5), at(0.99), at(1))
}
