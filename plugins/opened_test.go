package plugins

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/bhrpc/bhrpc/spi"
)

func TestOpeningTellsTheLog(t *testing.T) {
	const out, back = "plugin cannot be used; what stands in is p2c", "plugin is used again"
	f, w, later := "fails", "works", "a minute passes"
	tests := []struct {
		name string
		what []string
		want []string
	}{
		{"works", []string{w, w}, nil},
		{"fails and goes on failing", []string{f, f, f}, []string{out}},
		{"works again", []string{f, f, w, w}, []string{out, back}},
		{"again within a minute", []string{f, w, f, w}, []string{out, back}},
		{"again within a minute, and for longer", []string{f, w, f, later, f, f, later, f}, []string{out, back, out}},
		{"again after a minute", []string{f, w, later, f, w}, []string{out, back, out, back}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			log, logged := logtest.NewNullLogger()
			var l usages
			o := l.add(wanted{kind: "loadbalancer", name: "zoned"}, "p2c", log)
			for _, what := range tt.what {
				switch what {
				case f:
					o.fails(errors.New("gone"))
				case w:
					o.works()
				case later:
					o.warned = o.warned.Add(-sayEvery)
				}
			}
			var got []string
			for _, e := range logged.AllEntries() {
				got = append(got, e.Message)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("log: got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDropsAreReported(t *testing.T) {
	log, logged := logtest.NewNullLogger()
	o := new(usages).add(wanted{}, "", log)
	now := time.Now()
	for _, step := range []struct {
		drop  int
		after time.Duration
		last  bool
	}{{0, 0, false}, {2, 0, false}, {3, time.Second, false}, {1, sayEvery, false}, {0, 2 * sayEvery, true}, {5, sayEvery, true}} {
		o.drop(step.drop)
		o.reportDrops(now.Add(step.after), step.last)
	}
	var got []any
	for _, e := range logged.AllEntries() {
		got = append(got, e.Data["dropped"])
	}
	if want := []any{uint64(2), uint64(4), uint64(5)}; !slices.Equal(got, want) {
		t.Errorf("reported: got %v, want %v", got, want)
	}
}

// TestOpenings: what is open is summed up by extension, and what was closed counts on.
func TestOpenings(t *testing.T) {
	var l usages
	zoned, desk := spi.Info{Kind: "loadbalancer", Name: "zoned"}, spi.Info{Kind: "proxy", Name: "desk"}
	inUse := func(info spi.Info) *usage { return l.add(wanted{kind: info.Kind, name: info.Name}, "p2c", quietLog()) }
	a, b, c := inUse(zoned), inUse(zoned), l.add(wanted{kind: desk.Kind, name: desk.Name}, "", quietLog())
	now := time.Unix(1000, 0)
	a.planned.Store(now.Add(-3 * time.Second).UnixNano())
	b.planned.Store(now.Add(-2 * time.Second).UnixNano())
	a.stoodIn()
	b.stoodIn()
	b.fails(errors.New("gone"))
	c.fails(errors.New("gone"))
	c.drop(7)
	check := func(when string, want []spi.PluginExtension) {
		t.Helper()
		if got := l.describe([]spi.Info{zoned, desk}, now); !slices.Equal(got, want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", when, got, want)
		}
	}
	check("open", []spi.PluginExtension{
		{Kind: "loadbalancer", Name: "zoned", Opened: 2, Fallback: true, Fallbacks: 2, PlanAge: spi.Duration(2 * time.Second)},
		{Kind: "proxy", Name: "desk", Opened: 1, Dropped: 7}})
	for _, o := range []*usage{a, b, b, c} { // one of them twice
		l.remove(o)
	}
	check("closed", []spi.PluginExtension{{Kind: "loadbalancer", Name: "zoned", Fallbacks: 2}, {Kind: "proxy", Name: "desk", Dropped: 7}})
}

func quietLog() logrus.FieldLogger {
	log, _ := logtest.NewNullLogger()
	return log
}
