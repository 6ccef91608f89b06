//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// figures is what a process costs, in bytes where not said otherwise.
type figures struct {
	Resident   int64 // of the whole process
	Peak       int64 // the most that was resident since figures were taken last
	Live       int64 // heap in use after two collections, and stacks
	Allocated  int64 // ever
	Goroutines int
	Files      int // open descriptors
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// ownFigures looks at this process, after it has collected garbage, as far as that
// takes no descriptor.
func ownFigures() figures {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return figures{Live: int64(m.HeapInuse + m.StackInuse), Allocated: int64(m.TotalAlloc), Goroutines: runtime.NumGoroutine()}
}

// since returns how much more a process costs than before.
func (f figures) since(before figures) figures {
	return figures{
		Resident: f.Resident - before.Resident, Peak: f.Peak - before.Resident, Live: f.Live - before.Live, Allocated: f.Allocated - before.Allocated,
		Goroutines: f.Goroutines - before.Goroutines, Files: f.Files - before.Files,
	}
}

// memory is resident memory, or live memory that was not touched yet if that is
// more.
func (f figures) memory() int64 { return max(f.Resident, f.Live) }

// residentOf returns the resident memory of a process, now and at most since this was
// called last, 0 if it is gone.
func residentOf(pid string) (now, peak int64) {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		var n int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			now = n * kib
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &n); err == nil {
			peak = n * kib
		}
	}
	_ = os.WriteFile("/proc/"+pid+"/clear_refs", []byte("5"), 0) // the peak begins anew; Linux, proc(5)
	return now, peak
}

// filesOf returns how many descriptors a process has.
func filesOf(pid string) int {
	open, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		return 0
	}
	return len(open)
}

// leakCheck notes what the processes cost now, and holds what they cost when the
// function that it returns is called against that: H7. peak is how many goroutines
// there may be in between.
func leakCheck(t *testing.T, peak int, procs ...*proc) func() {
	t.Helper()
	const (
		parked = 256 // workers that a Provider keeps for requests to come
		kept   = kib // of every goroutine that there was, which Go keeps for the next
	)
	slack := 2*mib + int64(peak)*kept
	var before []figures
	for _, p := range procs {
		before = append(before, p.figures())
	}
	return func() {
		t.Helper()
		for i, p := range procs {
			var now figures
			ok := within(5*time.Second, func() bool {
				now = p.figures()
				return now.Goroutines <= before[i].Goroutines+parked && now.Files <= before[i].Files && now.Live <= before[i].Live+slack
			})
			if !ok {
				t.Errorf("the %s leaks: got %+v, had %+v", p.name, now, before[i])
			}
		}
	}
}
