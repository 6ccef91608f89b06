package plugins

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// ticksPerSecond is the unit of /proc/PID/stat, USER_HZ: 100 on every system that Go
// runs on.
const ticksPerSecond = 100

// usesOf reads what a process uses from /proc; 0 where it has ended.
func usesOf(pid int) (rss spi.Size, cpu spi.Duration, files int) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if stat, err := os.ReadFile(dir + "stat"); err == nil {
		_, rest, _ := bytes.Cut(stat, []byte(") ")) // the name before may hold anything but this at its end
		if fields := bytes.Fields(rest); len(fields) > 21 {
			number := func(i int) int64 {
				n, _ := strconv.ParseInt(string(fields[i]), 10, 64)
				return n
			}
			cpu = spi.Duration(time.Duration(number(11)+number(12)) * time.Second / ticksPerSecond)
			rss = spi.Size(number(21) * int64(os.Getpagesize()))
		}
	}
	if open, err := os.ReadDir(dir + "fd"); err == nil {
		files = len(open)
	}
	return rss, cpu, files
}
