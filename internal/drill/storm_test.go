package drill

import (
	"testing"
	"time"
)

func TestBusiest(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   []int // milliseconds
		want int
	}{
		{"none", nil, 0},
		{"one", []int{7}, 100},
		{"a herd", []int{5, 5, 6, 105}, 100},
		{"spread", []int{0, 60, 161, 262, 323, 424}, 33},
		{"the end is the busiest", []int{0, 200, 400, 410, 420}, 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var times []time.Time
			for _, ms := range tt.at {
				times = append(times, time.UnixMilli(int64(ms)))
			}
			if got := busiest(times); got != tt.want {
				t.Errorf("got %d%% of %v, want %d%%", got, tt.at, tt.want)
			}
		})
	}
}
