package plugins

import (
	"os"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

func TestParseStat(t *testing.T) {
	const rest = " S 1 41237 41237 0 -1 4194560 900 0 1 0 150 50 0 0 20 0 9 0 1234 1700000000 25 18446744073709551615"
	rss, cpu := spi.Size(25*os.Getpagesize()), spi.Duration(2*time.Second)
	tests := []struct {
		name, stat string
		rss        spi.Size
		cpu        spi.Duration
	}{
		{"plain", "41237 (acme)" + rest, rss, cpu},
		{"a name like what follows it", "41237 (a) R 2 (b) ) c)" + rest, rss, cpu},
		{"cut off", "41237 (acme) S 1 41237", 0, 0},
		{"nothing", "", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if rss, cpu := parseStat([]byte(tt.stat)); rss != tt.rss || cpu != tt.cpu {
				t.Errorf("parseStat(%q): got %v, %v, want %v, %v", tt.stat, rss, cpu, tt.rss, tt.cpu)
			}
		})
	}
}
