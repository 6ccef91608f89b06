package drill

import (
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc/core"
)

const (
	crowd  = 200                    // consumers in a storm
	window = 100 * time.Millisecond // in which dials are counted

	// mostAtOnce is which share of the dials may come in one window, in percent. First
	// attempts are spread over 200 ms, so one window has half of them, some more by
	// chance, and more where the machine is busy; of a herd it has all.
	mostAtOnce = 75
)

var storm = Kind{
	Name:  "reconnect-storm",
	Short: "200 consumers lose their connections in the same moment",
	Long: `200 consumers are connected to one provider, and all their connections are reset in the
same moment.

Expected: all come back, and not in a herd: no 100 ms have more than 75% of the dials.
No call fails.`,
	plan: func(c Config) plan {
		return plan{providers: 1, consumers: crowd, providerInterval: c.Interval, first: 200 * time.Millisecond}
	},
	run: func(d *drill) {
		d.journal.line("connected", "%d consumers to a, interval=%v", crowd, d.cfg.Interval)
		d.doing(fmt.Sprintf("%d connections are reset at once", crowd), d.link.Cut)
		back := func() int { return d.journal.count("consumer", d.broke, is[core.Reconnected]) }
		ok := d.await(d.patience, func() bool { return back() >= crowd })
		took := time.Since(d.broke)
		var dials []time.Time
		for _, at := range d.link.Dials() {
			if at.After(d.broke) {
				dials = append(dials, at)
			}
		}
		share := busiest(dials)
		d.journal.line("reconnected", "%d of %d within %v, %d dials", back(), crowd, short(took), len(dials))
		d.found = fmt.Sprintf("dials in the busiest %v: %d%% (bound %d%%)", window, share, mostAtOnce)
		if !ok {
			d.fault("%d of %d consumers are not back within %v", crowd-back(), crowd, d.patience)
		}
		if share > mostAtOnce {
			d.fault("the consumers came back as a herd")
		}
	},
}

// busiest returns the share of sorted times that are within one window, in percent.
func busiest(times []time.Time) int {
	most, begin := 0, 0
	for i, at := range times {
		for at.Sub(times[begin]) > window {
			begin++
		}
		most = max(most, i-begin+1)
	}
	return most * 100 / max(1, len(times))
}
