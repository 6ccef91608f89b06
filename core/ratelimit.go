package core

import (
	"sync"
	"time"
)

// rateLimit lets ten log lines through at once and then one per second, so that a
// flood of bad peers is not a flood of lines. The zero rateLimit is ready.
type rateLimit struct {
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
	if r.used > 9 {
		return false
	}
	r.used++
	return true
}
