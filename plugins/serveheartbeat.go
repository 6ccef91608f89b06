package plugins

import (
	"context"
	"time"

	"google.golang.org/grpc/status"

	pluginv1 "github.com/bhrpc/bhrpc/plugins/proto/bhrpc/plugin/v1"
	"github.com/bhrpc/bhrpc/spi"
)

// heartbeats lets a host use the heartbeat strategies of a catalog.
type heartbeats struct {
	pluginv1.UnimplementedHeartbeatStrategyServer
	shelf *shelf[spi.Heartbeat]
}

// Timing opens a strategy and says its times.
func (h *heartbeats) Timing(ctx context.Context, request *pluginv1.TimingRequest) (*pluginv1.TimingReply, error) {
	hb, err := h.open(ctx, request.GetStrategy())
	if err != nil {
		return nil, err
	}
	t := hb.Timing()
	return &pluginv1.TimingReply{Generation: request.GetGeneration(), IntervalNanos: int64(t.Interval), Strikes: int64(t.Strikes), SilenceNanos: int64(t.Silence)}, nil
}

// DecideBatch asks a strategy about every snapshot.
func (h *heartbeats) DecideBatch(ctx context.Context, request *pluginv1.SnapshotBatch) (*pluginv1.DecisionBatch, error) {
	of := request.GetStrategy()
	hb, err := h.open(ctx, of)
	if err != nil {
		return nil, err
	}
	reply := &pluginv1.DecisionBatch{Generation: request.GetGeneration(), Decisions: make([]*pluginv1.Decision, len(request.GetSnapshots()))}
	for i, m := range request.GetSnapshots() {
		if err := ctx.Err(); err != nil { // the host has given up
			return nil, status.FromContextError(err).Err()
		}
		var st spi.State
		copy(st[:], m.GetState())
		d, st := hb.Decide(receivedSnapshot(m, spi.Role(of.GetRole())), st)
		reply.Decisions[i] = &pluginv1.Decision{Conn: m.GetConn(), State: st[:], Liveness: pluginv1.Decision_Liveness(d.Liveness),
			SendPing: d.SendPing, NextNanos: int64(d.Next), Strikes: int64(d.Strikes)}
	}
	return reply, nil
}

// open returns the strategy of a configuration.
func (h *heartbeats) open(ctx context.Context, of *pluginv1.Strategy) (spi.Heartbeat, error) {
	return h.shelf.open(ctx, of.GetName(), of.GetWith(), of.GetRole())
}

func receivedSnapshot(m *pluginv1.Snapshot, role spi.Role) spi.Snapshot {
	return spi.Snapshot{
		ConnID: m.GetConn(), Role: role, Now: time.Duration(m.GetNowNanos()), Due: time.Duration(m.GetDueNanos()),
		LastIn: time.Duration(m.GetLastInNanos()), LastOut: time.Duration(m.GetLastOutNanos()),
		LastPingAt: time.Duration(m.GetLastPingAtNanos()), LastRTT: time.Duration(m.GetLastRttNanos()),
		PingSeq: m.GetPingSeq(), AckSeq: m.GetAckSeq(), PongCount: m.GetPongCount(), InCount: m.GetInCount(),
		WriteStalled: m.GetWriteStalled(), QueueBytes: m.GetQueueBytes(), Inflight: int(m.GetInflight()),
	}
}
