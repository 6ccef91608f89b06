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
		rss, cpu = parseStat(stat)
	}
	if open, err := os.ReadDir(dir + "fd"); err == nil {
		files = len(open)
	}
	return rss, cpu, files
}

// parseStat reads a /proc/PID/stat; 0 where it is none.
func parseStat(stat []byte) (rss spi.Size, cpu spi.Duration) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // what comes before is a name, in which all may be
	if len(fields) <= 21 {
		return 0, 0
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(string(fields[i]), 10, 64)
		return n
	}
	return spi.Size(number(21) * int64(os.Getpagesize())), spi.Duration(time.Duration(number(11)+number(12)) * time.Second / ticksPerSecond)
}
