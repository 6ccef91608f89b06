package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/bhrpc/bhrpc/plugins"
	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
)

// plans asks a plugin for plans, message by message.
type plans struct {
	process plugins.Process
	name    string
	with    []byte
}

// planRule is one thing that is asked of plans.
type planRule struct {
	name  string
	asks  string
	check func(ctx context.Context, f found, asked plans)
}

// planSizes are how many endpoints plans are made for.
var planSizes = []int{1, 2, 3, 10, 100, 1000}

var planRules = []planRule{
	{"plan-answers", "A planner has a plan for some set of endpoints at least.", checkPlanAnswers},
	{"plan-valid", "A plan has every endpoint of the request once and no other, with a finite weight that is not negative; one at least is positive.", checkPlanValid},
	{"plan-follows", "Every request of a stream is answered by one plan, for its endpoints, with its generation and number.", checkPlanFollows},
	{"plan-statistics", "Statistics at the edges of their ranges, and labels and addresses of any text, are planned for too.", checkPlanStatistics},
	{"plan-concurrent", "Several load balancers are in use at once.", checkPlanConcurrently},
	{"plan-ends", "When the host ends a stream the plugin does so too.", checkPlanEnds},
}

// planStream is one load balancer in use.
type planStream struct {
	plans
	stream grpc.BidiStreamingClient[pluginv1.PlanRequest, pluginv1.PlanReply]
	number uint64
}

// open opens a load balancer. ctx ends it.
func (p plans) open(ctx context.Context) (*planStream, error) {
	stream, err := pluginv1.NewLoadBalancerClient(p.process.Conn).Plan(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&pluginv1.PlanRequest{Generation: p.process.Generation, Open: &pluginv1.PlanOpen{Name: p.name, With: p.with}})
	if err != nil && !errors.Is(err, io.EOF) { // of which Recv knows the cause
		return nil, err
	}
	return &planStream{plans: p, stream: stream}, nil
}

// plan asks for one plan and checks what it belongs to.
func (s *planStream) plan(endpoints []*pluginv1.EndpointStats) (*pluginv1.PlanReply, error) {
	s.number++
	err := s.stream.Send(&pluginv1.PlanRequest{Generation: s.process.Generation, Number: s.number, Endpoints: endpoints})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	reply, err := s.stream.Recv()
	if err == nil && (reply.GetGeneration() != s.process.Generation || reply.GetNumber() != s.number) {
		err = fmt.Errorf("got the answer %d of generation %d, want %d of %d", reply.GetNumber(), reply.GetGeneration(), s.number, s.process.Generation)
	}
	return reply, err
}

// valid checks a plan for endpoints. One that says why there is none is valid.
func valid(reply *pluginv1.PlanReply, endpoints []*pluginv1.EndpointStats) error {
	if reply.GetError() != "" {
		return nil
	}
	missing := make(map[string]bool, len(endpoints))
	for _, e := range endpoints {
		missing[e.GetAddress()] = true
	}
	positive := false
	for _, share := range reply.GetShares() {
		weight := share.GetWeight()
		if !missing[share.GetAddress()] {
			return fmt.Errorf("it names %q, which is twice there or was not asked about", share.GetAddress())
		}
		if math.IsNaN(weight) || math.IsInf(weight, 0) || weight < 0 {
			return fmt.Errorf("it gives %q the weight %v", share.GetAddress(), weight)
		}
		missing[share.GetAddress()] = false
		positive = positive || weight > 0
	}
	for address, absent := range missing {
		if absent {
			return fmt.Errorf("it leaves out %q", address)
		}
	}
	if !positive {
		return errors.New("no weight is positive")
	}
	return nil
}

