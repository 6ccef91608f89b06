package conform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bhrpc/bhrpc/plugins"
	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
	"github.com/bhrpc/bhrpc/spi/spitest"
)

// heartbeat applies the rules of heartbeats to what the plugin decides, question by
// question: a host asks in batches and has guards of its own, which would hide it.
func (r *runner) heartbeat(ctx context.Context, name string, with []byte) func() error {
	process, ok := r.plugin.Process()
	if !ok {
		r.check("contract heartbeat "+name, 0, func(f found) { f.faultf("its process has ended%s", r.last.text()) })
		return nil
	}
	as := func(role spi.Role) *strategy {
		return &strategy{ctx: ctx, process: process, of: &pluginv1.Strategy{Name: name, With: with, Role: string(role)}}
	}
	for _, role := range []spi.Role{spi.RoleProvider, spi.RoleConsumer} {
		if !r.check("contract heartbeat "+name+" open-"+string(role), 1, func(f found) {
			if _, err := as(role).timing(); err != nil {
				f.faultf("%v", err)
			}
		}) {
			return nil
		}
	}
	s := as(spi.RoleConsumer) // whose intervals are the shorter ones; a hundred thousand questions are enough
	r.results("heartbeat", name, spitest.CheckHeartbeat(s))
	contract(ctx, r, r.cat.Heartbeats, name, with, nil, nil) // as a host opens it
	return func() error {
		_, _, err := s.decide(spi.Snapshot{ConnID: 1, Role: spi.RoleConsumer, Now: time.Second, Due: time.Second}, spi.State{})
		return err
	}
}

// strategy asks a plugin about one connection at a time. What goes wrong is a panic,
// which the rules report.
type strategy struct {
	ctx     context.Context
	process plugins.Process
	of      *pluginv1.Strategy
}

// Timing implements spi.Heartbeat.
func (s *strategy) Timing() spi.Timing {
	timing, err := s.timing()
	if err != nil {
		panic(err)
	}
	return timing
}

func (s *strategy) timing() (spi.Timing, error) {
	reply, err := pluginv1.NewHeartbeatStrategyClient(s.process.Conn).Timing(s.ctx, &pluginv1.TimingRequest{Generation: s.process.Generation, Strategy: s.of})
	if err != nil {
		return spi.Timing{}, fmt.Errorf("ask for its timing: %w", err)
	}
	if reply.GetGeneration() != s.process.Generation {
		return spi.Timing{}, fmt.Errorf("ask for its timing: the answer is for generation %d, want %d", reply.GetGeneration(), s.process.Generation)
	}
	return spi.Timing{Interval: time.Duration(reply.GetIntervalNanos()), Strikes: int(reply.GetStrikes()), Silence: time.Duration(reply.GetSilenceNanos())}, nil
}

// Decide implements spi.Heartbeat.
func (s *strategy) Decide(at spi.Snapshot, st spi.State) (spi.Decision, spi.State) {
	d, st, err := s.decide(at, st)
	if err != nil {
		panic(err)
	}
	return d, st
}

func (s *strategy) decide(at spi.Snapshot, st spi.State) (d spi.Decision, after spi.State, err error) {
	reply, err := pluginv1.NewHeartbeatStrategyClient(s.process.Conn).DecideBatch(s.ctx, &pluginv1.SnapshotBatch{
		Generation: s.process.Generation, Strategy: s.of, Snapshots: []*pluginv1.Snapshot{{
			Conn: at.ConnID, State: st[:], NowNanos: int64(at.Now), DueNanos: int64(at.Due),
			LastInNanos: int64(at.LastIn), LastOutNanos: int64(at.LastOut), LastPingAtNanos: int64(at.LastPingAt), LastRttNanos: int64(at.LastRTT),
			PingSeq: at.PingSeq, AckSeq: at.AckSeq, PongCount: at.PongCount, InCount: at.InCount,
			WriteStalled: at.WriteStalled, QueueBytes: at.QueueBytes, Inflight: int64(at.Inflight),
		}}})
	switch {
	case err != nil:
		return d, after, fmt.Errorf("ask for a decision: %w", err)
	case reply.GetGeneration() != s.process.Generation:
		return d, after, fmt.Errorf("ask for a decision: the answer is for generation %d, want %d", reply.GetGeneration(), s.process.Generation)
	case len(reply.GetDecisions()) != 1 || reply.GetDecisions()[0].GetConn() != at.ConnID:
		return d, after, errors.New("ask for a decision: want one, for the connection that was asked about")
	}
	m := reply.GetDecisions()[0]
	if len(m.GetState()) > len(after) {
		return d, after, fmt.Errorf("ask for a decision: a state of %d bytes, want %d at most", len(m.GetState()), len(after))
	}
	copy(after[:], m.GetState())
	return spi.Decision{Liveness: spi.Liveness(m.GetLiveness()), SendPing: m.GetSendPing(), Next: time.Duration(m.GetNextNanos()), Strikes: int(m.GetStrikes())}, after, nil
}
