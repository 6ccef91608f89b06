package zone

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// Config is what stands under `with:`. Start from [DefaultConfig].
type Config struct {
	Zone        string       `json:"zone" doc:"zone of the caller, as eu1"`
	Label       string       `json:"label" doc:"label of an endpoint that names its zone"`
	MaxInFlight int          `json:"max_in_flight" doc:"unanswered calls of an endpoint from which on it has too much to do"`
	MaxLatency  spi.Duration `json:"max_latency" doc:"average time to the answer from which on an endpoint is too slow; a failed call counts a second more"`
	SpillOver   float64      `json:"spill_over" doc:"largest part of the calls that may leave the zone while it has endpoints, 0 to 1"`
}

// DefaultConfig returns the defaults. Zone has none.
func DefaultConfig() Config {
	return Config{Label: "zone", MaxInFlight: 100, MaxLatency: spi.Duration(500 * time.Millisecond), SpillOver: 1}
}

// Validate lists everything that is wrong.
func (c *Config) Validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Zone == "" {
		fault("zone: is missing; it is the zone of this program, as eu1")
	}
	if c.Label == "" {
		fault("label: is empty; it is the label of endpoints that names their zone, as zone")
	}
	if c.MaxInFlight < 1 {
		fault("max_in_flight: %d leaves no endpoint a call; write 1 or more", c.MaxInFlight)
	}
	if c.MaxLatency < spi.Duration(time.Millisecond) {
		fault("max_latency: %v is faster than endpoints are; write 1ms or more", c.MaxLatency)
	}
	if !(c.SpillOver >= 0 && c.SpillOver <= 1) {
		fault("spill_over: %v is no part; write 0 to 1", c.SpillOver)
	}
	return errors.Join(errs...)
}

// Register adds the load balancer "zone-aware" to a catalog.
func Register(cat *spi.Catalog) error {
	return spi.Register(cat.LoadBalancers, "zone-aware", "Prefers endpoints in one zone; calls go to others where those fail or have too much to do.", DefaultConfig(), open)
}

func open(_ context.Context, env spi.Env, cfg Config) (spi.LoadBalancer, error) {
	return spi.FromPlanner(planner{cfg}, env), nil
}

// planner remembers nothing: the same statistics give the same plan.
type planner struct{ cfg Config }

// finest is what the weights of a plan are counted in: the largest weight.
const finest = 1 << 20

// Plan implements [spi.Planner]. What an endpoint is able to do is its weight times
// its fitness. The zone keeps as large a part of the calls as its endpoints are fit;
// the others share the rest. Where no endpoint of the zone can be used at all the
// host takes the others, whose weight is then 0, at once and without a plan.
func (p planner) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) {
	able := make([]float64, len(stats.Endpoints))
	var nominal, home, away float64 // of the zone in full health, of the zone now, of the others now
	for i, e := range stats.Endpoints {
		able[i] = float64(e.Weight) * p.fitness(e)
		if p.local(e) {
			nominal += float64(e.Weight)
			home += able[i]
		} else {
			away += able[i]
		}
	}
	leave := 1.0 // part of the calls that leave the zone
	switch {
	case away == 0:
		leave = 0
	case nominal > 0:
		leave = min(1-home/nominal, p.cfg.SpillOver)
	}
	largest := 0.0
	for i, e := range stats.Endpoints {
		if p.local(e) {
			able[i] *= (1 - leave) / home
		} else if away > 0 {
			able[i] *= leave / away
		}
		largest = max(largest, able[i])
	}
	weights := make([]int, len(able))
	for i, a := range able {
		if a > 0 {
			weights[i] = max(1, int(a/largest*finest))
		}
	}
	return spi.Plan{Weights: weights}, nil
}

func (p planner) local(e spi.EndpointStats) bool { return e.Labels[p.cfg.Label] == p.cfg.Zone }

// fitness returns how much of its weight an endpoint is good for: 1 up to the limits,
// half at twice one of them, and so on; never 0.
func (p planner) fitness(e spi.EndpointStats) float64 {
	fit := 1.0
	if e.InFlight > p.cfg.MaxInFlight {
		fit = float64(p.cfg.MaxInFlight) / float64(e.InFlight)
	}
	if e.Latency > p.cfg.MaxLatency {
		fit = min(fit, float64(p.cfg.MaxLatency)/float64(e.Latency))
	}
	return fit
}
