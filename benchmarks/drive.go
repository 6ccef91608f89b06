package main

import (
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// result is one measurement of one peer.
type result struct {
	CallsPerSecond float64
	P50, P99       float64 // µs
	CPU            float64 // µs per call
	Allocs         float64 // per call, on the consumer
	AllCalls       int64   // warm-up included
}

// drive calls from w.Callers goroutines and counts. Every answer is compared with
// what was sent.
func drive(call func([]byte) ([]byte, error), w workload) (result, error) {
	var counting, stop atomic.Bool
	var all atomic.Int64
	histograms := make([]histogram, w.Callers)
	errs := make([]error, w.Callers)
	var callers sync.WaitGroup
	for i := range w.Callers {
		callers.Go(func() {
			body := bytes.Repeat([]byte{byte(i + 1)}, w.Size)
			for !stop.Load() {
				start := time.Now()
				answer, err := call(body)
				took := time.Since(start)
				if err == nil && !bytes.Equal(answer, body) {
					err = fmt.Errorf("sent %d bytes, got %d others", len(body), len(answer))
				}
				if err != nil {
					errs[i] = err
					return
				}
				all.Add(1)
				if counting.Load() {
					histograms[i].add(took)
				}
			}
		})
	}
	time.Sleep(w.Warm)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := cpuOfSelf(), time.Now()
	counting.Store(true)
	time.Sleep(w.Duration)
	counting.Store(false)
	took := time.Since(start)
	cpu = cpuOfSelf() - cpu
	runtime.ReadMemStats(&after)
	stop.Store(true)
	callers.Wait()
	for _, err := range errs {
		if err != nil {
			return result{}, err
		}
	}
	var total histogram
	for i := range histograms {
		total.merge(&histograms[i])
	}
	n := float64(total.count)
	return result{
		CallsPerSecond: n / took.Seconds(), P50: total.quantile(0.5), P99: total.quantile(0.99),
		CPU: cpu.Seconds() * 1e6 / n, Allocs: float64(after.Mallocs-before.Mallocs) / n, AllCalls: all.Load(),
	}, nil
}

// histogram counts durations in buckets that are 1/16 of their size wide.
type histogram struct {
	buckets [64 * 16]int64
	count   int64
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucket(uint64(d))]++
	h.count++
}

func bucket(ns uint64) int {
	if ns < 16 {
		return int(ns)
	}
	exp := bits.Len64(ns) - 5
	return (exp+1)*16 + int(ns>>exp&15)
}

// lower is the least duration of a bucket, in ns.
func lower(b int) float64 {
	if b < 16 {
		return float64(b)
	}
	return float64(uint64(16+b%16) << (b/16 - 1))
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	h.count += other.count
}

// quantile is in µs.
func (h *histogram) quantile(q float64) float64 {
	rank, seen := int64(q*float64(h.count)), int64(0)
	for i, n := range h.buckets {
		if seen += n; seen > rank {
			return lower(i) / 1e3
		}
	}
	return 0
}

// cpuOfSelf is the processor time of this process, user and system.
func cpuOfSelf() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf is the processor time of another process, from /proc, in steps of 10 ms.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("unexpected /proc/%d/stat", pid)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}
