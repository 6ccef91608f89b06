package core

import (
	"cmp"
	"sync"
	"time"
)

// rateLimit lets some log lines through at once and then one per second, so that a
// flood of bad peers is not a flood of lines. The zero rateLimit is ready.
type rateLimit struct {
	burst int // lines at once; 0: ten

	mu   sync.Mutex
	used float64
	at   time.Time
}

func (r *rateLimit) allow() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.used = max(0, r.used-now.Sub(r.at).Seconds())
	r.at = now
	if r.used > float64(cmp.Or(r.burst, 10)-1) {
		return false
	}
	r.used++
	return true
}
