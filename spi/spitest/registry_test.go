package spitest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bhrpc/bhrpc/spi"
)

// memory is a registry that keeps the contract, but for the faults it is given.
type memory struct {
	refuses error // Announce fails with it

	silent     bool // Watch says nothing before something is there
	lingers    bool // Watch goes on for an hour
	fails      bool // both end with an error
	bare       bool // labels are lost
	stays      bool // a registration outlives its announcement
	partial    bool // updates have the latest only
	shared     bool // updates have one slice
	everything bool // services are mixed
	parallel   bool // updates overlap

	mu       sync.Mutex
	here     []spi.Registration
	watchers map[chan struct{}]bool
	one      []spi.Endpoint // of shared
}

func (m *memory) Announce(ctx context.Context, reg spi.Registration, up func(error)) error {
	if m.refuses != nil {
		return m.refuses
	}
	m.change(func() { m.here = append(m.here, reg) })
	up(nil)
	<-ctx.Done()
	if !m.stays {
		m.change(func() {
			for i := range m.here {
				if m.here[i].Instance == reg.Instance && m.here[i].Address == reg.Address {
					m.here = append(m.here[:i:i], m.here[i+1:]...)
					return
				}
			}
		})
	}
	if m.fails {
		return ctx.Err()
	}
	return nil
}

func (m *memory) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	for w := range m.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

func (m *memory) Watch(ctx context.Context, service string, update func([]spi.Endpoint)) error {
	changed := make(chan struct{}, 1)
	m.mu.Lock()
	if m.watchers == nil {
		m.watchers = map[chan struct{}]bool{}
	}
	m.watchers[changed] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, changed)
	}()
	var others sync.WaitGroup
	defer others.Wait()
	for {
		set := m.set(service)
		switch {
		case m.silent && len(set) == 0:
		case m.parallel:
			for range 2 {
				others.Go(func() { update(append([]spi.Endpoint(nil), set...)) })
			}
		default:
			update(set)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			switch {
			case m.fails:
				return ctx.Err()
			case m.lingers:
				time.Sleep(time.Hour)
				update(nil)
			}
			return nil
		}
	}
}

func (m *memory) set(service string) []spi.Endpoint {
	m.mu.Lock()
	defer m.mu.Unlock()
	var set []spi.Endpoint
	for _, reg := range m.here {
		if reg.Service != service && !m.everything {
			continue
		}
		e := spi.Endpoint{Address: reg.Address, Weight: reg.Weight, Labels: reg.Labels}
		if m.bare {
			e.Labels = nil
		}
		if m.partial {
			set = nil
		}
		set = append(set, e)
	}
	if m.shared {
		if m.one == nil && set != nil {
			m.one = set
		}
		return m.one
	}
	return set
}

func TestRegistry(t *testing.T) {
	Registry(t, new(memory))
	Registry(t, &memory{refuses: errors.New("is kept by hand")})
}

func TestRegistryFindsFaults(t *testing.T) {
	// An hour takes no time.
	var rules []rule[spi.Registry]
	for _, c := range registryRules {
		rules = append(rules, rule[spi.Registry]{c.name, c.explanation, func(r *report, registry spi.Registry) {
			synctest.Test(t, func(*testing.T) {
				r.guard(func() { c.check(r, registry) })
				time.Sleep(2 * time.Hour) // the broken end, too
			})
		}})
	}
	testBroken(t, rules, []broken[spi.Registry]{
		{"says nothing of nothing", &memory{silent: true}, []string{"watch-first"}},
		{"watches on", &memory{lingers: true}, []string{"watch-ends"}},
		{"ends with an error", &memory{fails: true}, []string{"watch-ends", "announce-ends"}},
		{"loses labels", &memory{bare: true}, []string{"announce-found"}},
		{"keeps who is gone", &memory{stays: true}, []string{"announce-ends", "full-set"}},
		{"tells of the latest", &memory{partial: true}, []string{"full-set"}},
		{"mixes services", &memory{everything: true}, []string{"full-set"}},
		{"has one set", &memory{shared: true}, []string{"set-is-callees"}},
		{"updates at once", &memory{parallel: true}, []string{"updates-in-turn"}},
	})
}

// Close has nothing to release.
func (m *memory) Close() error { return nil }
