package plugins

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bhrpc/bhrpc/spi"
)

// sayEvery is how often the log is told that a plugin cannot be used, or that outcomes
// were dropped.
const sayEvery = time.Minute

// usage is one extension of a plugin that was opened, and what it counts. It is safe
// for concurrent use.
type usage struct {
	wanted
	standIn string // what is used without the plugin; "": nothing, calls fail
	log     logrus.FieldLogger

	fallen    atomic.Bool   // the plugin could not be used last
	fallbacks atomic.Uint64 // uses of standIn
	planned   atomic.Int64  // when the last good plan came, in nanoseconds since 1970; 0: none did
	dropped   atomic.Uint64

	mu     sync.Mutex
	warned time.Time // when the log was told that the plugin cannot be used
	told   bool      // it was, and not yet of the contrary

	reported   uint64 // of dropped
	reportedAt time.Time
}

// fell notes that the plugin could not be used, and a use of what stands in.
func (u *usage) fell(why error) {
	if u.standIn != "" {
		u.stoodIn()
	}
	u.fails(why)
}

// fails notes that the plugin could not be used. The log is told once, and if it was
// told of another time a moment ago, as soon as sayEvery has passed.
func (u *usage) fails(why error) {
	now := time.Now()
	u.mu.Lock()
	u.fallen.Store(true)
	tell := !u.told && (u.warned.IsZero() || now.Sub(u.warned) >= sayEvery)
	if tell {
		u.warned, u.told = now, true
	}
	u.mu.Unlock()
	switch {
	case !tell:
	case u.standIn == "":
		u.log.WithError(why).Warn("plugin cannot be used; calls fail until it can")
	default:
		u.log.WithError(why).Warn("plugin cannot be used; what stands in is " + u.standIn)
	}
}

// stoodIn counts a use of what stands in.
func (u *usage) stoodIn() { u.fallbacks.Add(1) }

// works notes that the plugin was used.
func (u *usage) works() {
	if !u.fallen.Load() || !u.fallen.CompareAndSwap(true, false) {
		return
	}
	u.mu.Lock()
	tell := u.told
	u.told = false
	u.mu.Unlock()
	if tell {
		u.log.Info("plugin is used again")
	}
}

// drop counts outcomes that the plugin may not have been told.
func (u *usage) drop(n int) {
	if n > 0 {
		u.dropped.Add(uint64(n))
	}
}

// reportDrops logs how many were dropped since it last did, at most once per
// sayEvery unless it is the last time.
func (u *usage) reportDrops(now time.Time, last bool) {
	u.mu.Lock()
	dropped := u.dropped.Load()
	fresh := dropped - u.reported
	if fresh == 0 || !last && now.Sub(u.reportedAt) < sayEvery {
		u.mu.Unlock()
		return
	}
	u.reported, u.reportedAt = dropped, now
	u.mu.Unlock()
	u.log.WithField("dropped", fresh).Warn("outcomes of calls were dropped: the hooks of the plugin may not have been told")
}

// usages is what is open of a plugin. The zero value is empty. It is safe for
// concurrent use.
type usages struct {
	mu   sync.Mutex
	open []*usage
	past []spi.PluginExtension // counters of those that were closed
}

// add notes an extension that was opened. The caller removes it when it closes it.
func (l *usages) add(w wanted, standIn string, log logrus.FieldLogger) *usage {
	u := &usage{wanted: w, standIn: standIn, log: log}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, u)
	return u
}

// missing returns what is open and not in prepared. If there is nothing it calls done,
// before another extension can be added.
func (l *usages) missing(prepared map[wanted]bool, done func()) []wanted {
	l.mu.Lock()
	defer l.mu.Unlock()
	var missing []wanted
	for _, u := range l.open {
		if !prepared[u.wanted] && !slices.Contains(missing, u.wanted) {
			missing = append(missing, u.wanted)
		}
	}
	if len(missing) == 0 {
		done()
	}
	return missing
}

// remove forgets an extension that was closed, but for what it counted. It is safe to
// call twice.
func (l *usages) remove(u *usage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.open, u)
	if i < 0 {
		return
	}
	l.open = slices.Delete(l.open, i, i+1)
	at := slices.IndexFunc(l.past, func(e spi.PluginExtension) bool { return e.Kind == u.kind && e.Name == u.name })
	if at < 0 {
		at = len(l.past)
		l.past = append(l.past, spi.PluginExtension{Kind: u.kind, Name: u.name})
	}
	l.past[at].Fallbacks += u.fallbacks.Load()
	l.past[at].Dropped += u.dropped.Load()
}

// describe describes how the extensions of infos are used, in their order.
func (l *usages) describe(infos []spi.Info, now time.Time) []spi.PluginExtension {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]spi.PluginExtension, len(infos))
	for i, info := range infos {
		e := spi.PluginExtension{Kind: info.Kind, Name: info.Name}
		for _, past := range l.past {
			if past.Kind == e.Kind && past.Name == e.Name {
				e.Fallbacks, e.Dropped = past.Fallbacks, past.Dropped
			}
		}
		var planned int64
		for _, u := range l.open {
			if u.kind != e.Kind || u.name != e.Name {
				continue
			}
			e.Opened++
			e.Fallback = e.Fallback || u.standIn != "" && u.fallen.Load()
			e.Fallbacks += u.fallbacks.Load()
			e.Dropped += u.dropped.Load()
			planned = max(planned, u.planned.Load())
		}
		if planned != 0 {
			e.PlanAge = spi.Duration(max(now.Sub(time.Unix(0, planned)), 1))
		}
		out[i] = e
	}
	return out
}
