//go:build (fault || faultnet || faultlong) && linux

package fault_test

import (
	"sync"
	"time"
)

// remembered is how far back lag looks: further than any row measures one thing.
const remembered = time.Minute

// lags are the times for which the machine did not let this process run.
var lags struct {
	sync.Mutex
	seen []lapse // the latest at the end
}

type lapse struct {
	until time.Time
	took  time.Duration
}

// watchLag notes lags until the process ends. Ten milliseconds are none.
func watchLag() {
	const tick = 10 * time.Millisecond
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for last := time.Now(); ; <-ticks.C {
		now := time.Now()
		if late := now.Sub(last) - tick; late > tick {
			lags.Lock()
			lags.seen = append(lags.seen, lapse{now, late})
			for now.Sub(lags.seen[0].until) > remembered {
				lags.seen = lags.seen[1:]
			}
			lags.Unlock()
		}
		last = now
	}
}

// mostLag bounds what limits grow by, so that something can fail after a long stop too.
const mostLag = 2 * time.Second

// lag returns the longest of them within the last minute, mostLag at most. A machine that
// stops for so long stops what is measured too, so limits on times grow by it.
func lag() time.Duration {
	lags.Lock()
	defer lags.Unlock()
	var most time.Duration
	for _, l := range lags.seen {
		if time.Since(l.until) < remembered {
			most = max(most, l.took)
		}
	}
	return min(most, mostLag)
}
