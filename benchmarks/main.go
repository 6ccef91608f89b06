package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// workload is what every peer is asked to do.
type workload struct {
	Callers  int           // goroutines that call one after another
	Size     int           // bytes of the body, echoed
	Warm     time.Duration // before counting
	Duration time.Duration // of counting
}

// peer is one framework in one configuration.
type peer struct {
	name  string
	about string
	serve func(ready func(address string)) error                                   // until the process is killed
	dial  func(address string) (call func(body []byte) ([]byte, error), err error) // one connection
}

var peers = []peer{bhrpcPeer("raw"), bhrpcPeer("gob"), bhrpcPeer("json"), netRPC}

func main() {
	log.SetFlags(0)
	var w workload
	rounds := flag.Int("rounds", 5, "rounds; every peer runs once in each")
	only := flag.String("peers", "", "names, separated by commas; empty: all")
	role := flag.String("role", "", "for the processes that the command starts")
	address := flag.String("address", "", "for the processes that the command starts")
	flag.IntVar(&w.Callers, "callers", 100, "goroutines that call")
	flag.IntVar(&w.Size, "size", 581, "bytes of the body")
	flag.DurationVar(&w.Warm, "warm", time.Second, "time before counting")
	flag.DurationVar(&w.Duration, "time", 4*time.Second, "time of counting")
	flag.Parse()

	chosen := peers
	if *only != "" {
		names := strings.Split(*only, ",")
		chosen = slices.DeleteFunc(slices.Clone(peers), func(p peer) bool { return !slices.Contains(names, p.name) })
	}
	if len(chosen) == 0 {
		log.Fatalf("no peer named %q", *only)
	}
	var err error
	switch *role {
	case "provider":
		err = chosen[0].serve(func(address string) { fmt.Println(address) })
	case "consumer":
		err = consume(chosen[0], *address, w)
	default:
		err = compare(chosen, w, *rounds)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// consume drives one peer and prints a result as JSON.
func consume(p peer, address string, w workload) error {
	call, err := p.dial(address)
	if err != nil {
		return err
	}
	r, err := drive(call, w)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// compare runs the rounds and prints the table.
func compare(chosen []peer, w workload, rounds int) error {
	results := make([][]result, len(chosen)) // by peer, then round
	for round := range rounds {
		for i := range chosen {
			p := (i + round) % len(chosen)
			r, err := run(chosen[p], w)
			if err != nil {
				return fmt.Errorf("%s: %w", chosen[p].name, err)
			}
			results[p] = append(results[p], r)
		}
	}
	fmt.Printf("%d callers, %d bytes, one connection; %d rounds of %v after %v; %s, %d cores, %s\n",
		w.Callers, w.Size, rounds, w.Duration, w.Warm, runtime.Version(), runtime.NumCPU(), time.Now().Format(time.DateOnly))
	writeTable(os.Stdout, chosen, results)
	return nil
}

func writeTable(out io.Writer, chosen []peer, results [][]result) {
	base := len(chosen) - 1
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(table, "peer\tcalls/s\tx %s (min-max)\tp50 µs\tp99 µs\tCPU µs/call, both sides\tallocs/call, consumer\tabout\n", chosen[base].name)
	for i, p := range chosen {
		ratios := make([]float64, len(results[i]))
		for r := range ratios {
			ratios[r] = results[i][r].CallsPerSecond / results[base][r].CallsPerSecond
		}
		slices.Sort(ratios)
		ratio := fmt.Sprintf("%.2f (%.2f-%.2f)", median(ratios), ratios[0], ratios[len(ratios)-1])
		if i != base && median(ratios) > 0.8 && median(ratios) < 1.25 {
			ratio += " tie"
		}
		of := func(f func(result) float64) float64 {
			var values []float64
			for _, r := range results[i] {
				values = append(values, f(r))
			}
			return median(values)
		}
		fmt.Fprintf(table, "%s\t%.0f\t%s\t%.0f\t%.0f\t%.1f\t%.1f\t%s\n", p.name, of(func(r result) float64 { return r.CallsPerSecond }), ratio,
			of(func(r result) float64 { return r.P50 }), of(func(r result) float64 { return r.P99 }),
			of(func(r result) float64 { return r.CPU }), of(func(r result) float64 { return r.Allocs }), p.about)
	}
	table.Flush()
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// run measures one peer once, each side in a process of its own.
func run(p peer, w workload) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	provider := exec.Command(self, "-role", "provider", "-peers", p.name)
	provider.Stderr = os.Stderr
	out, err := provider.StdoutPipe()
	if err != nil {
		return result{}, err
	}
	if err := provider.Start(); err != nil {
		return result{}, err
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			_ = provider.Process.Kill()
			_ = provider.Wait()
		}
	}
	defer stop()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return result{}, fmt.Errorf("the provider did not start")
	}
	before, err := cpuOf(provider.Process.Pid)
	if err != nil {
		return result{}, err
	}
	consumer := exec.Command(self, "-role", "consumer", "-peers", p.name, "-address", lines.Text(),
		"-callers", fmt.Sprint(w.Callers), "-size", fmt.Sprint(w.Size), "-warm", w.Warm.String(), "-time", w.Duration.String())
	consumer.Stderr = os.Stderr
	text, err := consumer.Output()
	if err != nil {
		return result{}, fmt.Errorf("consumer: %w", err)
	}
	after, err := cpuOf(provider.Process.Pid)
	if err != nil {
		return result{}, err
	}
	stop()
	var r result
	if err := json.Unmarshal(text, &r); err != nil {
		return result{}, err
	}
	// The provider's time covers the warm-up too, so it is shared out over all calls.
	r.CPU += (after - before).Seconds() * 1e6 / float64(r.AllCalls)
	return r, nil
}
