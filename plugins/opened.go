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

// opening is one extension of a plugin that was opened, and what it counts. It is safe
// for concurrent use.
type opening struct {
	kind, name string
	standIn    string // what is used without the plugin; "": nothing, calls fail
	log        logrus.FieldLogger

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

// fails notes that the plugin could not be used.
func (o *opening) fails(why error) {
	if o.fallen.Load() || !o.fallen.CompareAndSwap(false, true) {
		return
	}
	now := time.Now()
	o.mu.Lock()
	tell := o.warned.IsZero() || now.Sub(o.warned) >= sayEvery
	if tell {
		o.warned, o.told = now, true
	}
	o.mu.Unlock()
	switch {
	case !tell:
	case o.standIn == "":
		o.log.WithError(why).Warn("plugin cannot be used; calls fail until it can")
	default:
		o.log.WithError(why).Warn("plugin cannot be used; what stands in is " + o.standIn)
	}
}

// stoodIn counts a use of what stands in.
func (o *opening) stoodIn() { o.fallbacks.Add(1) }

// works notes that the plugin was used.
func (o *opening) works() {
	if !o.fallen.Load() || !o.fallen.CompareAndSwap(true, false) {
		return
	}
	o.mu.Lock()
	tell := o.told
	o.told = false
	o.mu.Unlock()
	if tell {
		o.log.Info("plugin is used again")
	}
}

// drop counts outcomes that the plugin may not have been told.
func (o *opening) drop(n int) {
	if n > 0 {
		o.dropped.Add(uint64(n))
	}
}

// reportDrops logs how many were dropped since it last did, at most once per
// sayEvery unless it is the last time.
func (o *opening) reportDrops(now time.Time, last bool) {
	o.mu.Lock()
	dropped := o.dropped.Load()
	fresh := dropped - o.reported
	if fresh == 0 || !last && now.Sub(o.reportedAt) < sayEvery {
		o.mu.Unlock()
		return
	}
	o.reported, o.reportedAt = dropped, now
	o.mu.Unlock()
	o.log.WithField("dropped", fresh).Warn("outcomes of calls were dropped: the hooks of the plugin may not have been told")
}

// openings is what is open of a plugin. The zero value is empty. It is safe for
// concurrent use.
type openings struct {
	mu   sync.Mutex
	open []*opening
	past []spi.PluginExtension // counters of those that were closed
}

// add notes an extension that was opened. The caller removes it when it closes it.
func (l *openings) add(info spi.Info, standIn string, log logrus.FieldLogger) *opening {
	o := &opening{kind: info.Kind, name: info.Name, standIn: standIn, log: log}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, o)
	return o
}

// remove forgets an extension that was closed, but for what it counted. It is safe to
// call twice.
func (l *openings) remove(o *opening) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.open, o)
	if i < 0 {
		return
	}
	l.open = slices.Delete(l.open, i, i+1)
	at := slices.IndexFunc(l.past, func(e spi.PluginExtension) bool { return e.Kind == o.kind && e.Name == o.name })
	if at < 0 {
		at = len(l.past)
		l.past = append(l.past, spi.PluginExtension{Kind: o.kind, Name: o.name})
	}
	l.past[at].Fallbacks += o.fallbacks.Load()
	l.past[at].Dropped += o.dropped.Load()
}

// describe describes how the extensions of infos are used, in their order.
func (l *openings) describe(infos []spi.Info, now time.Time) []spi.PluginExtension {
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
		for _, o := range l.open {
			if o.kind != e.Kind || o.name != e.Name {
				continue
			}
			e.Opened++
			e.Fallback = e.Fallback || o.standIn != "" && o.fallen.Load()
			e.Fallbacks += o.fallbacks.Load()
			e.Dropped += o.dropped.Load()
			planned = max(planned, o.planned.Load())
		}
		if planned != 0 {
			e.PlanAge = spi.Duration(max(now.Sub(time.Unix(0, planned)), 1))
		}
		out[i] = e
	}
	return out
}
