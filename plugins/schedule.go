package plugins

import (
	"math/rand/v2"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// schedule says when a plugin that ended is started again. It is for one goroutine.
type schedule struct {
	cfg    spi.PluginRestart
	random func() float64 // in [0, 1); nil: a generator of the runtime's
	tries  int            // starts since it ran for a window
	starts []time.Time    // the last cfg.MaxStarts of them, those of the last window
}

// next returns how long to wait before the next start, and whether that is because
// too many came before.
func (s *schedule) next(now time.Time) (wait time.Duration, open bool) {
	for len(s.starts) > 0 && now.Sub(s.starts[0]) >= s.cfg.Window.D() {
		s.starts = s.starts[1:]
	}
	if len(s.starts) >= s.cfg.MaxStarts {
		return s.cfg.Window.D(), true
	}
	random := s.random
	if random == nil {
		random = rand.Float64
	}
	longest := s.cfg.Base.D()
	for doubled := 0; doubled < s.tries && longest < s.cfg.Cap.D(); doubled++ {
		longest *= 2
	}
	return time.Duration(random() * float64(min(longest, s.cfg.Cap.D()))), false
}

// started notes a start. One after an open circuit is a trial: the next failure
// opens it again.
func (s *schedule) started(now time.Time, open bool) {
	if open {
		for i := range s.starts {
			s.starts[i] = now
		}
		s.starts = s.starts[min(1, len(s.starts)):]
	}
	s.tries++
	s.starts = append(s.starts, now)
}

// ran notes how long a process was ready.
func (s *schedule) ran(ready time.Duration) {
	if ready >= s.cfg.Window.D() {
		*s = schedule{cfg: s.cfg, random: s.random}
	}
}