// stats returns statistics of n endpoints, begun by number first.
func stats(first, n int) []*pluginv1.EndpointStats {
	set := make([]*pluginv1.EndpointStats, n)
	for i := range set {
		set[i] = &pluginv1.EndpointStats{Address: fmt.Sprintf("10.%d.%d.%d:7070", first, i>>8, i&255), Weight: int64(1 + i%7), InFlight: int64(i % 5)}
		if i%2 == 0 {
			set[i].Labels = map[string]string{"zone": fmt.Sprintf("z%d", i%3)}
		}
		if i%3 > 0 {
			set[i].LatencyNanos, set[i].Failures = int64(time.Duration(1+i%100)*time.Millisecond), uint64(i%4)
		}
	}
	return set
}

func checkPlanAnswers(ctx context.Context, f found, asked plans) {
	s, err := asked.open(ctx)
	why := ""
	for _, n := range planSizes {
		if err != nil {
			break
		}
		var reply *pluginv1.PlanReply
		if reply, err = s.plan(stats(0, n)); err == nil {
			if reply.GetError() == "" {
				return
			}
			why = reply.GetError()
			f.notef("no plan for %d endpoints: %s", n, why)
		}
	}
	if err != nil {
		why = err.Error()
	}
	f.faultf("no plan for any of %v endpoints: %s", planSizes, why)
}

// planned asks for one plan after the other on a stream and reports what is not valid.
func planned(ctx context.Context, f func(format string, args ...any), asked plans, sets ...[]*pluginv1.EndpointStats) {
	s, err := asked.open(ctx)
	if err != nil {
		f("open: %v", err)
		return
	}
	for _, set := range sets {
		reply, err := s.plan(set)
		if err != nil {
			f("plan for %d endpoints: %v", len(set), err)
			return
		}
		if err := valid(reply, set); err != nil {
			f("plan for %d endpoints: %v: %s", len(set), err, show(reply.GetShares()))
		}
	}
}

func checkPlanValid(ctx context.Context, f found, asked plans) {
	for _, n := range planSizes {
		planned(ctx, f.faultf, asked, stats(0, n))
	}
}

func checkPlanFollows(ctx context.Context, f found, asked plans) {
	var sets [][]*pluginv1.EndpointStats
	for i := range 20 { // some stay, some go, some come
		sets = append(sets, stats(i/3, 1+i*7%23))
	}
	planned(ctx, f.faultf, asked, sets...)
}

func checkPlanStatistics(ctx context.Context, f found, asked plans) {
	edges := []*pluginv1.EndpointStats{
		{Address: "a:1", Weight: 1, LatencyNanos: math.MaxInt64, Failures: math.MaxUint64, InFlight: math.MaxInt32},
		{Address: "[::1]:7070", Weight: math.MaxInt32},
		{Address: "unix:///run/\"quoted\" 日本", Weight: 1, Labels: map[string]string{"": "", "zone": "", "\n": "ünïcode"}},
	}
	planned(ctx, f.faultf, asked, edges, edges[:1], edges)
}

func checkPlanConcurrently(ctx context.Context, f found, asked plans) {
	var mu sync.Mutex // found is used by one goroutine
	faultf := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		f.faultf(format, args...)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			var sets [][]*pluginv1.EndpointStats
			for n := range 20 {
				sets = append(sets, stats(i, 1+n))
			}
			planned(ctx, faultf, asked, sets...)
		})
	}
	all.Wait()
}

func checkPlanEnds(ctx context.Context, f found, asked plans) {
	s, err := asked.open(ctx)
	if err != nil {
		f.faultf("open: %v", err)
		return
	}
	if _, err := s.plan(stats(0, 3)); err != nil {
		f.faultf("plan: %v", err)
	}
	if err := s.stream.CloseSend(); err != nil {
		f.faultf("end the stream: %v", err)
	}
	if _, err := s.stream.Recv(); !errors.Is(err, io.EOF) {
		f.faultf("after the host ended the stream: got %v, want its end", err)
	}
}

// exchange returns one plan for ten endpoints, to be timed.
func (p plans) exchange(ctx context.Context) func() error {
	s, err := p.open(ctx)
	set := stats(0, 10)
	return func() error {
		if err != nil {
			return err
		}
		_, err = s.plan(set)
		return err
	}
}
