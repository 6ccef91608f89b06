package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"strings"
	"time"
)

// plan is what one run does.
type plan struct {
	Strategy  string
	Interval  time.Duration // 0: the default, of each side
	Conns     int
	Processes int           // of consumers
	Callers   int           // while busy
	Settle    time.Duration // before anything is measured
	Calm      time.Duration
	Busy      time.Duration
}

func main() {
	log.SetFlags(0)
	var p plan
	runs := flag.String("runs", "three-strike:1s,three-strike:0s,idle:1s,idle:0s", "strategy:interval, separated by commas; 0s: the defaults, 5s and for three-strike 10s at the provider")
	flag.IntVar(&p.Conns, "conns", 15_000, "connections")
	flag.IntVar(&p.Processes, "processes", 2, "processes of consumers; half of them are stopped")
	flag.IntVar(&p.Callers, "callers", 100, "goroutines that call while the machine is busy")
	flag.DurationVar(&p.Settle, "settle", 15*time.Second, "time between the last connection and the first measurement")
	flag.DurationVar(&p.Calm, "calm", 30*time.Second, "time without calls")
	flag.DurationVar(&p.Busy, "busy", 30*time.Second, "time with calls")
	role := flag.String("role", "", "for the processes that the command starts")
	flag.Parse()
	if *role != "" {
		if err := play(*role, os.Stdin, os.Stdout); err != nil {
			log.Fatalf("%s: %v", *role, err)
		}
		return
	}
	if p.Processes < 2 || p.Conns < p.Processes {
		log.Fatalf("-processes %d, -conns %d: half of the processes are stopped and each needs a connection; give 2 processes or more", p.Processes, p.Conns)
	}
	fmt.Printf("%d connections, %d consumer processes; %s, %d cores, %s\n", p.Conns, p.Processes, runtime.Version(), runtime.NumCPU(), time.Now().Format(time.DateOnly))
	for run := range strings.SplitSeq(*runs, ",") {
		if err := p.parse(run); err != nil {
			log.Fatal(err)
		}
		if err := p.run(os.Stdout); err != nil {
			log.Fatalf("%s: %v", run, err)
		}
	}
}

// parse takes strategy and interval from a flag.
func (p *plan) parse(run string) error {
	strategy, interval, ok := strings.Cut(run, ":")
	d, err := time.ParseDuration(interval)
	if !ok || err != nil || d < 0 || strategy != "three-strike" && strategy != "idle" {
		return errors.Join(fmt.Errorf("-runs: %q is not three-strike or idle with an interval, such as idle:1s", run), err)
	}
	p.Strategy, p.Interval = strategy, d
	return nil
}

// strikes is how many rounds make a peer dead; idle is set to the same silence.
const strikes = 3

// heartbeat is the value of the key.
func (p *plan) heartbeat() any {
	switch {
	case p.Interval == 0:
		return p.Strategy
	case p.Strategy == "idle":
		return map[string]any{"use": "idle", "with": map[string]any{"writer_idle": p.Interval.String(), "reader_idle": (strikes * p.Interval).String()}}
	}
	return map[string]any{"use": p.Strategy, "with": map[string]any{"interval": p.Interval.String(), "strikes": strikes}}
}

// bound is the least and the most silence after which the provider finds a consumer
// dead, as docs/heartbeat.md promises.
func (p *plan) bound() (least, most time.Duration) {
	interval := p.Interval
	if interval == 0 {
		interval = 5 * time.Second
		if p.Strategy == "three-strike" {
			interval = 10 * time.Second
		}
	}
	least = strikes * interval
	if p.Strategy == "idle" {
		return least, least + interval/10
	}
	return least, least + interval + 100*time.Millisecond
}
