//go:build fault && linux

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
	RSS        int64 // resident, of the whole process
	Live       int64 // heap in use after two collections, and stacks
	Allocated  int64 // ever
	Goroutines int
	Files      int // open descriptors
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// ownFigures looks at this process. It collects garbage first.
func ownFigures() figures {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f := figures{Live: int64(m.HeapInuse + m.StackInuse), Allocated: int64(m.TotalAlloc), Goroutines: runtime.NumGoroutine()}
	f.RSS, f.Files = residentOf("self"), filesOf("self")
	return f
}

// residentOf returns the resident memory of a process, 0 if it is gone.
func residentOf(pid string) int64 {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var n int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n * kib
		}
	}
	return 0
}

// filesOf returns how many descriptors a process has, the one it takes to look
// included.
func filesOf(pid string) int {
	open, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		return 0
	}
	return len(open)
}

// leakCheck notes what the processes cost now, and holds what they cost when the
// function that it returns is called against that: H7.
func leakCheck(t *testing.T, procs ...*proc) func() {
	t.Helper()
	const (
		slack  = 2 * mib
		parked = 256 // workers that a Provider keeps for requests to come
	)
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
