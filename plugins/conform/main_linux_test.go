package conform_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bhrpc/bhrpc/plugins"
	"github.com/bhrpc/bhrpc/plugins/conform"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

// roleEnv makes the test binary play a plugin, or a host.
const roleEnv = "BHRPC_TEST_ROLE"

// childEnv makes the plugin that leaves a child that child.
const childEnv = "BHRPC_TEST_CHILD"

// roles are what a process of the tests does.
var roles = map[string]func(){
	"good":            func() { serve("even", "Spreads calls evenly.", evenly) },
	"no doc":          func() { serve("even", "", evenly) },
	"name of another": func() { serve("p2c", "Is not what it says.", evenly) },
	"nothing":         func() { must(plugins.Serve(spi.NewCatalog())) },
	"negative weights": func() {
		serve("even", "Wants less than nothing.", func(stats spi.Stats) (spi.Plan, error) {
			plan, err := evenly(stats)
			plan.Weights[0] = -1
			return plan, err
		})
	},
	"never plans": func() {
		serve("even", "Has no plan.", func(spi.Stats) (spi.Plan, error) { return spi.Plan{}, errors.New("not today") })
	},
	"plans slowly": func() {
		serve("even", "Plans for longer than hosts wait.", func(stats spi.Stats) (spi.Plan, error) {
			if n := len(stats.Endpoints); n == 3 && stats.Endpoints[n-1].Weight == 1 { // as that check has them
				time.Sleep(300 * time.Millisecond)
			}
			return evenly(stats)
		})
	},
	"opens slowly": func() {
		cat := spi.NewCatalog()
		must(spi.Register(cat.LoadBalancers, "even", "Opens slowly.", config{Share: 1}, func(_ context.Context, env spi.Env, _ config) (spi.LoadBalancer, error) {
			time.Sleep(time.Second)
			return spi.FromPlanner(planner(evenly), env), nil
		}))
		must(plugins.Serve(cat))
	},
	"serializer":              func() { serveSerializer(ownJSON{}) },
	"one at a time":           func() { serveSerializer(&jealous{}) },
	"panics at what is large": func() { serveSerializer(small{}) },
	"panics at many": func() {
		serve("even", "Panics.", func(stats spi.Stats) (spi.Plan, error) {
			if len(stats.Endpoints) > 500 {
				panic("too many")
			}
			return evenly(stats)
		})
	},
	"lives in a child": func() { // which the end of the host does not reach
		must(os.Unsetenv("BHRPC_LIFELINE_FD"))
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), roleEnv+"=good", childEnv+"=yes")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		must(child.Run())
	},
	"leaves a child": func() {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), roleEnv+"=sleep", childEnv+"=yes")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		must(child.Start())
		serve("even", "Leaves a child.", evenly)
	},
	"heartbeat that remembers": func() {
		cat := spi.NewCatalog()
		must(spi.Register(cat.Heartbeats, "beat", "Remembers how often it was asked.", config{}, func(context.Context, spi.Env, config) (spi.Heartbeat, error) {
			return new(counting), nil
		}))
		must(plugins.Serve(cat))
	},
	"sleep": func() { select {} },
	"exits": func() { fmt.Fprintln(os.Stderr, "the database is missing"); os.Exit(7) },
	"host": func() {
		must(conform.Host(context.Background(), os.Stdin, os.Stdout, logrus.New()))
	},
}

// serve brings one load balancer.
func serve(name, doc string, plan func(spi.Stats) (spi.Plan, error)) {
	cat := spi.NewCatalog()
	must(spi.Register(cat.LoadBalancers, name, doc, config{Share: 1}, func(_ context.Context, env spi.Env, cfg config) (spi.LoadBalancer, error) {
		return spi.FromPlanner(planner(plan), env), nil
	}))
	must(plugins.Serve(cat))
}

type config struct {
	Share int `json:"share" doc:"says nothing"`
}

type planner func(spi.Stats) (spi.Plan, error)

func (p planner) Plan(_ context.Context, stats spi.Stats) (spi.Plan, error) { return p(stats) }

// counting is a heartbeat that is no function of what it is asked.
type counting struct{ asked atomic.Int64 }

func (*counting) Timing() spi.Timing {
	return spi.Timing{Interval: time.Second, Strikes: 3, Silence: 4 * time.Second}
}

func (c *counting) Decide(_ spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	return spi.Decision{SendPing: true, Next: time.Second + time.Duration(c.asked.Add(1))}, st
}

// ownJSON is JSON whose whole numbers stay exact.
type ownJSON struct{}

func (ownJSON) Append(dst []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(dst, data...), err
}

func (ownJSON) Decode(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("something follows")
	}
	return nil
}

// serveSerializer brings one serializer.
func serveSerializer(s spi.Serializer) {
	cat := spi.NewCatalog()
	must(spi.Register(cat.Serializers, "own-json", "JSON again.", config{}, func(context.Context, spi.Env, config) (spi.Serializer, error) { return s, nil }))
	must(plugins.Serve(cat))
}

// jealous is a serializer that more than four may not use at once.
type jealous struct {
	ownJSON
	users atomic.Int64
}

func (j *jealous) Append(dst []byte, v any) ([]byte, error) {
	defer j.users.Add(-1)
	if j.users.Add(1) > 4 {
		return nil, errors.New("one after the other, please")
	}
	time.Sleep(2 * time.Millisecond) // it takes its time
	return j.ownJSON.Append(dst, v)
}

// small is a serializer that panics at what is large.
type small struct{ ownJSON }

func (s small) Append(dst []byte, v any) ([]byte, error) {
	if text, ok := v.(string); ok && len(text) > 1<<20 {
		panic("too large")
	}
	return s.ownJSON.Append(dst, v)
}

func evenly(stats spi.Stats) (spi.Plan, error) {
	weights := make([]int, len(stats.Endpoints))
	for i := range weights {
		weights[i] = 1
	}
	return spi.Plan{Weights: weights}, nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		roles[role]()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
